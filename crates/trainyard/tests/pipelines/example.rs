//! The example of this repository, as its README has it.

use std::path::Path;
use std::process::Command;

use super::{project, root};

/// One push lints, compiles, runs and checks a pipeline; what is not good enough fails it.
#[test]
fn digits() {
    let repo = project();
    let example = root().join("examples/digits");
    let done =
        Command::new("cp").arg("-r").arg(Path::new(&example).join(".")).arg(&repo.root).status();
    assert!(done.is_ok_and(|s| s.success()));
    repo.commit("digits");
    repo.call(&["run", "push"]).exits(0).shows("training ended: COMPLETE");
    repo.call(&["view"])
        .shows("↳ run 2 · digits: success")
        .shows("        ✓ exit-handler-1 / for-loop-2[2] / fit: success")
        .shows("chosen among 3 candidates (made by fit)");
    repo.call(&["view", "2"])
        .shows("→ metrics: accuracy = 0.9")
        .shows("→ best (system.Model) at /");
    repo.call(&["lineage", "choose/best"])
        .shows("(system.Model)")
        .shows("made by exit-handler-1/choose of run 2")
        .shows("used by exit-handler-1/condition-branches-3/condition-4/card of run 2");
    // Equal tasks are not run again; the gate is.
    repo.call(&["run", "workflow_dispatch", "--input", "limit=0.999"])
        .exits(1)
        .shows("5 cached")
        .shows("and 0.999 is asked for")
        .shows("training ended: FAILED");
}
