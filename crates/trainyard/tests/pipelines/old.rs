//! Manifests that kfp 1.8 compiles.

use super::{project, run, said, v1, without_mounts};

#[test]
fn everything_that_kfp_1_8_writes() {
    let repo = project();
    let ran = run(&repo, &v1("rich"), &["-p", "msg=so it is"]);
    ran.exits(0)
        .shows("BIG 7 so it is")
        .shows("got 42")
        .shows("EXIT Succeeded")
        .hides("SMALL")
        .shows("its condition is false");
    assert_eq!(said(&ran, "adding"), ["adding 1 7", "adding 2 7", "adding 3 4"]);
    assert_eq!(said(&ran, "ITEM"), ["ITEM 0 0", "ITEM 1 1"]);
    let ran = run(&repo, &v1("rich"), &["-p", "a=-4", "--no-cache"]);
    ran.exits(0).shows("SMALL").hides("BIG");
}

#[test]
fn volumes_of_kfp_1_8() {
    let repo = project();
    run(&repo, &v1("vop"), &["--no-cache"]).exits(0).shows("one");
    let ran = run(&repo, &v1("three"), &["--no-cache"]);
    assert_eq!(said(&ran, "one").len() + said(&ran, "two").len(), 2, "{}", ran.out);
    let log = repo.data.join("pipelines/volumes/data-claim/log");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\nthree\n");
}

/// Where no mounts are to be had, the paths that kfp 1.8 fixes are written anew in the commands; a volume
/// cannot be had so, and that is said.
#[test]
fn fixed_paths_without_mounts() {
    let repo = project();
    let call = |name: &str| {
        let file = v1(name);
        let args = ["pipeline", "run", file.to_str().unwrap(), "--executor", "host"];
        without_mounts(&repo.command(&args))
    };
    let ran = call("rich");
    ran.exits(0).shows("BIG 7 hi").shows("got 42").shows("EXIT Succeeded");
    assert_eq!(said(&ran, "adding"), ["adding 1 7", "adding 2 7", "adding 3 4"]);
    call("three").exits(1).shows("it wants /data mounted, and this user may not mount");
}
