//! Jobs in containers, and services.

use super::{BUSYBOX, DEBIAN, Test, command, run, workflow};
use crate::common::{Repo, ran};

pub const ALL: &[Test] = &[
    ("a_job_in_a_container", a_job_in_a_container),
    ("an_image_by_expression_and_a_string", an_image_by_expression_and_a_string),
    ("services_and_their_context", services_and_their_context),
    ("services_of_a_job_on_the_host", services_of_a_job_on_the_host),
    ("databases", databases),
    ("a_user_that_is_not_root", a_user_that_is_not_root),
    ("built_in_actions_around_a_container", built_in_actions_around_a_container),
    ("labels_that_stand_for_images", labels_that_stand_for_images),
    ("volumes_and_limits", volumes_and_limits),
    ("cards", cards),
    ("a_shell_after_a_failure", a_shell_after_a_failure),
    ("set_up_actions_in_a_container", set_up_actions_in_a_container),
];

fn a_job_in_a_container() {
    let repo = Repo::empty();
    repo.file(
        ".github/workflows/ci.yml",
        &format!(
            "on: push
env: {{W: workflow, P: '${{{{ github.workspace }}}}'}}
jobs:
  a:
    runs-on: ubuntu-latest
    container: {{image: {BUSYBOX}, env: {{FOO: bar, CI: 'no'}}, options: --hostname inside}}
    outputs: {{o: '${{{{ steps.o.outputs.x }}}}'}}
    steps:
      - uses: actions/checkout@v4
      - run: |
          echo \"foo=$FOO home=$HOME pwd=$PWD w=$W ci=$CI host=$(hostname)\"
          echo \"workspace=$GITHUB_WORKSPACE ${{{{ github.workspace }}}} temp=$RUNNER_TEMP tools=$RUNNER_TOOL_CACHE\"
          grep -c ref $GITHUB_EVENT_PATH
          cat file.txt; echo made > $RUNNER_TEMP/made; echo up > ../up
          echo 'shell='$0
      - id: o
        run: |
          echo x=1 >> $GITHUB_OUTPUT
          echo A=b >> $GITHUB_ENV
          mkdir -p sub/bin; printf '#!/bin/sh\\necho tool runs\\n' > sub/bin/tool; chmod +x sub/bin/tool
          echo $PWD/sub/bin >> $GITHUB_PATH
          echo '::notice file=/__w/project/project/file.txt,line=1::seen'
      - {{run: 'echo \"A=$A x=${{{{ steps.o.outputs.x }}}} made=$(cat $RUNNER_TEMP/made)\"; tool; pwd', working-directory: sub}}
      - {{run: 'echo hash=${{{{ hashFiles(''*.txt'') }}}} id=${{{{ job.container.id != '''' }}}} net=${{{{ job.container.network != '''' }}}}'}}
      - {{run: exit 3, continue-on-error: true, id: bad}}
      - {{run: 'echo outcome=${{{{ steps.bad.outcome }}}}'}}
      - {{run: 'sleep 60 & echo started'}}
      - {{run: 'echo background; cat', if: always()}}
  b: {{needs: a, runs-on: ubuntu-latest, steps: [{{run: 'echo got ${{{{ needs.a.outputs.o }}}}'}}]}}
"
        ),
    );
    repo.file("file.txt", "content of the file\n").commit("first");
    run(&repo, &[])
        .shows("foo=bar home=/github/home pwd=/__w/project/project w=workflow ci=no host=inside")
        .shows("workspace=/__w/project/project /__w/project/project temp=/__w/_temp tools=/__t")
        .shows("content of the file")
        .shows("shell=/__w/_temp/_runner_file_commands/step-")
        .shows("A=b x=1 made=made")
        .shows("tool runs")
        .shows("/__w/project/project/sub")
        .shows("hash=")
        .shows("id=true net=true")
        .shows("outcome=failure")
        .shows("background")
        .shows("got 1")
        .exits(0);
}

