//! Found by the reader of triggers (`workflow::triggers`).

use trainyard_diagnostics::Severity;

use super::Rule;

pub(crate) const RULE: Rule = Rule {
    id: "on/only-negative",
    severity: Severity::Warning,
    summary: "A filter that has only patterns with `!` matches nothing",
    check: None,
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: {push: {branches: ['!main']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {tags: ['!v*']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {paths: ['!docs/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {pull_request: {paths: ['!docs/**', '!**.md']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {pull_request: {branches: ['!x', '!y']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
        good: &[
            "on: {push: {branches: ['**', '!main']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {branches-ignore: [main]}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {paths: ['src/**', '!src/docs/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {paths-ignore: ['docs/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {tags: ['v*', '!v0*']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
    },
};
