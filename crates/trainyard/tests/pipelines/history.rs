//! What is kept of runs: re-runs, also of runs whose process was killed; lineage.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::{project, run, v2};

#[test]
fn a_rerun_begins_what_failed() {
    let repo = project();
    let path = format!("path={}", repo.path("tries").display());
    // It fails three times; two retries are not enough for the first run.
    std::fs::write(repo.path("tries"), "").unwrap();
    let pipeline = "pipelineInfo: {name: again}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {first: {taskInfo: {name: first}, componentRef: {name: comp-first}}, second: {taskInfo: {name: second}, dependentTasks: [first], componentRef: {name: comp-second}, inputs: {parameters: {path: {componentInputParameter: path}}}}, third: {taskInfo: {name: third}, dependentTasks: [second], componentRef: {name: comp-first}}}}, inputDefinitions: {parameters: {path: {parameterType: STRING}}}}\ncomponents: {comp-first: {executorLabel: first}, comp-second: {executorLabel: second, inputDefinitions: {parameters: {path: {parameterType: STRING}}}}}\ndeploymentSpec: {executors: {first: {container: {image: x, command: [echo, FIRST]}}, second: {container: {image: x, command: [sh, -c, 'echo x >> \"$0\"; test $(wc -l < \"$0\") -ge 2'], args: ['{{$.inputs.parameters[''path'']}}']}}}}\n";
    repo.file("p.yaml", pipeline);
    run(&repo, &repo.path("p.yaml"), &["-p", &path])
        .exits(1)
        .shows("third: skipped: 'second' failed")
        .shows("rerun 1 --failed");
    let again = repo.call(&["rerun", "1", "--failed"]);
    again.exits(0).shows("attempt 2").shows("✓ second: success").shows("✓ third: success");
    again.hides("✓ first");
    repo.call(&["view", "1"]).shows("attempt 2");
    repo.call(&["rerun", "1", "--from", "third"]).exits(0).hides("✓ second").shows("✓ third");
    repo.call(&["rerun", "1", "--job", "nothing"]).exits(2).shows("has no job 'nothing'");
}

#[test]
fn after_a_kill_a_rerun_goes_on_from_what_was_recorded() {
    let repo = project();
    let hold = repo.path("hold");
    let pipeline = "pipelineInfo: {name: killed}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {first: {taskInfo: {name: first}, componentRef: {name: comp-first}}, second: {taskInfo: {name: second}, dependentTasks: [first], componentRef: {name: comp-second}, inputs: {parameters: {text: {taskOutputParameter: {producerTask: first, outputParameterKey: out}}}}}}}}\ncomponents: {comp-first: {executorLabel: first, outputDefinitions: {parameters: {out: {parameterType: STRING}}}}, comp-second: {executorLabel: second, inputDefinitions: {parameters: {text: {parameterType: STRING}}}}}\ndeploymentSpec: {executors: {first: {container: {image: x, command: [sh, -c, 'echo first >> FILE; printf made > \"$0\"'], args: ['{{$.outputs.parameters[''out''].output_file}}']}}, second: {container: {image: x, command: [sh, -c, 'echo SECOND $0; test -e HOLD || sleep 100'], args: ['{{$.inputs.parameters[''text'']}}']}}}}\n";
    let log = repo.path("times");
    let text =
        pipeline.replace("FILE", log.to_str().unwrap()).replace("HOLD", hold.to_str().unwrap());
    repo.file("p.yaml", &text);
    let args = ["pipeline", "run", "p.yaml", "--executor", "host", "--output", "json"];
    let mut child = repo.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let second = |l: &String| l.contains("\"job_began\"") && l.contains("second");
    assert!(lines.any(|l| second(&l)));
    // What was recorded is committed within a moment, and only then the kill is fair.
    while !repo.call(&["view", "1"]).out.contains("second: running") {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(&hold, "").unwrap();
    repo.call(&["rerun", "1", "--failed"]).exits(0).shows("SECOND made");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "first\n", "the first task ran once");
}

