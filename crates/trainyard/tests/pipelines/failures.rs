//! Tasks that go wrong, each with its reason; parameters that are refused before anything runs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::{project, run, v2};

#[test]
fn parameters_are_checked_before_anything_runs() {
    let repo = project();
    let file = v2("parameters");
    for (args, message) in [
        (&[][..], "the parameter 'a' (NUMBER_INTEGER) is missing"),
        (&["-p", "a=1", "-p", "z=2"], "there is no parameter 'z' (a, b, c)"),
        (&["-p", "a=many"], "--param a: 'many' is no integer; it is NUMBER_INTEGER"),
        (&["-p", "a=1.5"], "'1.5' is no integer"),
        (&["-p", "a=1", "-p", "b=maybe"], "'maybe' is no boolean"),
        (&["-p", "a=1", "-p", "c={}"], "'{}' is no JSON list"),
        (&["-p", "a"], "expected NAME=VALUE"),
        (&["-p", "a=1", "-p", "b=1"], "'1' is no boolean"),
        (&["-p", "a=1", "-p", "a=2"], "--param a is given twice"),
    ] {
        run(&repo, &file, args).exits(2).shows(message);
    }
    repo.file("params.yaml", "a: \"4\"\n");
    run(&repo, &file, &["--params", "params.yaml"])
        .exits(2)
        .shows("the parameter 'a' is NUMBER_INTEGER, and a text is given: \"4\"");
    repo.file("params.json", "{\"a\": 4.0, \"b\": false, \"c\": [1]}");
    run(&repo, &file, &["--params", "params.json"]).exits(0).shows("4 False [1]");
    repo.call(&["runs"]).shows("parameters");
    // Those that were refused made no run.
    repo.call(&["view", "2"]).exits(2);
}

#[test]
fn each_failure_has_its_reason() {
    let repo = project();
    for (name, reason) in [
        ("no_output", "it ended well and gave no output 'out': neither in"),
        ("wrong_type", "its output 'out' (NUMBER_INTEGER): 'many' is no integer"),
        ("huge", "bytes; 1048576 are allowed"),
        ("outside", "cannot create /no-such-folder/file"),
        ("killed", "it was killed (SIGKILL; perhaps it ran out of memory)"),
        ("no_program", "'no-such-program' is not on this machine"),
        ("deadline", "its time was over after"),
    ] {
        run(&repo, &v2(name), &[]).exits(1).shows(reason);
    }
    let view = repo.call(&["view", "2"]);
    view.shows("✗ words: failure").shows("is no integer");
}

#[test]
fn a_cancel_ends_all_of_it() {
    let repo = project();
    let file = v2("hanging");
    let args =
        ["pipeline", "run", file.to_str().unwrap(), "--executor", "host", "--output", "json"];
    let mut child = repo.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut began = 0;
    while began < 2 {
        began += usize::from(lines.next().unwrap().contains("\"job_began\""));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:#?}");
    let ended = rest.iter().filter(|l| l.contains("\"cancelled\"") && l.contains("job_ended"));
    assert_eq!(ended.count(), 2, "{rest:#?}");
    repo.call(&["view"]).shows("cancelled");
}

/// A limit is held by a control group, or a note says that it is not; which of both, the machine decides.
#[test]
fn limits_of_memory_and_cpu() {
    let repo = project();
    let ran = run(&repo, &v2("limited"), &[]);
    let note = "its limits of CPU and memory are not held";
    match repo.call(&["view"]).out.contains(note) {
        true => ran.exits(0),
        false => ran
            .exits(1)
            .shows("greedy: failure")
            .shows("it used more memory than its limit of 64 MiB, and was killed"),
    };
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    if rustix::process::getuid().is_root() && own.lines().any(|l| l.contains(":memory:")) {
        ran.hides(note).exits(1);
        assert_eq!(super::said(&ran, "CORES"), ["CORES True"]);
    }
}
