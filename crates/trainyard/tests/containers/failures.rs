//! What goes wrong, each with its message.

use super::{BUSYBOX, Test, run, workflow};
use crate::common::Repo;

pub const ALL: &[Test] = &[
    ("images_that_are_not_there", images_that_are_not_there),
    ("options_that_are_wrong", options_that_are_wrong),
    ("a_build_that_fails", a_build_that_fails),
    ("a_service_that_is_not_healthy", a_service_that_is_not_healthy),
    ("a_service_that_ends_is_a_warning", a_service_that_ends_is_a_warning),
    ("out_of_memory", out_of_memory),
    ("a_port_in_use", a_port_in_use),
    ("a_full_disk", a_full_disk),
    ("empty_credentials", empty_credentials),
];

fn job(container: &str) -> String {
    format!(
        "on: push\njobs: {{a: {{runs-on: ubuntu-latest, container: {container}, steps: [{{run: echo NEVER}}]}}}}\n"
    )
}

fn images_that_are_not_there() {
    // Nothing listens on that port.
    workflow(&job("localhost:1/none:tag"), &[])
        .shows("the image 'localhost:1/none:tag' cannot be pulled")
        .hides("NEVER")
        .exits(1);
    workflow("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: 'docker://localhost:1/none'}]}}\n", &["--offline"])
        .shows("the image 'localhost:1/none' is not on this machine")
        .exits(1);
}

fn options_that_are_wrong() {
    for (options, message) in [
        ("--network host", "options: --network is refused"),
        ("--frobnicate 1", "--frobnicate is no flag of `docker create`"),
        ("--memory lots", "a size like 512m or 8g is expected"),
    ] {
        workflow(&job(&format!("{{image: {BUSYBOX}, options: {options}}}")), &[])
            .shows(message)
            .shows("container: ")
            .hides("NEVER")
            .exits(1);
    }
    workflow(&job(&format!("{{image: {BUSYBOX}, volumes: ['a:b']}}")), &[])
        .shows("the volume 'a:b' has no absolute target")
        .exits(1);
}

fn a_build_that_fails() {
    let repo = Repo::empty();
    repo.file("act/action.yml", "name: x\nruns: {using: docker, image: Dockerfile}\n");
    repo.file("act/Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo before; exit 7\n"));
    repo.file(
        ".github/workflows/ci.yml",
        "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4}, {uses: ./act}, {run: echo NEVER}]}}\n",
    );
    repo.commit("first");
    run(&repo, &[])
        .shows("before")
        .shows("the image cannot be built")
        .shows("7")
        .hides("NEVER")
        .exits(1);
}

fn a_service_that_is_not_healthy() {
    let service = "sick: {image: IMAGE, entrypoint: sh, command: '-c \"echo cannot find my data; echo ::error::not mine; sleep 100\"', options: '--health-cmd \"CHECK\" --health-interval 1s --health-retries 2 --health-timeout 2s'}";
    for (check, message) in [
        ("echo still sick; false", "its health check fails: still sick"),
        ("false", "its health check fails with exit code 1"),
        ("sleep 100", "its health check takes longer than 2s"),
    ] {
        let service = service.replace("IMAGE", BUSYBOX).replace("CHECK", check);
        workflow(
            &format!(
                "on: push\njobs: {{a: {{runs-on: ubuntu-latest, services: {{{service}}}, steps: [{{run: echo NEVER}}]}}}}\n"
            ),
            &[],
        )
        .shows(message)
        .shows("cannot find my data")
        // What a service prints is not a command.
        .hides("##[error]not mine")
        .hides("NEVER")
        .exits(1);
    }
}

fn a_service_that_ends_is_a_warning() {
    let ran = workflow(
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    services:
      dead: {{image: {BUSYBOX}, entrypoint: sh, command: '-c \"echo last words; exit 4\"'}}
    steps: [{{run: 'echo network ${{{{ job.container.network != null }}}}'}}]
"
        ),
        &[],
    );
    ran.shows("##[warning]service dead")
        .shows("it ended with exit code 4")
        .shows("last words")
        .shows("network true")
        .exits(0);
    workflow(
        &format!(
            "on: push\njobs: {{a: {{runs-on: ubuntu-latest, services: {{s: {{image: {BUSYBOX}, entrypoint: sh -c}}}}, steps: [{{run: echo NEVER}}]}}}}\n"
        ),
        &[],
    )
    .shows("'sh -c' is not in the image")
    .shows("an entrypoint is one program")
    .hides("NEVER")
    .exits(1);
}

fn out_of_memory() {
    workflow(
        &format!(
            "on: push\njobs: {{a: {{runs-on: ubuntu-latest, container: {{image: {BUSYBOX}, options: --memory 32m --memory-swap 32m}}, steps: [{{run: 'x=0123456789; while :; do x=$x$x; done'}}]}}}}\n"
        ),
        &[],
    )
    .shows("ran out of memory")
    .exits(1);
}

fn a_port_in_use() {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    workflow(
        &format!(
            "on: push\njobs: {{a: {{runs-on: ubuntu-latest, services: {{s: {{image: {BUSYBOX}, entrypoint: sleep, command: '100', ports: ['{port}:80']}}}}, steps: [{{run: echo NEVER}}]}}}}\n"
        ),
        &[],
    )
    .shows("something on this machine listens there")
    .hides("NEVER")
    .exits(1);
}

fn a_full_disk() {
    workflow(
        &format!(
            "on: push\njobs: {{a: {{runs-on: ubuntu-latest, container: {{image: {BUSYBOX}, options: '--tmpfs /small:size=64k'}}, steps: [{{run: 'dd if=/dev/zero of=/small/x bs=1k count=100'}}]}}}}\n"
        ),
        &[],
    )
    .shows("No space left on device")
    .exits(1);
}

fn empty_credentials() {
    workflow(
        &job(&format!("{{image: {BUSYBOX}, credentials: {{username: me, password: '${{{{ secrets.NONE }}}}'}}}}")),
        &[],
    )
    .shows("credentials.password is empty; is the secret that it names there?")
    .hides("NEVER")
    .exits(1);
}