#[test]
fn lineage_tells_who_made_and_who_used() {
    let repo = project();
    run(&repo, &v2("training"), &["-p", "n=2"]).exits(0);
    let all = repo.call(&["lineage", "data"]);
    all.exits(0)
        .shows("system.Dataset")
        .shows("made by exit-handler-1/prep of run 1")
        .shows("used by exit-handler-1/for-loop-2[0]/train of run 1 as data")
        .shows("used by exit-handler-1/for-loop-2[1]/train of run 1 as data");
    repo.call(&["lineage", "nothing"]).exits(2).shows("there is no artifact 'nothing'");
    let json = repo.call(&["lineage", "data", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value[0]["uses"].as_array().unwrap().len(), 2);
}

/// A workflow's step compiles nothing here and runs a pipeline: a run of its own, shown with its job.
#[test]
fn a_pipeline_in_a_step_is_a_child_run() {
    let repo = crate::common::Repo::with(
        "on: push\njobs:\n  train:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: trainyard pipeline run p.yaml --executor host\n",
    );
    repo.file(
        "p.yaml",
        "pipelineInfo: {name: inner}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {a: {taskInfo: {name: a}, componentRef: {name: comp-a}}, b: {taskInfo: {name: b}, componentRef: {name: comp-b}}}}}\ncomponents: {comp-a: {executorLabel: a}, comp-b: {executorLabel: b}}\ndeploymentSpec: {executors: {a: {container: {image: x, command: [echo, A]}}, b: {container: {image: x, command: [sh, -c, 'echo no; exit 3']}}}}\n",
    );
    let ran = repo.call(&["run", "push"]);
    ran.exits(1).shows("b: it ended with exit code 3: no");
    // Without a number it is the workflow's run that is meant.
    let view = repo.call(&["view"]);
    view.shows("✗ train: failure").shows("error: b: it ended with exit code 3: no");
    view.shows("    ↳ run 2 · inner: failure").shows("        ✓ a: success");
    let json = repo.call(&["view", "1", "--json"]);
    let whole: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let child = &whole["jobs"][0]["children"][0];
    assert_eq!((child["run"].as_i64(), child["status"].as_str()), (Some(2), Some("failure")));
    repo.call(&["view", "2"]).shows("inner · inner 1  (run 2, p.yaml)");
    repo.call(&["view", "1", "--graph"])
        .shows("train ↳ run 2 · inner: failure")
        .shows("    a  success")
        .shows("    b  failure");
}

/// Equal artifacts of several runs are stored once; the files themselves stay for the latest run.
#[test]
fn artifacts_are_stored_once() {
    let repo = project();
    repo.file(
        "p.yaml",
        "pipelineInfo: {name: big}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {make: {taskInfo: {name: make}, cachingOptions: {enableCache: true}, componentRef: {name: comp-make}}, use: {taskInfo: {name: use}, componentRef: {name: comp-use}, dependentTasks: [make], inputs: {artifacts: {given: {taskOutputArtifact: {producerTask: make, outputArtifactKey: out}}}}}}}}\ncomponents: {comp-make: {executorLabel: make, outputDefinitions: {artifacts: {out: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}}}}, comp-use: {executorLabel: use, inputDefinitions: {artifacts: {given: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}}}}}\ndeploymentSpec: {executors: {make: {container: {image: x, command: [sh, -c, 'mkdir \"$0\"; awk \"BEGIN { srand(7); for (i = 0; i < 400000; i++) print rand() rand() }\" > \"$0/weights\"; chmod 700 \"$0/weights\"'], args: ['{{$.outputs.artifacts[''out''].path}}']}}, use: {container: {image: x, command: [sh, -c, 'echo USED $(wc -l < \"$0/weights\") $(stat -c %a \"$0/weights\")'], args: ['{{$.inputs.artifacts[''given''].path}}']}}}}\n",
    );
    let stored = || {
        let du = repo.call(&["du", "--json"]);
        let du: serde_json::Value = serde_json::from_str(&du.out).unwrap();
        (du["outputs"]["count"].as_u64().unwrap(), du["stored"].as_u64().unwrap())
    };
    let p = repo.path("p.yaml");
    run(&repo, &p, &[]).exits(0).shows("USED 400000 700");
    let (count, once) = stored();
    assert_eq!(count, 1);
    run(&repo, &p, &["--no-cache"]).exits(0);
    let (count, twice) = stored();
    assert_eq!(count, 2);
    assert!(twice < once + once / 20, "{once} {twice}");
    let runs = || std::fs::read_dir(repo.data.join("pipelines/artifacts/big")).unwrap().count();
    assert_eq!(runs(), 1);
    // What stands for an equal task comes back from the store for those that need it.
    run(&repo, &p, &["--no-cache"]).exits(0);
    let third = run(&repo, &p, &[]);
    third.exits(0).shows("make: success: cached").shows("USED 400000 700");
    let saved = repo.path("saved");
    let saved = saved.to_str().unwrap();
    repo.call(&["lineage", "make/out", "--save", saved]).exits(0).shows("out of run 3 is at");
    assert_eq!(
        std::fs::read(repo.path("saved/weights")).unwrap().iter().filter(|b| **b == b'\n').count(),
        400_000
    );
    repo.call(&["lineage", "make/out", "--save", saved]).exits(2).shows("is there already");
    repo.call(&["prune", "--pipelines"]).exits(0).shows("3 artifacts taken away");
    assert_eq!(stored().0, 0);
    repo.call(&["lineage", "1", "--save", repo.path("none").to_str().unwrap()])
        .exits(2)
        .shows("nothing is left of");
    let fifth = run(&repo, &p, &[]);
    fifth.exits(0).shows("USED 400000 700").hides("cached");
}
