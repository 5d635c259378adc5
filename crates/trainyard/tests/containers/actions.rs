//! Docker actions, `docker://` steps, and JavaScript actions in containers.

use super::{BUSYBOX, DEBIAN, Test, run, workflow};
use crate::common::Repo;

pub const ALL: &[Test] = &[
    ("a_docker_action", a_docker_action),
    ("a_dockerfile_beside_and_pre_and_post", a_dockerfile_beside_and_pre_and_post),
    ("an_image_as_a_step", an_image_as_a_step),
    ("javascript_in_a_container", javascript_in_a_container),
    ("files_that_actions_name", files_that_actions_name),
    ("composites_in_a_container", composites_in_a_container),
    ("services_within_containers", services_within_containers),
];

fn docker_action(repo: &Repo, folder: &str, action: &str, dockerfile: &str) {
    repo.file(&format!("{folder}/action.yml"), action);
    repo.file(
        &format!("{folder}/Dockerfile"),
        &format!("FROM {BUSYBOX}\nCOPY run.sh /run.sh\n{dockerfile}\n"),
    );
    repo.file(&format!("{folder}/run.sh"), "#!/bin/sh\necho \"args[$#]: $1|$2|$3 Z=$Z in=$INPUT_WHO\"\necho \"w=$GITHUB_WORKSPACE home=$HOME pwd=$PWD\"\ngrep -c ref $GITHUB_EVENT_PATH\necho greeting=hello $INPUT_WHO >> $GITHUB_OUTPUT\necho FROM_ACTION=1 >> $GITHUB_ENV\necho '::warning::from the action'\ntouch made-by-action\nls file.txt\n[ \"$INPUT_WHO\" != nobody ]\n");
    use std::os::unix::fs::PermissionsExt;
    let script = repo.path(&format!("{folder}/run.sh"));
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// No two runs of the tests have one content, so that nothing is built before.
fn fresh() -> String {
    format!("{:?}", std::time::SystemTime::now())
}

fn a_docker_action() {
    let repo = Repo::empty();
    docker_action(
        &repo,
        "act",
        "name: greet\ninputs: {who: {default: you}}\nruns:\n  using: docker\n  image: Dockerfile\n  args: [hello, '${{ inputs.who }}', '']\n  env: {Z: 'z ${{ inputs.who }}'}\n",
        "ENTRYPOINT [\"/run.sh\"]",
    );
    repo.file("file.txt", "x");
    repo.file(
        ".github/workflows/ci.yml",
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - {uses: ./act, id: g, with: {who: me}}
      - run: echo \"out=${{ steps.g.outputs.greeting }} env=$FROM_ACTION made=$(ls made-by-action)\"
      - {uses: ./act, id: n, with: {who: nobody}, continue-on-error: true}
      - run: echo \"nobody=${{ steps.n.outcome }}\"
",
    );
    repo.commit("first");
    run(&repo, &[])
        .shows("args[3]: hello|me| Z=z me in=me")
        .shows("w=/github/workspace home=/github/home pwd=/github/workspace")
        .shows("from the action")
        .shows("out=hello me env=1 made=made-by-action")
        .shows("nobody=failure")
        .exits(0);
    run(&repo, &[]).shows("is built already").hides("STEP 1").exits(0);
    repo.file("act/run.sh", &format!("#!/bin/sh\n# {}\necho changed\n", fresh())).commit("second");
    run(&repo, &[]).shows("STEP 1").exits(0);
}

fn a_dockerfile_beside_and_pre_and_post() {
    let repo = Repo::empty();
    docker_action(
        &repo,
        "act",
        "name: x\nruns: {using: docker, image: Dockerfile, entrypoint: /main.sh, post-entrypoint: /post.sh}\n",
        "RUN printf '#!/bin/sh\\necho main $STATE_x\\necho x=kept >> $GITHUB_STATE\\n' > /main.sh; printf '#!/bin/sh\\necho post $STATE_x\\n' > /post.sh; chmod +x /*.sh",
    );
    repo.file(
        "shared/sub/action.yml",
        "name: y\nruns: {using: docker, image: ../Other.Dockerfile}\n",
    );
    repo.file(
        "shared/Other.Dockerfile",
        &format!("FROM {BUSYBOX}\nCOPY text /text\nCMD [\"cat\", \"/text\"]\n"),
    );
    repo.file("shared/text", "text beside the Dockerfile\n");
    repo.file(
        ".github/workflows/ci.yml",
        "on: push
jobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4}, {uses: ./act}, {uses: ./shared/sub}]}}
",
    );
    repo.commit("first");
    run(&repo, &[]).shows("main").shows("post kept").shows("text beside the Dockerfile").exits(0);
}