fn an_image_by_expression_and_a_string() {
    workflow(
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    strategy: {{matrix: {{image: ['{BUSYBOX}', '']}}}}
    container: '${{{{ matrix.image }}}}'
    steps: [{{run: 'echo \"in ${{{{ matrix.image || ''the host'' }}}}: $GITHUB_WORKSPACE\"'}}]
  s:
    runs-on: ubuntu-latest
    container: docker.io/none
    steps: [{{run: echo NEVER}}]
"
        ),
        &["--offline"],
    )
    .shows(&format!("in {BUSYBOX}: /__w/project/project"))
    .shows("in the host: /")
    .shows("the image 'docker.io/none' is not on this machine, and nothing is pulled (--offline)")
    .hides("NEVER")
    .exits(1);
}

fn services_and_their_context() {
    let web = "entrypoint: sh, command: '-c \"mkdir /w; echo ok > /w/index.html; exec httpd -f -p 80 -h /w\"'";
    workflow(
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {BUSYBOX}
    services:
      web: {{image: {BUSYBOX}, {web}, ports: ['80'], options: '--health-cmd \"wget -qO- http://127.0.0.1/\" --health-interval 1s --health-retries 20'}}
      none: {{image: '${{{{ vars.NONE }}}}'}}
    steps:
      - run: |
          echo \"by name: $(wget -qO- http://web/)\"
          echo \"none=${{{{ job.services.none.id }}}}. id=${{{{ job.services.web.id != '' }}}} port=${{{{ job.services.web.ports['80'] > 0 }}}} net=${{{{ job.services.web.network == job.container.network }}}}\"
"
        ),
        &[],
    )
    .shows("web: healthy")
    .shows("by name: ok")
    .shows("none=. id=true port=true net=true")
    .shows("Stop containers")
    .exits(0);
}

fn services_of_a_job_on_the_host() {
    workflow(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    services:
      cache: {image: localhost/trainyard-test/redis, ports: ['6379/tcp'], options: '--health-cmd \"redis-cli ping\" --health-interval 1s --health-retries 30'}
    steps:
      - run: python3 -c 'import socket; s = socket.create_connection((\"127.0.0.1\", int(\"${{ job.services.cache.ports[6379] }}\"))); s.sendall(b\"PING\\r\\n\"); print(\"redis says\", s.recv(9).decode())'
      - uses: docker://localhost/trainyard-test/redis
        with: {entrypoint: redis-cli, args: -h cache ping}
",
        &[],
    )
    .shows("redis says +PONG")
    .exits(0);
}

fn databases() {
    workflow(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: docker://localhost/trainyard-test/postgres
    services:
      db:
        image: localhost/trainyard-test/postgres
        env: {POSTGRES_PASSWORD: geheim}
        options: --health-cmd \"pg_isready -h 127.0.0.1\" --health-interval 1s --health-timeout 5s --health-retries 60
    steps:
      - run: echo \"rows=$(PGPASSWORD=geheim psql -h db -U postgres -Atc 'select 6 * 7')\"
",
        &[],
    )
    .shows("db: healthy")
    .shows("rows=42")
    .exits(0);
}

fn a_user_that_is_not_root() {
    let repo = Repo::empty();
    repo.file(
        ".github/workflows/ci.yml",
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {{image: {BUSYBOX}, options: --user worker}}
    steps:
      - uses: actions/checkout@v4
      - id: s
        run: 'echo \"uid=$(id -u)\"; echo out=1 >> $GITHUB_OUTPUT; echo changed >> file.txt; mkdir new; echo $HOME; touch $HOME/x $RUNNER_TEMP/y'
      - run: 'echo out=${{{{ steps.s.outputs.out }}}}; cat file.txt'
"
        ),
    );
    repo.file("file.txt", "text\n").commit("first");
    run(&repo, &[]).shows("uid=1234").shows("out=1").shows("changed").exits(0);
}

