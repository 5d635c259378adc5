//! One test for each part of the language.

use super::{project, run, said, v2};

/// Runs a pipeline of that name to a good end, and gives what it printed with a word.
fn good(name: &str, args: &[&str], word: &str) -> Vec<String> {
    let ran = run(&project(), &v2(name), args);
    ran.exits(0);
    said(&ran, word)
}

#[test]
fn a_training_pipeline() {
    let repo = project();
    let ran = run(&repo, &v2("training"), &["--param", "n=3"]);
    ran.exits(0)
        .shows("BEST [0.1, 0.2, 0.3] ['model 1', 'model 2', 'model 3']")
        .shows("SHOW good: 0.3")
        .shows("CLEANUP COMPLETE exit-handler-1 None")
        .shows("condition-5: skipped: its condition is false")
        .hides("SHOW bad");
    let ran = run(&repo, &v2("training"), &["-p", "n=2", "-p", "limit=0.9", "--no-cache"]);
    ran.exits(0).shows("SHOW bad").hides("SHOW good");
}

#[test]
fn containers_by_their_commands() {
    let ran = run(&project(), &v2("containers"), &[]);
    let name = "it's {{$.inputs.parameters['x']}} \"me\"";
    ran.exits(0)
        // A value is data: placeholders and quotes in it stay.
        .shows(&format!("hello {name}|{name}|{{{{$.json_escape[1]}}}}|'quoted' \"$HOME\"|7"))
        .shows("REST --loud yes")
        .shows("REST --quiet")
        .shows(&format!("SHOW hello {name}"))
        .shows("NUMBERS FINE");
}

#[test]
fn collected_outputs_nest_and_keep_their_order() {
    assert_eq!(
        good("nested_loops", &[], "NESTED"),
        ["NESTED [[14, 15], [24, 25], [34, 35]] ['14', '15', '24', '25', '34', '35']"]
    );
    assert_eq!(good("skipped_branches", &[], "TOTAL"), ["TOTAL [3, 4]"]);
    assert_eq!(good("loop_over_nothing", &[], "TOTAL"), ["TOTAL []"]);
    assert_eq!(good("artifact_loop", &[], "USE"), ["USE x", "USE y"]);
}

#[test]
fn one_of_several_branches() {
    for which in ["a", "b", "c"] {
        let found = good("one_of", &["-p", &format!("which={which}")], "ONEOF");
        assert_eq!(found, [format!("ONEOF from {which} from {which}")]);
    }
}

#[test]
fn optional_inputs_have_the_defaults_of_their_functions() {
    assert_eq!(
        good("optional_inputs", &[], "OPTIONAL"),
        [
            "OPTIONAL alone own default None None",
            "OPTIONAL inner given 6 None",
            "OPTIONAL inner own default 5 None",
            "OPTIONAL outer own default None None",
        ]
    );
    let given = good("optional_inputs", &["-p", "text=given"], "OPTIONAL outer");
    assert_eq!(given, ["OPTIONAL outer given None None"]);
}

#[test]
fn values_keep_their_types() {
    let ran = run(&project(), &v2("types"), &["-p", "b=true", "-p", "d={\"A\": 1.0, \"a\": null}"]);
    ran.exits(0);
    assert_eq!(
        said(&ran, "TYPES"),
        [
            "TYPES again 4 2 True [1, 2.5, {'k': 'v'}] {'A': 1, 'a': None} y",
            "TYPES text 3 2 True [1, 2.5, {'k': 'v'}] {'A': 1, 'a': None} x",
        ]
    );
    let items = ["ITEM '1' \"it's\"", "ITEM '2' 'a \"b\"'", "ITEM 1 10", "ITEM 2 20"];
    assert_eq!(said(&ran, "ITEM"), items);
}

#[test]
fn retries_are_counted_and_inherited() {
    let repo = project();
    let tries = format!("path={}", repo.path("tries").display());
    run(&repo, &v2("retries"), &["-p", &tries])
        .exits(0)
        .shows("attempt 2 failed (it ended with exit code 1: AssertionError: try 2)")
        .shows("TRIES 3");
    let tries = format!("path={}", repo.path("inner").display());
    run(&repo, &v2("sub_retry"), &["-p", &tries]).exits(0).shows("TRIES 2");
}