fn an_image_as_a_step() {
    workflow(
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: docker://{BUSYBOX}
        with: {{entrypoint: /bin/echo, args: \"one 'two three' \\\"four five\\\" $HOME | grep\"}}
        env: {{E: 1}}
      - uses: docker://{BUSYBOX}
        with: {{args: sh -c \"env | grep -E '^(E|INPUT_ARGS|GITHUB_ACTIONS|CI)='\"}}
        env: {{E: 1}}
"
        ),
        &[],
    )
    .shows("one 'two three' four five $HOME | grep")
    .shows("E=1")
    .shows("GITHUB_ACTIONS=true")
    .shows("CI=true")
    .exits(0);
}

fn javascript_in_a_container() {
    let repo = Repo::empty();
    repo.file("js/action.yml", "name: js\ninputs: {a: {default: d}}\nruns: {using: node20, main: main.js, post: post.js}\n");
    repo.file("js/main.js", "const fs = require('fs'); console.log('js in', process.cwd(), process.env.MADE_BY, process.env.INPUT_A, process.version.slice(0, 2)); fs.appendFileSync(process.env.GITHUB_OUTPUT, 'o=1\\n');\n");
    repo.file("js/post.js", "console.log('post runs too');\n");
    let job = |image: &str| {
        format!(
            "{{runs-on: ubuntu-latest, container: {image}, steps: [{{uses: actions/checkout@v4}}, {{uses: ./js, id: j}}, {{run: 'echo o=${{{{ steps.j.outputs.o }}}}'}}]}}"
        )
    };
    repo.file(
        ".github/workflows/ci.yml",
        &format!("on: push\njobs:\n  d: {}\n  b: {}\n", job(DEBIAN), job(BUSYBOX)),
    );
    repo.commit("first");
    run(&repo, &[])
        .shows("js in /__w/project/project trainyard-test d v2")
        .shows("post runs too")
        .shows("o=1")
        .shows(&format!(
            "this action runs on Node, and the image '{BUSYBOX}:latest' has no C library"
        ))
        .exits(1);
}

/// Problem matchers, and what they and commands find, have the names of the container.
fn files_that_actions_name() {
    let matcher = "{\"problemMatcher\": [{\"owner\": \"t\", \"pattern\": [{\"regexp\": \"^(.*):(\\\\d+): (.*)$\", \"file\": 1, \"line\": 2, \"message\": 3}]}]}";
    let repo = Repo::empty();
    repo.file("js/action.yml", "name: js\nruns: {using: node20, main: main.js}\n");
    repo.file("js/m.json", matcher).file("src/a.py", "");
    repo.file("js/main.js", "console.log('##[add-matcher]' + __dirname + '/m.json'); console.log(process.env.GITHUB_WORKSPACE + '/src/a.py:3: by a matcher');\n");
    repo.file("act/action.yml", "name: d\nruns: {using: docker, image: Dockerfile}\n");
    repo.file("act/Dockerfile", &format!("FROM {BUSYBOX}\nCMD [\"sh\", \"-c\", \"echo ::add-matcher::$GITHUB_WORKSPACE/js/m.json; echo $GITHUB_WORKSPACE/src/a.py:4: in docker; echo ::error file=$GITHUB_WORKSPACE/src/a.py,line=5::by a command\"]\n"));
    repo.file(
        ".github/workflows/ci.yml",
        &format!(
            "on: push
jobs:
  a: {{runs-on: ubuntu-latest, container: {DEBIAN}, steps: [{{uses: actions/checkout@v4}}, {{uses: ./js}}]}}
  b: {{runs-on: ubuntu-latest, steps: [{{uses: actions/checkout@v4}}, {{uses: ./act}}]}}
"
        ),
    );
    repo.commit("first");
    run(&repo, &[]).exits(0);
    let view = repo.call(&["view", "1"]);
    view.shows(" src/a.py:3: by a matcher")
        .shows(" src/a.py:4: in docker")
        .shows(" src/a.py:5: by a command");
}

fn composites_in_a_container() {
    let repo = Repo::empty();
    repo.file("c/action.yml", "name: c\nruns:\n  using: composite\n  steps:\n    - {shell: sh, run: 'echo path=$GITHUB_ACTION_PATH; sh $GITHUB_ACTION_PATH/x.sh'}\n    - {shell: bash, run: echo NEVER}\n");
    repo.file("c/x.sh", "echo from the action\n");
    repo.file(
        ".github/workflows/ci.yml",
        &format!("on: push\njobs: {{a: {{runs-on: ubuntu-latest, container: {BUSYBOX}, steps: [{{uses: actions/checkout@v4}}, {{uses: ./c}}]}}}}\n"),
    );
    repo.commit("first");
    run(&repo, &[])
        .shows("path=/__w/project/project/./c")
        .shows("from the action")
        .shows("'bash' is not in the job's image")
        .hides("NEVER")
        .exits(1);
}

/// Caches, identity tokens, the API and git, from within a job's container and a Docker action.
fn services_within_containers() {
    let repo = Repo::empty();
    repo.file("js/action.yml", "name: js\nruns: {using: node20, main: main.js}\n");
    repo.file("js/main.js", "(async () => {
const e = process.env;
const cache = await fetch(e.ACTIONS_RESULTS_URL + 'twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL', {method: 'POST', headers: {'Content-Type': 'application/json', Authorization: 'Bearer ' + e.ACTIONS_RUNTIME_TOKEN}, body: JSON.stringify({key: 'k', restore_keys: [], version: 'v'})});
console.log('cache says', cache.status, (await cache.json()).ok);
const token = await fetch(e.ACTIONS_ID_TOKEN_REQUEST_URL, {headers: {Authorization: 'Bearer ' + e.ACTIONS_ID_TOKEN_REQUEST_TOKEN}});
console.log('token parts', (await token.json()).value.split('.').length);
})();
");
    repo.file("act/action.yml", "name: d\nruns: {using: docker, image: Dockerfile}\n");
    repo.file(
        "act/Dockerfile",
        &format!("FROM {DEBIAN}\nCOPY run.sh /run.sh\nENTRYPOINT [\"/run.sh\"]\n"),
    );
    repo.file(
        "act/run.sh",
        "#!/bin/bash
address=${ACTIONS_RESULTS_URL#http://}; address=${address%/}
for try in 1 2 3 4 5 6 7 8 9 10; do
  exec 3<>/dev/tcp/${address%:*}/${address#*:} && break
  sleep 0.1
done
printf 'GET /oidc/.well-known/openid-configuration HTTP/1.0\\r\\n\\r\\n' >&3
read -r line <&3; echo \"docker action got $line\"
",
    );
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(repo.path("act/run.sh"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    repo.file(
        ".github/workflows/ci.yml",
        &format!(
            "on: push
permissions: {{id-token: write, contents: read}}
jobs:
  a:
    runs-on: ubuntu-latest
    container: {DEBIAN}
    steps:
      - uses: actions/checkout@v4
      - uses: ./js
      - uses: ./act
"
        ),
    );
    repo.commit("first");
    run(&repo, &[])
        .shows("cache says 200 false")
        .shows("token parts 3")
        .shows("docker action got HTTP/1.0 200 OK")
        .hides("cannot be reached")
        .exits(0);
}
