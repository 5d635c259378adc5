//! Found by the reader of triggers (`workflow::triggers`).

use trainyard_diagnostics::Severity;

use super::Rule;

pub(crate) const RULE: Rule = Rule {
    id: "on/cron-interval",
    severity: Severity::Warning,
    summary: "A schedule that fires more often than every five minutes is not kept",
    check: None,
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: {schedule: [{cron: '* * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '*/2 * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0,1 * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '10,30,32 * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0-10 3 * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
        good: &[
            "on: {schedule: [{cron: '*/5 * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0,30 * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '7 3 * * 1-5'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '5/10 * * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
    },
};