#[test]
fn what_ran_before_stands_for_equal_tasks() {
    let repo = project();
    let path = format!("path={}", repo.path("count").display());
    let times = || std::fs::read_to_string(repo.path("count")).unwrap().len();
    run(&repo, &v2("caching"), &["-p", &path]).exits(0).shows("SHOW 3");
    assert_eq!(times(), 3);
    // The one that asks for no cache runs again.
    let again = run(&repo, &v2("caching"), &["-p", &path]);
    again.exits(0).shows("3 cached").shows("count: success: cached: 'count' of run 1 was equal");
    assert_eq!(times(), 4);
    repo.call(&["view", "2"]).shows("✓ count: cached  (cached: 'count' of run 1 was equal)");
    run(&repo, &v2("caching"), &["-p", &path, "-p", "n=5"]).exits(0).shows("SHOW 7");
    assert_eq!(times(), 7);
    run(&repo, &v2("caching"), &["-p", &path, "--no-cache"]).exits(0);
    assert_eq!(times(), 10);
    repo.call(&["view", "4"]).shows("cache not looked for: --no-cache");
    run(&repo, &v2("training"), &["-p", "n=1"]).exits(0);
    run(&repo, &v2("training"), &["-p", "n=1"]).exits(0).shows("prep: success: cached");
    // What it made is gone, though not from the store.
    std::fs::remove_dir_all(repo.data.join("pipelines/artifacts")).unwrap();
    run(&repo, &v2("training"), &["-p", "n=1"]).exits(0).shows("prep: success: cached");
    // Now it is: that is a miss, with its reason, and so is all that used it.
    repo.call(&["prune", "--pipelines"]).exits(0);
    run(&repo, &v2("training"), &["-p", "n=1"])
        .exits(0)
        .shows("BEST [0.1] ['model 1']")
        .shows("installing once for all tasks");
    repo.call(&["view", "8"]).shows("cache miss: run 5 gave it, and");
}

/// A task is equal to another one if it was given the same artifact, not one of the same name.
#[test]
fn other_artifacts_are_other_inputs() {
    let repo = project();
    let file = v2("by_artifact");
    assert_eq!(said(&run(&repo, &file, &["-p", "i=1"]), "GOT"), ["GOT model of data 1"]);
    let again = run(&repo, &file, &["-p", "i=1"]);
    again.exits(0).shows("3 cached");
    assert_eq!(said(&run(&repo, &file, &["-p", "i=2"]), "GOT"), ["GOT model of data 2"]);
}

/// A task has its inputs for itself, as on a cluster: what it writes into them nobody else finds.
#[test]
fn a_changed_input_is_as_it_was_for_others() {
    let repo = project();
    for _ in 0..2 {
        let ran = run(&repo, &v2("in_place"), &[]);
        assert_eq!(said(&ran, "GOT"), ["GOT data 1"]);
    }
    repo.call(&["view"]).shows("it wrote into its input 'data'");
}

#[test]
fn imported_artifacts() {
    let repo = project();
    let file = repo.path("given.txt");
    std::fs::write(&file, "what was there").unwrap();
    let uri = format!("uri={}", file.display());
    run(&repo, &v2("imports"), &["-p", &uri, "-p", "source=here"])
        .exits(0)
        .shows(&format!("IMPORTED {} {{'n': 1, 'source': 'here'}} what was there", file.display()));
    // Not imported anew, it is the same artifact, and who used it is equal.
    run(&repo, &v2("imports"), &["-p", &uri, "-p", "source=here"]).exits(0).shows("1 cached");
    run(&repo, &v2("imports"), &["-p", &uri, "-p", "source=there"]).exits(0).shows("IMPORTED");
}

#[test]
fn exit_handlers_see_how_the_body_ended() {
    let ran = run(&project(), &v2("failing_body"), &[]);
    ran.exits(1)
        .shows("CLEANUP FAILED exit-handler-1 'fail' failed: it ended with exit code 1: on purpose")
        .shows("show-3: skipped: 'fail' failed")
        .hides("SHOW never");
    // Independent tasks go on.
    assert_eq!(said(&ran, "SHOW"), ["SHOW before", "SHOW first"]);
    run(&project(), &v2("ignoring"), &[]).exits(1).shows("AFTER ALL nothing came");
    let ran = run(&project(), &v2("exit_pipeline"), &[]);
    assert_eq!(said(&ran, "SHOW"), ["SHOW a whole pipeline", "SHOW body", "SHOW goodbye none"]);
}

#[test]
fn a_workspace_is_shared_by_the_run() {
    assert_eq!(good("workspace", &[], "WORKSPACE"), ["WORKSPACE shared"]);
}

#[test]
fn artifacts_have_types_metadata_and_folders() {
    assert_eq!(good("get_uri", &[], "FOLDER"), ["FOLDER in a folder {'by': 'return'}"]);
    let repo = project();
    run(&repo, &v2("visual"), &[]).exits(0);
    for (name, kind, told) in [
        ("metrics", "system.ClassificationMetrics", "confusionMatrix"),
        ("metrics", "system.ClassificationMetrics", "confidenceMetrics"),
        ("page", "system.HTML", ""),
        ("notes", "system.Markdown", ""),
        ("numbers", "system.Metrics", "\"f1\": 0.5"),
    ] {
        repo.call(&["lineage", name]).exits(0).shows(kind).shows(told);
    }
}

/// However it is started, a function finds what a process of its own finds.
#[test]
fn functions_are_processes_of_their_own() {
    let ran = run(&project(), &v2("own_process"), &[]);
    ran.exits(0);
    let each = ["OWN child", "OWN end", "OWN error stream", "OWN exit", "OWN thread"];
    let both: Vec<&str> = each.iter().flat_map(|l| [*l, *l]).collect();
    assert_eq!(said(&ran, "OWN"), both);
}

