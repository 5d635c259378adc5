//! The built-in actions for caches, artifacts and tools, through the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::io::Write;

use common::Repo;

fn job(steps: &str) -> Repo {
    Repo::with(&format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"))
}

#[test]
fn caches_are_saved_once_and_found_again() {
    let repo = job("      - uses: actions/checkout@v4\n      \
         - {uses: actions/cache@v4, id: c, with: {path: \"data\\n~/trainyard-test-cache\", key: \"k-${{ hashFiles('a.txt') }}\", restore-keys: k-}}\n      \
         - run: 'echo hit=[${{ steps.c.outputs.cache-hit }}] $(cat data/x 2>/dev/null); mkdir -p data ~/trainyard-test-cache; echo one > data/x; ln -sf x data/l; echo $RANDOM > ~/trainyard-test-cache/y'\n");
    repo.file("a.txt", "1").commit("a");
    let home = repo.data.with_file_name("home");
    std::fs::create_dir_all(&home).unwrap();
    let home = format!("HOME={}", home.display());
    let run = || repo.run(&["--env", &home]);
    run()
        .exits(0)
        .shows("hit=[]")
        .shows("Cache not found for input keys: k-")
        .shows("Cache saved with key: k-");
    run().exits(0).shows("hit=[true] one").shows("not saving cache");
    // Another key, found by its beginning, and then saved.
    repo.file("a.txt", "2").commit("b");
    run().exits(0).shows("hit=[false] one").shows("Cache saved with key: k-").shows("of which");
    let list = repo.call(&["cache", "list"]);
    assert_eq!(list.out.lines().count(), 2, "{}", list.out);
    repo.call(&["cache", "show", "1"]).exits(0).shows("refs/heads/main");
    repo.call(&["cache", "delete", "1", "2"]).exits(0).shows("are free");
    repo.call(&["cache", "list"]).shows("no cache entries");
    repo.call(&["cache", "delete", "1"]).exits(2).shows("there is no cache entry 1");
    run().exits(0).shows("hit=[]");
    repo.call(&["du"]).exits(0).shows("1 cache entries");
}

#[test]
fn a_failed_job_saves_no_cache_and_the_parts_do_as_they_say() {
    let repo = job(
        "      - {uses: actions/cache@v4, with: {path: d, key: k}}\n      - run: mkdir d; echo x > d/x; exit 1\n",
    );
    repo.run(&[]).exits(1).hides("Cache saved");
    repo.file(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - {uses: actions/cache/restore@v4, id: r, with: {path: d, key: k1, restore-keys: \"z\\nk\"}}\n      \
         - run: 'echo r=[${{ steps.r.outputs.cache-hit }}+${{ steps.r.outputs.cache-matched-key }}+${{ steps.r.outputs.cache-primary-key }}]; mkdir -p d; echo x > d/x'\n      \
         - {uses: actions/cache/save@v4, with: {path: d, key: k1}}\n      \
         - {uses: actions/cache/save@v4, with: {path: gone, key: k2}}\n      \
         - {uses: actions/cache/restore@v4, with: {path: d, key: nothing, fail-on-cache-miss: true}}\n",
    );
    repo.commit("parts");
    let ran = repo.run(&[]);
    ran.exits(1).shows("r=[++k1]").shows("Cache saved with key: k1");
    ran.shows("Path Validation Error").shows("Failed to restore cache entry").shows("nothing");
    repo.run(&[]).shows("r=[true+k1+k1]").shows("Unable to reserve cache with key k1");
}

#[test]
fn branches_do_not_see_each_others_caches() {
    let repo = job(
        "      - {uses: actions/cache@v4, id: c, with: {path: d, key: k}}\n      - run: 'echo hit=[${{ steps.c.outputs.cache-hit }}]; mkdir -p d; git -C . version > d/x'\n",
    );
    repo.git(&["checkout", "-q", "-b", "one"]);
    repo.run(&[]).exits(0).shows("hit=[]");
    repo.git(&["checkout", "-q", "-b", "two"]);
    repo.run(&[]).exits(0).shows("hit=[]").shows("it belongs to refs/heads/one");
    repo.git(&["checkout", "-q", "main"]);
    repo.run(&[]).exits(0).shows("hit=[]");
    // The default branch's is everybody's.
    repo.git(&["checkout", "-q", "-b", "three"]);
    repo.run(&[]).exits(0).shows("hit=[true]");
}

#[test]
fn artifacts_go_from_job_to_job() {
    let repo = Repo::with(
        r#"
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    strategy: {matrix: {n: [1, 2]}}
    steps:
      - run: mkdir -p out/deep out/.hid; echo m${{ matrix.n }} > out/deep/model; echo h > out/.hid/x; echo t > out/skip.tmp
      - {uses: actions/upload-artifact@v4, id: u, with: {name: "model-${{ matrix.n }}", path: "out\n!out/*.tmp", retention-days: 5}}
      - run: echo id=${{ steps.u.outputs.artifact-id }} ${{ steps.u.outputs.artifact-url }} ${{ steps.u.outputs.artifact-digest }}
  b:
    needs: a
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/download-artifact@v4, id: d, with: {path: all}}
      - {uses: actions/download-artifact@v4, with: {name: model-1, path: one}}
      - {uses: actions/download-artifact@v4, with: {pattern: 'model-*', path: merged, merge-multiple: true}}
      - run: find all one merged -type f | sort | tr '\n' ' '; echo at=${{ steps.d.outputs.download-path }}
      - {uses: actions/download-artifact@v4, continue-on-error: true, with: {name: gone}}
      - {uses: actions/upload-artifact@v4, continue-on-error: true, with: {name: model-1, path: one}}
      - {uses: actions/upload-artifact@v4, with: {name: model-1, path: one/deep/model, overwrite: true}}
      - {uses: actions/upload-artifact@v4, with: {path: nothing, if-no-files-found: ignore}}
      - {uses: actions/upload-artifact@v7, with: {path: one/deep/model, archive: false}}
      - {uses: actions/upload-artifact@v4, continue-on-error: true, with: {name: 'a/b', path: one}}
"#,
    );
    let ran = repo.run(&[]);
    ran.exits(0)
        .shows("all/model-1/deep/model all/model-2/deep/model merged/deep/model one/deep/model");
    ran.shows("Artifact not found for name: gone").shows("the run has: model-");
    ran.shows("already exists on the workflow run").shows("The artifact name is not valid: a/b");
    ran.shows("No files were found with the provided path: nothing");
    repo.call(&["artifacts", "list"]).exits(0).shows("model-1").shows("model-2");
    let to = repo.data.with_file_name("got");
    let to_text = to.to_string_lossy().into_owned();
    repo.call(&["artifacts", "download", "model-1", "--to", &to_text]).exits(0);
    assert_eq!(std::fs::read_to_string(to.join("model")).unwrap(), "m1\n");
    repo.call(&["artifacts", "download", "nope"]).exits(2).shows("it has:");
    repo.call(&["artifacts", "show", "3"]).exits(0).shows("\"name\": \"model\"");
    repo.call(&["du", "--json"]).exits(0).shows("\"artifacts\"");
}

/// A zip that the client of an attacker might have made.
fn evil_zip(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, link) in entries {
        let options = zip::write::SimpleFileOptions::default();
        match link {
            Some(to) => writer.add_symlink(*name, *to, options).unwrap(),
            None => {
                writer.start_file(*name, options).unwrap();
                writer.write_all(b"bad").unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn archives_that_lead_away_are_refused() {
    let repo = job("      - run: echo\n");
    repo.run(&[]).exits(0);
    let outside = repo.data.with_file_name("outside");
    std::fs::create_dir_all(&outside).unwrap();
    let store = trainyard_blob::Store::open(&repo.data.join("store")).unwrap();
    let away = outside.to_string_lossy().into_owned();
    let cases: [&[(&str, Option<&str>)]; 4] = [
        &[("../../outside/x", None)],
        &[("/etc/trainyard-test", None)],
        &[("l", Some(&away)), ("l/x", None)],
        &[("d/../../x", None)],
    ];
    for (at, entries) in cases.iter().enumerate() {
        let mut writer = store.writer(true);
        writer.write_all(&evil_zip(entries)).unwrap();
        let name = format!("evil{at}");
        let new = trainyard_blob::NewArtifact {
            repository: "local/project",
            run: 1,
            name: &name,
            node: 1,
            mime: "application/zip",
            expires: None,
        };
        store.save_artifact(&new, writer.finish().unwrap()).unwrap();
        let to = repo.data.with_file_name(format!("to{at}"));
        let to = to.to_string_lossy().into_owned();
        let ran = repo.call(&["artifacts", "download", &name, "--run", "1", "--to", &to]);
        assert_ne!(ran.code, 0, "{entries:?} {}", ran.out);
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!std::path::Path::new("/etc/trainyard-test").exists());
    // A link of the user's own that stands where the files go.
    let mut writer = store.writer(true);
    writer.write_all(&evil_zip(&[("sub/x", None), ("f", None)])).unwrap();
    let new = trainyard_blob::NewArtifact {
        repository: "local/project",
        run: 1,
        name: "plain",
        node: 1,
        mime: "application/zip",
        expires: None,
    };
    store.save_artifact(&new, writer.finish().unwrap()).unwrap();
    let to = repo.data.with_file_name("linked");
    std::fs::create_dir_all(&to).unwrap();
    std::os::unix::fs::symlink(&outside, to.join("sub")).unwrap();
    let to = to.to_string_lossy().into_owned();
    let ran = repo.call(&["artifacts", "download", "plain", "--run", "1", "--to", &to]);
    ran.exits(2).shows("goes through a link that leads away");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn two_runs_share_the_store() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy: {matrix: {n: [1, 2, 3, 4]}}\n    steps:\n      \
         - {uses: actions/cache@v4, with: {path: d, key: 'k-${{ matrix.n }}'}}\n      \
         - run: mkdir -p d; head -c 3000000 /dev/urandom > d/x; sha256sum d/x > sum\n      \
         - {uses: actions/upload-artifact@v4, with: {name: 'm-${{ matrix.n }}', path: d}}\n      \
         - {uses: actions/download-artifact@v4, with: {name: 'm-${{ matrix.n }}', path: d}}\n      - run: sha256sum -c sum\n",
    );
    let runs: Vec<_> = (0..3)
        .map(|_| repo.command(&["run"]).stdout(std::process::Stdio::piped()).spawn().unwrap())
        .collect();
    let prune = repo.call(&["cache", "prune", "--older", "0s"]);
    prune.exits(0);
    for run in runs {
        let ran = common::ran(run.wait_with_output().unwrap());
        ran.exits(0);
    }
    repo.call(&["artifacts", "list"]).exits(0);
}

#[test]
fn a_killed_save_leaves_nothing_half() {
    let repo = job(
        "      - run: mkdir d; head -c 400000000 /dev/zero | tr '\\0' 'x' > d/x; head -c 300000000 /dev/urandom > d/y; echo x > $ROOT/ready\n      - {uses: actions/cache/save@v4, with: {path: d, key: k}}\n",
    );
    let fifo = repo.path("ready");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let root = format!("ROOT={}", repo.root.display());
    let mut child = repo.command(&["run", "--env", &root]).spawn().unwrap();
    std::fs::read_to_string(&fifo).unwrap();
    // Until the pack is being written.
    let packs = repo.data.join("store/packs");
    let begun = |p: &std::path::Path| std::fs::read_dir(p).is_ok_and(|mut d| d.next().is_some());
    while !begun(&packs) && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    // The save is a process of its own: it goes with its run, as the machine would.
    let tree = format!("pkill -9 -f '{}' ; true", repo.data.display());
    std::process::Command::new("sh").args(["-c", &tree]).status().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    repo.file(
        ".github/workflows/ci.yml",
        "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo}]}}\n",
    );
    repo.run(&[]).exits(0);
    repo.call(&["cache", "list"]).shows("no cache entries");
    repo.call(&["cache", "prune"]).exits(0);
    assert_eq!(std::fs::read_dir(&packs).unwrap().count(), 0, "a half pack was left");
}

#[test]
fn uv_and_node_are_set_up() {
    let repo = job(
        "      - {uses: astral-sh/setup-uv@v6, id: u, with: {version: 0.9.5, activate-environment: true}}\n      \
         - run: uv --version; which uv; echo venv=$VIRTUAL_ENV; python -c 'import sys; print(sys.prefix)'; echo v=${{ steps.u.outputs.uv-version }}\n      \
         - {uses: actions/setup-node@v4, id: n, with: {node-version: 20, registry-url: 'https://npm.example.org'}}\n      \
         - run: node --version; echo n=${{ steps.n.outputs.node-version }}; npm config get prefix; cat $NPM_CONFIG_USERCONFIG\n",
    );
    let ran = repo.run(&[]);
    ran.exits(0)
        .shows("uv 0.9.5")
        .shows("v=0.9.5")
        .shows("/.venv")
        .shows("n=v20.")
        .shows("_temp/_npm");
    ran.shows("//npm.example.org/:_authToken=${NODE_AUTH_TOKEN}");
    // The second time it is there.
    repo.run(&[]).exits(0).hides("from the package index");
}

fn git(folder: &std::path::Path, args: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.org",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn checkout_of_other_repositories() {
    let repo = job(
        "      - {uses: actions/checkout@v4, with: {repository: o/data, path: data}}\n      \
         - {uses: actions/checkout@v4, with: {repository: o/data, ref: v1, path: old, fetch-depth: 0}}\n      \
         - {uses: actions/checkout@v4, with: {repository: o/data, ref: topic, path: topic}}\n      \
         - run: cat data/x old/x topic/x | tr '\\n' ' '; git -C data branch --show-current; git -C old log --oneline | wc -l; git -C data config remote.origin.url; git -C data rev-list --count HEAD\n      \
         - {uses: actions/checkout@v4, continue-on-error: true, with: {repository: o/data, ref: gone, path: gone}}\n      \
         - {uses: actions/checkout@v4, continue-on-error: true, with: {repository: ../x, path: gone}}\n",
    );
    let mirror = repo.data.with_file_name("mirror");
    let data = mirror.join("o/data.git");
    std::fs::create_dir_all(&data).unwrap();
    git(&data, &["init", "-q", "-b", "trunk"]);
    for (text, tag) in [("one", "v1"), ("two", "v2")] {
        std::fs::write(data.join("x"), format!("{text}\n")).unwrap();
        git(&data, &["add", "-A"]);
        git(&data, &["commit", "-q", "-m", text]);
        git(&data, &["tag", tag]);
    }
    git(&data, &["branch", "topic", "v1"]);
    let mirror = mirror.to_string_lossy().into_owned();
    let ran = repo.run(&["--action-mirror", &mirror]);
    ran.exits(0)
        .shows("two one one trunk")
        .shows("https://github.com/o/data")
        .shows("has no ref")
        .shows("Invalid repository");
    // The old tag has one commit behind it, and a shallow head is one.
    assert_eq!(ran.lines().iter().filter(|l| **l == "1").count(), 2, "{}", ran.out);
    ran.shows(&mirror);
}

#[test]
fn checkout_of_a_few_folders_and_of_submodules() {
    let repo = job(
        "      - {uses: actions/checkout@v4, with: {sparse-checkout: \"src\\ndocs\", path: few}}\n      \
         - {uses: actions/checkout@v4, with: {sparse-checkout: 'big/*.txt', sparse-checkout-cone-mode: false, path: pat}}\n      \
         - {uses: actions/checkout@v4, with: {submodules: recursive, path: all}}\n      \
         - {uses: actions/checkout@v4, with: {path: none}}\n      \
         - run: for d in few pat all none; do (cd $d; echo $d=$(find . -path ./.git -prune -o -type f -print | grep -v '/\\.' | sort | tr '\\n' ' ')); done; git -C few status --short | wc -l; git -C all submodule status | wc -l\n",
    );
    for file in ["top", "src/a", "docs/b", "big/c.txt", "big/d.bin"] {
        repo.file(file, "x\n");
    }
    repo.commit("files");
    repo.file("src/new", "untracked\n");
    let base = repo.data.with_file_name("subs");
    for (name, inner) in [("leaf", None), ("mid", Some("leaf"))] {
        let folder = base.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        git(&folder, &["init", "-q", "-b", "main"]);
        std::fs::write(folder.join(format!("{name}.txt")), name).unwrap();
        if let Some(inner) = inner {
            let url = base.join(inner).to_string_lossy().into_owned();
            git(&folder, &["submodule", "--quiet", "add", &url, "deep"]);
        }
        git(&folder, &["add", "-A"]);
        git(&folder, &["commit", "-q", "-m", name]);
    }
    let url = base.join("mid").to_string_lossy().into_owned();
    git(&repo.root, &["submodule", "--quiet", "add", &url, "sub"]);
    git(&repo.root, &["submodule", "--quiet", "update", "--init", "--recursive"]);
    git(&repo.root, &["commit", "-q", "-m", "sub"]);
    // Out of the user's own copies: where they came from is gone.
    std::fs::rename(&base, base.with_file_name("away")).unwrap();
    let before = common::snapshot(&repo.root);
    let ran = repo.run(&[]);
    ran.exits(0).shows("few=./docs/b ./src/a ./top").shows("pat=./big/c.txt");
    ran.shows("all=./big/c.txt ./big/d.bin ./docs/b ./src/a ./src/new ./sub/deep/leaf.txt ./sub/mid.txt ./top");
    ran.shows("none=./big/c.txt ./big/d.bin ./docs/b ./src/a ./src/new ./top");
    assert!(before == common::snapshot(&repo.root), "the user's files were touched");
}

#[test]
fn caches_of_the_workspace_are_found_by_the_next_run() {
    let repo = job(
        "      - {uses: actions/cache@v4, id: c, with: {key: ws, path: \"${{ github.workspace }}/.venv\\n${{ runner.temp }}/ds\"}}\n      \
         - run: 'echo hit=[${{ steps.c.outputs.cache-hit }}] $(cat .venv/x $RUNNER_TEMP/ds/y 2>/dev/null | tr -d \"\\n\"); mkdir -p .venv $RUNNER_TEMP/ds; echo 1 > .venv/x; echo 2 > $RUNNER_TEMP/ds/y'\n      \
         - {uses: actions/cache@v4, with: {key: up, path: ../shared}}\n",
    );
    repo.run(&[]).exits(0).shows("hit=[]").shows("Relative pathing '.' and '..' is not allowed");
    repo.run(&[]).exits(0).shows("hit=[true] 12");
}

#[test]
fn a_damaged_cache_is_a_miss_and_is_saved_anew() {
    let repo = job("      - {uses: actions/cache@v4, id: c, with: {key: k, path: d}}\n      \
         - run: 'echo hit=[${{ steps.c.outputs.cache-hit }}]; mkdir -p d; yes trainyard | head -c 3000000 > d/x; head -c 3000000 /dev/urandom > d/y'\n");
    repo.run(&[]).exits(0).shows("hit=[]");
    for pack in std::fs::read_dir(repo.data.join("store/packs")).unwrap().flatten() {
        std::fs::write(pack.path(), "gone").unwrap();
    }
    repo.run(&[])
        .exits(0)
        .shows("hit=[]")
        .shows("Failed to restore")
        .shows("Cache saved with key: k");
    repo.run(&[]).exits(0).shows("hit=[true]");
}

#[test]
fn what_the_setup_actions_refuse_is_refused() {
    for (step, wanted) in [
        ("actions/setup-node@v4, with: {cache: wrong}", "Caching for 'wrong' is not supported"),
        ("actions/setup-node@v4, with: {cache: npm}", "matched to [**/package-lock.json"),
        (
            "actions/setup-python@v5, with: {python-version: 3.x, cache: conda}",
            "Caching for 'conda' is not supported",
        ),
        (
            "actions/setup-python@v5, with: {python-version: 3.x, cache: pip}",
            "matched to [**/requirements.txt",
        ),
    ] {
        job(&format!("      - {{uses: {step}}}\n")).run(&[]).exits(1).shows(wanted);
    }
    // What is found on the PATH does not come in front of the job's own Python.
    let repo = job(
        "      - {uses: actions/setup-python@v5, with: {python-version: 3.x}}\n      - uses: actions/setup-node@v4\n      - {uses: actions/setup-node@v4, with: {node-version: '>=18'}}\n      - run: which python python3 pip\n",
    );
    let ran = repo.run(&[]);
    ran.exits(0);
    let own = ran.lines().iter().filter(|l| l.contains("/_temp/_python/")).count();
    assert_eq!(own, 3, "{}", ran.out);
}
