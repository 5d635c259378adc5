//! Builds with one fault each, made by meddling between the parts: each is there so that one
//! checker can show that it finds it.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The journal loses a record now and then.
    LosesRecords,
    /// A stale report is taken as if its lease were in force.
    TakesStaleReports,
    /// The same attempt is leased to two runners.
    LeasesTwice,
    /// A need is forgotten when the plan is made.
    ForgetsNeeds,
    /// A settled node is settled once more, otherwise.
    SettlesTwice,
    /// Everybody gets the concurrency group.
    SharesGroups,
    /// `max-parallel` is not heeded.
    IgnoresMaxParallel,
    /// Logs are written as they come.
    PrintsSecrets,
    /// A timer stays when its job is over.
    KeepsTimers,
    /// A refused command changes something.
    ChangesOnRefusal,
    /// An offer is forgotten.
    ForgetsOffers,
    /// Gates do not hear of a cancel.
    DeafGates,
    /// A re-run resets what was not asked for.
    ResetsTooMuch,
    /// The end of a step is told twice.
    EndsStepsTwice,
    /// A decision that could not be written is kept all the same.
    KeepsLostDecisions,
    /// A job is never told to stop.
    ForgetsStops,
    /// Runners never take an offer once faults are off.
    NeverLeases,
}

impl Broken {
    /// All of them, each with the checker that must find it.
    pub const ALL: [(Broken, &'static str); 17] = [
        (Broken::LosesRecords, "replay"),
        (Broken::TakesStaleReports, "fence"),
        (Broken::LeasesTwice, "lease"),
        (Broken::ForgetsNeeds, "needs"),
        (Broken::SettlesTwice, "outcome"),
        (Broken::SharesGroups, "groups"),
        (Broken::IgnoresMaxParallel, "limits"),
        (Broken::PrintsSecrets, "secrets"),
        (Broken::KeepsTimers, "effects"),
        (Broken::ChangesOnRefusal, "refusal"),
        (Broken::ForgetsOffers, "waits"),
        (Broken::DeafGates, "cancel"),
        (Broken::ResetsTooMuch, "rerun"),
        (Broken::EndsStepsTwice, "steps"),
        (Broken::KeepsLostDecisions, "replay"),
        (Broken::ForgetsStops, "waits"),
        (Broken::NeverLeases, "liveness"),
    ];
}