#[test]
fn an_artifact_at_a_path_of_its_own_is_found_at_its_address() {
    let repo = project();
    let place = format!("place={}", repo.path("elsewhere").display());
    let ran = run(&repo, &v2("own_path"), &["-p", &place]);
    assert_eq!(said(&ran, "FOUND"), ["FOUND moved"]);
}

#[test]
fn what_a_pipeline_gives_is_shown() {
    let repo = project();
    let ran = run(&repo, &v2("gives"), &["-p", "n=2"]);
    ran.exits(0).shows("doubled = 4").shows("words = [\"a\",\"b\"]");
    repo.call(&["view"]).shows("    Output = 4").shows("doubled = 4");
    let json = repo.call(&["view", "--json"]);
    let whole: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(whole["outputs"]["words"], serde_json::json!(["a", "b"]));
    assert_eq!(whole["jobs"][0]["outputs"]["Output"], serde_json::json!(4));
}

#[test]
fn placeholders_speak_of_the_run() {
    let ran = run(&project(), &v2("placeholders"), &[]);
    ran.exits(0).shows("SHOW Places 1").shows("task=show-2");
    let all = said(&ran, "SHOW");
    assert_eq!(all.len(), 5);
    assert!(all.iter().any(|l| l.starts_with("SHOW placeholders-")), "{all:?}");
    assert!(all.iter().any(|l| l.starts_with("SHOW 20") && l.ends_with('Z')), "{all:?}");
    assert!(!ran.out.contains("SHOW {{"), "{all:?}");
}

#[test]
fn secrets_claims_and_facts_of_the_pod() {
    let repo = project();
    let file = v2("cluster");
    run(&repo, &file, &[]).exits(1).shows("[pipeline.secrets.s] in trainyard.toml gives it");
    repo.file(
        "trainyard.toml",
        "[pipeline.secrets.s]\ntoken = \"env:A_TOKEN\"\n[pipeline.config-maps.c]\nsetting = \"on\"\n",
    );
    let args = ["pipeline", "run", file.to_str().unwrap(), "--executor", "host", "--no-cache"];
    let ran = common(repo.command(&args).env("A_TOKEN", "t1").output().unwrap());
    ran.exits(0).shows("SECRET t1 on None").shows("VOLUME onetwo ml");
    let notes = repo.call(&["view"]);
    notes.shows("left out, as one machine has no use for it: a selector of nodes");
    // `DeletePVC` takes the volume away again.
    let left = std::fs::read_dir(repo.data.join("pipelines/volumes")).unwrap().count();
    assert_eq!(left, 0);
}

fn common(output: std::process::Output) -> crate::common::Ran {
    crate::common::ran(output)
}

#[test]
fn a_volume_by_trainyard_toml() {
    let repo = project();
    repo.file("trainyard.toml", "[pipeline.volumes]\n\"/shared/place\" = \"models\"\n");
    repo.file(
        "p.yaml",
        "pipelineInfo: {name: p}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {a: {taskInfo: {name: a}, componentRef: {name: comp-a}}, b: {taskInfo: {name: b}, dependentTasks: [a], componentRef: {name: comp-b}}}}}\ncomponents: {comp-a: {executorLabel: a}, comp-b: {executorLabel: b}}\ndeploymentSpec: {executors: {a: {container: {image: x, command: [sh, -c, 'echo v > /shared/place/f']}}, b: {container: {image: x, command: [sh, -c, 'echo FOUND $(cat /shared/place/f)']}}}}\n",
    );
    run(&repo, &repo.path("p.yaml"), &[]).exits(0).shows("FOUND v");
    assert_eq!(
        std::fs::read_to_string(repo.data.join("pipelines/volumes/models/f")).unwrap(),
        "v\n"
    );
    assert!(!std::path::Path::new("/shared").exists(), "nothing is made on the machine itself");
    // Without the volume there is a hint.
    std::fs::remove_file(repo.path("trainyard.toml")).unwrap();
    run(&repo, &repo.path("p.yaml"), &[]).exits(1);
    repo.call(&["view"])
        .shows("'b' of this pipeline names /shared/place, too")
        .shows("[pipeline.volumes] in trainyard.toml");
}

/// What rides in the source of a component: files, and notebooks.
#[test]
fn embedded_files_and_notebooks() {
    assert_eq!(good("embedded", &[], "EMBEDDED"), ["EMBEDDED carried along"]);
    let ran = run(&project(), &v2("notebook"), &["-p", "n=3"]);
    ran.exits(0).shows("NOTEBOOK 6");
}

/// No more iterations of a loop at once than it allows, whatever `--jobs` says.
#[test]
fn loops_keep_to_their_parallelism() {
    let repo = project();
    let folder = repo.path("open");
    std::fs::create_dir(&folder).unwrap();
    let given = format!("folder={}", folder.display());
    let ran = run(&repo, &v2("two_at_once"), &["-p", &given, "--jobs", "6"]);
    ran.exits(0);
    let most = said(&ran, "OPEN").last().cloned();
    assert_eq!(most.as_deref(), Some("OPEN 2"));
}