fn built_in_actions_around_a_container() {
    let text = format!(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {DEBIAN}
    steps:
      - uses: actions/cache@v4
        id: c
        with: {{path: \"~/.cache/models\\n/opt/data\\n${{{{ github.workspace }}}}/w\", key: k}}
      - run: 'echo \"hit=${{{{ steps.c.outputs.cache-hit }}}} $(cat ~/.cache/models/m /opt/data/d $GITHUB_WORKSPACE/w/w)\"'
        if: steps.c.outputs.cache-hit == 'true'
      - run: 'mkdir -p ~/.cache/models /opt/data w; echo model > ~/.cache/models/m; echo data > /opt/data/d; echo ws > w/w'
      - run: mkdir -p /tmp/out; echo report > /tmp/out/report.txt
      - uses: actions/upload-artifact@v4
        with: {{name: n, path: /tmp/out/*.txt, overwrite: true}}
      - uses: actions/download-artifact@v4
        with: {{name: n, path: '${{{{ github.workspace }}}}/got'}}
      - uses: actions/download-artifact@v4
        with: {{name: n, path: /opt/got}}
      - run: 'echo \"got $(cat got/report.txt) $(cat /opt/got/report.txt)\"'
"
    );
    let repo = Repo::with(&text);
    run(&repo, &[]).shows("got report report").exits(0);
    run(&repo, &[]).shows("hit=true model").shows("data").shows("got report report").exits(0);
}

fn labels_that_stand_for_images() {
    let repo = Repo::with(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: 'echo \"made by $MADE_BY in $BASH_VERSION at $GITHUB_WORKSPACE\"; false | true; echo still'
",
    );
    let label = format!("ubuntu-latest=image:{DEBIAN}");
    run(&repo, &["--runner", &label])
        .shows("made by trainyard-test in 5")
        .shows("at /__w/project/project")
        .exits(0);
    run(&repo, &["--executor", "container"])
        .shows("with --executor container every label stands for an image: --runner 'ubuntu-latest=image:IMAGE'")
        .exits(1);
    repo.file(
        "trainyard.toml",
        &format!("[runners.ubuntu-latest]\nimage = \"{DEBIAN}\"\nmemory = \"64m\"\npids = 50\nshm = \"16m\"\n"),
    );
    run(&repo, &["--executor", "container"]).shows("made by trainyard-test").exits(0);
    repo.file("trainyard.toml", "[runners.ubuntu-latest]\nimage = \"x\"\nmemory = \"lots\"\n");
    run(&repo, &[]).shows("memory").shows("trainyard.toml").exits(2);
}

fn volumes_and_limits() {
    let repo = Repo::empty();
    let outside = repo.path("outside");
    std::fs::create_dir_all(&outside).unwrap();
    repo.file(
        ".github/workflows/ci.yml",
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container:
      image: {BUSYBOX}
      volumes: ['{}:/out', '/scratch', 'trainyard-test-volume:/named']
      options: --shm-size 8m --cpus 1.5 --memory 128m --pids-limit 64 --tmpfs /fast -e EXTRA=1 --add-host away:10.1.2.3
    steps:
      - run: |
          echo from inside > /out/made; touch /scratch/x /named/y /fast/z
          echo \"shm=$(df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2) extra=$EXTRA $(grep away /etc/hosts | tr '\\t' ' ')\"
",
            outside.display()
        ),
    );
    repo.commit("first");
    run(&repo, &[]).shows("shm=8192 extra=1 10.1.2.3 away").exits(0);
    assert_eq!(std::fs::read_to_string(outside.join("made")).unwrap(), "from inside\n");
    let volume = std::process::Command::new("podman")
        .args(["volume", "exists", "trainyard-test-volume"])
        .status()
        .unwrap();
    assert!(!volume.success(), "the volume is still there");
}

/// With the cards that this machine describes: `tests/images/setup.sh` describes one that is none.
fn cards() {
    let fake = std::path::Path::new("/etc/cdi/trainyard-test.json").exists();
    let job = |options: &str| {
        format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {{image: {BUSYBOX}, options: '{options}', env: {{SECRET: s, LINES: \"a\\nb\"}}}}
    steps: 
      - run: |
          CARD=$(tr \"\\0\" \"\\n\" < /proc/1/environ | grep CARD=); echo \"$CARD $SECRET $LINES $(ls /dev/card-all 2>&1) home=$HOME\"; df /dev/shm | grep -c 65536 || true
"
        )
    };
    let all = workflow(&job("--gpus all --shm-size 64m"), &[]);
    let second = workflow(&job("--gpus device=1"), &[]);
    if fake {
        all.shows("CARD=all of none s a").shows("b /dev/card-all home=/github/home").exits(0);
        second.shows("CARD=the second of none s a").exits(0);
    }
    workflow(&job("--device nobody.example/card=x"), &[])
        .shows("nobody.example/card=x")
        .hides("home=/github")
        .exits(1);
}

/// What is set up is the image's, or lies in the tool cache, which the container has too.
fn set_up_actions_in_a_container() {
    let repo = Repo::with(&format!(
        "on: push
jobs:
  p:
    runs-on: ubuntu-latest
    container: localhost/trainyard-test/python
    steps:
      - uses: actions/setup-python@v5
        id: p
        with: {{python-version: '3.x'}}
      - run: |
          echo \"python ${{{{ steps.p.outputs.python-path }}}} is $(command -v python) of $(python -c 'import os; print(os.environ[\"MADE_BY\"])')\"
          pip --version | grep -o /__w/_temp/_python | head -1
      - uses: actions/setup-node@v4
        id: n
        with: {{node-version: 18}}
      - uses: astral-sh/setup-uv@v6
        id: u
        with: {{version: 0.9.9}}
      - run: 'echo \"node $(node --version) ${{{{ steps.n.outputs.node-version }}}}, $(uv --version) at $(command -v uv) ${{{{ steps.u.outputs.uv-path }}}}\"'
      - uses: actions/setup-python@v5
        with: {{python-version: '3.99'}}
  b:
    runs-on: ubuntu-latest
    container: {BUSYBOX}
    steps:
      - uses: actions/setup-node@v4
        with: {{node-version: 18}}
"
    ));
    // Tools that tell a version, as the tool cache has them; the second needs bash.
    for (name, version, shell) in [("node", "18.99.0", "bash"), ("uv", "0.9.9", "sh")] {
        let folder = repo.data.join(format!("tools/{name}/{version}"));
        std::fs::create_dir_all(folder.join("x64/bin")).unwrap();
        std::fs::write(folder.join("x64.complete"), "").unwrap();
        let (place, says) = match name {
            "node" => ("x64/bin/node", format!("v{version}")),
            _ => ("x64/uv", format!("uv {version}")),
        };
        let program = folder.join(place);
        std::fs::write(&program, format!("#!/bin/{shell}\necho {says}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    run(&repo, &[])
        .shows("/bin/python is /__w/_temp/_python/")
        .shows("of trainyard-test")
        .shows("/__w/_temp/_python")
        .shows("node v18.99.0 v18.99.0, uv 0.9.9 at /__t/uv/0.9.9/x64/uv /__t/uv/0.9.9/x64/uv")
        .shows("The version '3.99' with architecture 'x64' was not found.")
        .shows("the job runs in 'localhost/trainyard-test/python:latest': take an image with Python 3.99")
        .shows("the node of the tool cache does not run in the container")
        .exits(1);
}

fn a_shell_after_a_failure() {
    let repo = Repo::with(&format!(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {{image: {BUSYBOX}, env: {{FOO: bar, KEY: '${{{{ secrets.KEY }}}}'}}, options: --hostname inside}}
    steps:
      - run: mkdir sub; echo A=b >> $GITHUB_ENV; echo $PWD/sub >> $GITHUB_PATH
      - {{run: test -e fixed, working-directory: sub}}
"
    ));
    run(&repo, &["--secret", "KEY=geheim"]).exits(1);
    let script = "echo \"$(pwd) $FOO $A $KEY $(hostname) $HOME $PATH\"; echo x > $GITHUB_OUTPUT; touch fixed; exit 3";
    let args = ["shell", "1", "--secret", "KEY=geheim", "--", "sh", "-c", script];
    let shell = ran(command(&repo, &args).output().unwrap());
    shell
        .shows(
            "/__w/project/project/sub bar b geheim inside /github/home /__w/project/project/sub:",
        )
        .exits(1);
    let again =
        ran(command(&repo, &["rerun", "1", "--from", "--secret", "KEY=geheim"]).output().unwrap());
    again.shows("its container is a new one").exits(0);
}
