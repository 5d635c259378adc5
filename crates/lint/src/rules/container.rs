//! Found by what reads `options`, `ports` and `volumes` for the container engine, which the binary has.

use trainyard_diagnostics::Severity;

use super::Rule;

pub(crate) const RULE: Rule = Rule {
    id: "container/refused",
    severity: Severity::Warning,
    summary: "An option, a port or a volume of a container that no engine takes",
    check: None,
    // Tried with what reads them (`crates/trainyard/src/commands/check/containers.rs`).
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: push\njobs: {a: {runs-on: ubuntu-latest, container: {image: i, options: --memory lots}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, container: {image: i, options: --network host}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, container: {image: i, options: --entrypoint sh}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, services: {s: {image: i, options: --health-cmd redis-cli ping}}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, services: {s: {image: i, ports: ['80:x']}}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, services: {s: {image: i, volumes: ['a:b']}}, steps: [{run: x}]}}",
        ],
        good: &[
            "on: push\njobs: {a: {runs-on: ubuntu-latest, container: {image: i, options: '--gpus all --memory 8g'}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, container: {image: i, options: '${{ vars.O }}'}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, services: {s: {image: i, options: --entrypoint sh}}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, services: {s: {image: i, ports: ['5432', '80:80/tcp'], volumes: ['v:/v']}}, steps: [{run: x}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, container: i, steps: [{run: x}]}}",
        ],
    },
};
