//! Packages: what is read, and what is refused with its place.

use std::io::Write;

use super::{project, v2};

#[test]
fn yaml_json_zip_and_tar() {
    let repo = project();
    let yaml = std::fs::read_to_string(v2("hanging")).unwrap();
    let python = super::root().join("target/sdk/2.17.0/bin/python");
    let script = "import sys, yaml, json; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let json = std::process::Command::new(python).args(["-c", script]).arg(v2("hanging")).output();
    std::fs::write(repo.path("p.json"), json.unwrap().stdout).unwrap();
    let file = std::fs::File::create(repo.path("p.zip")).unwrap();
    let mut zip = zip::ZipWriter::new(file);
    zip.start_file("pipeline.yaml", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(yaml.as_bytes()).unwrap();
    zip.finish().unwrap();
    repo.file("inner/pipeline.yaml", &yaml);
    let tar = std::process::Command::new("tar")
        .args(["czf", "p.tar.gz", "-C", "inner", "pipeline.yaml"])
        .current_dir(repo.path(""))
        .status();
    assert!(tar.unwrap().success());
    for name in ["p.json", "p.zip", "p.tar.gz", "inner/pipeline.yaml"] {
        repo.call(&["pipeline", "check", name]).exits(0).shows("1 pipeline, 0 findings");
    }
    repo.call(&["pipeline", "describe", "p.zip"]).exits(0).shows("hanging (kfp-2.17.0)");
    repo.call(&["pipeline", "graph", "p.tar.gz"]).exits(0).shows("sleep-2");
}

#[test]
fn what_is_wrong_has_its_place() {
    let repo = project();
    for (text, message) in [
        ("", "the file is empty"),
        ("a: 1\n", "it has no schemaVersion"),
        ("schemaVersion: 2.1.0\nroot: {dag: {}}\n", "the pipeline has no name"),
        ("schemaVersion: 2.1.0\npipelineInfo: {name: x}\n", "the pipeline has no root"),
        (
            "schemaVersion: 2.1.0\npipelineInfo: {name: x}\nroot:\n  dag:\n    tasks:\n      a: {componentRef: {name: gone}}\n",
            "p.yaml:6",
        ),
        (
            "schemaVersion: 2.1.0\npipelineInfo: {name: x}\nextra: 1\nroot: {dag: {}}\n",
            "there is no field 'extra'",
        ),
        (
            "schemaVersion: 2.1.0\npipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {componentRef: {name: c}, dependentTasks: [b]}, b: {componentRef: {name: c}, dependentTasks: [a]}}}}\ncomponents: {c: {dag: {}}}\n",
            "the task 'a' waits for itself",
        ),
        (
            "schemaVersion: 2.1.0\npipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {componentRef: {name: c}}}}}\ncomponents: {c: {dag: {tasks: {b: {componentRef: {name: c}}}}}}\n",
            "is within itself",
        ),
        (
            "schemaVersion: 2.1.0\npipelineInfo: {name: x}\nroot: {dag: {tasks: {a: {componentRef: {name: c}, triggerPolicy: {condition: 'has(x)'}}}}}\ncomponents: {c: {dag: {}}}\n",
            "there is no function 'has'",
        ),
        (
            "schemaVersion: 2.1.0\npipelineInfo: {name: x}\nroot: {dag: {}}\n---\nschemaVersion: 2.1.0\npipelineInfo: {name: y}\nroot: {dag: {}}\n",
            "a second pipeline stands in the file",
        ),
        (
            "schemaVersion: 2.1.0\npipelineInfo: {name: ../..}\nroot: {dag: {tasks: {../a: {componentRef: {name: c}}}}}\ncomponents: {c: {executorLabel: e, outputDefinitions: {artifacts: {a/b: {artifactType: {schemaTitle: system.Artifact, schemaVersion: 0.0.1}}}}}}\ndeploymentSpec: {executors: {e: {container: {image: x}}}}\n",
            "the pipeline is called '../..'",
        ),
        ("a: [1\n", "This is not valid YAML"),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {entrypoint: x, templates: [{name: x, script: {}}]}\n",
            "which is all that kfp writes",
        ),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {entrypoint: x, templates: [{name: x, container: {image: a}, sidecars: [{image: b}]}]}\n",
            "the template 'x' has containers beside it (sidecars), and they are not run here",
        ),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {entrypoint: x, templates: [{name: x, resource: {action: create, manifest: 'kind: Secret'}}]}\n",
            "wants to create a Secret of Kubernetes, which is not here",
        ),
    ] {
        repo.file("p.yaml", text);
        repo.call(&["pipeline", "check", "p.yaml"]).exits(1).shows(message);
        repo.call(&["pipeline", "run", "p.yaml"]).exits(2);
    }
    std::fs::write(repo.path("p.png"), [0x89, b'P', b'N', b'G', 0xff]).unwrap();
    repo.call(&["pipeline", "run", "p.png"]).exits(2).shows("is no text");
    std::fs::write(repo.path("p.zip"), b"PK\x03\x04broken").unwrap();
    repo.call(&["pipeline", "run", "p.zip"]).exits(2);
    repo.call(&["pipeline", "run", "gone.yaml"]).exits(2).shows("gone.yaml");
}
