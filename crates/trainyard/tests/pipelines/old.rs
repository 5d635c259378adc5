//! Manifests that kfp 1.8 compiles.

use super::{project, run, said, v1};

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
