/// A value that must not be seen. It has no `Debug`, `Display` or `Serialize`, so it cannot get
/// into a log, a record or an answer by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value, for the one place that hands it to a process or to the masker.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
