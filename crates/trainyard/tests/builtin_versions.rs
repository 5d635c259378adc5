//! What the built-in actions do differently from one version to the next, and their finer rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use common::Repo;

fn job(steps: &str) -> Repo {
    Repo::with(&format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"))
}

#[test]
fn the_only_artifact_lies_where_its_version_puts_it() {
    let repo = job("      - run: mkdir o; echo x > o/f\n      \
         - {uses: actions/upload-artifact@v4, with: {name: n, path: o}}\n      \
         - {uses: actions/download-artifact@v4, with: {path: four}}\n      \
         - {uses: actions/download-artifact@v5.0.1, with: {path: five}}\n      \
         - run: cat four/n/f five/f && echo placed\n");
    repo.commit("a");
    repo.run(&[]).exits(0).shows("placed");
}

#[test]
fn the_artifacts_of_other_repositories_are_not_found() {
    let steps = "      - run: mkdir o; echo x > o/f\n      - {uses: actions/upload-artifact@v4, with: {path: o}}\n";
    let one = job(steps);
    one.git(&["remote", "add", "origin", "https://github.com/octo/one.git"]);
    one.commit("a");
    one.run(&[]).exits(0);
    let other = job(
        "      - {uses: actions/download-artifact@v4, with: {name: artifact, run-id: 1, github-token: x}}\n",
    );
    other.git(&["remote", "add", "origin", "https://github.com/octo/other.git"]);
    other.commit("a");
    let data = one.data.to_string_lossy().into_owned();
    let mut command = other.command(&["run"]);
    common::ran(command.env("TRAINYARD_DATA_DIR", data).output().unwrap())
        .exits(1)
        .shows("Artifact not found for name: artifact");
    let wrong = job(
        "      - {uses: actions/download-artifact@v4, with: {run-id: last, github-token: x}}\n",
    );
    wrong.commit("a");
    wrong.run(&[]).exits(1).shows("run-id 'last' is no number");
}

#[test]
fn checkout_leaves_the_tag_that_was_asked_for() {
    let repo = job("      - {uses: actions/checkout@v4, id: c, with: {ref: one}}\n      \
         - run: 'echo \"one=$(git rev-parse one^{commit}) two=$(git tag -l two) type=$(git cat-file -t one) ref=${{ steps.c.outputs.ref }}\"'\n      \
         - {uses: actions/checkout@v4, id: d, with: {ref: \"${{ github.sha }}\", fetch-depth: -1, clean: 'False'}}\n      \
         - run: 'echo \"tags=$(git tag | tr \"\\n\" +) ref=[${{ steps.d.outputs.ref }}]\"'\n");
    repo.file("a.txt", "1").commit("a");
    repo.git(&["-c", "user.name=t", "-c", "user.email=t@e", "tag", "-a", "-m", "m", "one"]);
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.file("a.txt", "2").commit("b");
    repo.git(&["tag", "two"]);
    let ran = repo.run(&["push", "--ref", "refs/tags/two"]);
    ran.exits(0).shows(&format!("one={} two= type=tag ref=one", first.trim()));
    ran.shows("tags=one+two+ ref=[]");
}

#[test]
fn a_second_checkout_without_cleaning_leaves_what_is_not_tracked() {
    let repo = job(
        "      - {uses: actions/checkout@v4, with: {fetch-depth: 0}}\n      - run: echo new > new.txt; echo changed > a.txt\n      \
         - {uses: actions/checkout@v4, with: {clean: false, ref: side}}\n      \
         - run: 'echo \"$(cat new.txt a.txt | xargs) $(readlink l) $(test -e b.txt || echo gone)\"'\n",
    );
    std::os::unix::fs::symlink("a.txt", repo.path("l")).unwrap();
    repo.file("a.txt", "first\n").commit("a");
    repo.git(&["branch", "side"]);
    repo.file("b.txt", "2").commit("b");
    repo.run(&[]).exits(0).shows("new first a.txt gone");
}

#[test]
fn a_checkout_without_cleaning_does_not_write_through_links() {
    let outside = common::scratch("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("f.txt"), "precious").unwrap();
    let repo = job(&format!(
        "      - uses: actions/checkout@v4\n      - run: rm -r sub three && ln -s {} sub && mkdir three && echo x > deep\n      \
         - {{uses: actions/checkout@v4, with: {{clean: false, fetch-depth: 0}}}}\n      \
         - run: 'echo \"$(cat sub/f.txt three deep | xargs) $(readlink loose) $(git rev-list --count HEAD)\"'\n      \
         - {{run: 'rm -r .git; echo old > left'}}\n      - {{uses: actions/checkout@v4, with: {{clean: false}}}}\n      \
         - run: test ! -e left && cat a.txt\n",
        outside.display()
    ));
    repo.file("a.txt", "one").commit("a");
    repo.file("sub/f.txt", "own").file("three", "3").commit("b");
    repo.file("deep", "d").commit("c");
    std::os::unix::fs::symlink("sub", repo.path("loose")).unwrap();
    repo.run(&[]).exits(0).shows("own3d sub 4");
    assert_eq!(std::fs::read_to_string(outside.join("f.txt")).unwrap(), "precious");
}

#[test]
fn a_whole_history_of_a_pull_request_has_its_ref() {
    let repo = Repo::with(
        "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - {uses: actions/checkout@v4, with: {fetch-depth: 0}}\n      - run: git for-each-ref --format='ref=%(refname)'\n",
    );
    repo.file("a.txt", "1").commit("a");
    repo.git(&["checkout", "-q", "-b", "topic"]);
    repo.file("a.txt", "2").commit("b");
    repo.run(&["pull_request"]).exits(0).shows("ref=refs/remotes/pull/");
}

#[test]
fn a_cache_of_files_behind_a_link_holds_them() {
    let repo =
        job("      - {uses: actions/cache@v4, id: c, with: {path: 'd/**/f', key: k}}\n      \
         - {uses: actions/cache@v4, with: {path: 'e/**', key: e}}\n      \
         - run: 'echo \"[$(cat d/l/f)] [$(readlink e/l) $(cat e/l/f)]\"'\n      \
         - run: for x in d e; do mkdir -p $x/r; echo deep > $x/r/f; ln -sfn r $x/l; done\n        \
           if: steps.c.outputs.cache-hit != 'true'\n");
    repo.commit("a");
    repo.run(&[]).exits(0);
    repo.run(&[]).exits(0).shows("[deep] [r deep]");
}

#[test]
fn without_a_version_the_python_of_the_path_stays() {
    let repo = job("      - {uses: actions/setup-python@v5, id: p}\n      \
         - run: 'echo \"v=[${{ steps.p.outputs.python-version }}] $pythonLocation\"'\n");
    repo.commit("a");
    repo.run(&[])
        .exits(0)
        .shows("The version of Python currently in `PATH` will be used.")
        .shows("v=[]");
}

#[test]
fn tools_that_are_set_up_have_their_errors_annotated() {
    let repo = job(
        "      - uses: actions/checkout@v4\n      - {uses: actions/setup-python@v5, with: {python-version: 3.x}}\n      \
         - uses: actions/setup-node@v4\n      - {run: python train.py, continue-on-error: true}\n      \
         - run: 'echo \"src/a.ts(3,5): error TS2304: no such name\"'\n",
    );
    repo.file("src/a.ts", "");
    repo.file("train.py", "def go():\n    raise ValueError('no data')\n\n\ngo()\n").commit("a");
    repo.run(&[]).exits(0);
    let view = repo.call(&["view", "1"]);
    view.shows("no data").shows("train.py:2").shows("src/a.ts:3").shows("no such name");
}

#[test]
fn registries_of_two_scopes_stay_beside_each_other() {
    let repo = job(
        "      - {uses: actions/setup-node@v4, with: {registry-url: 'https://one.example', scope: '@a'}}\n      \
         - {uses: actions/setup-node@v4, with: {registry-url: 'https://npm.pkg.github.com'}, env: {NODE_AUTH_TOKEN: own}}\n      \
         - run: 'cat \"$NPM_CONFIG_USERCONFIG\"; echo \"token=$NODE_AUTH_TOKEN\"'\n",
    );
    repo.git(&["remote", "add", "origin", "https://github.com/Octo/demo.git"]);
    repo.commit("a");
    repo.run(&[])
        .exits(0)
        .shows("@a:registry=https://one.example/")
        .shows("@octo:registry=https://npm.pkg.github.com/")
        .shows("token=own");
}
