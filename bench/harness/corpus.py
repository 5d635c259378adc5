"""Workflow files to check in bulk: made from a fixed seed, or copied from a folder of real ones."""

import itertools
import random
from pathlib import Path

TRIGGERS = (
    "push",
    "[push, pull_request]",
    "\n  push:\n    branches: [main, 'release/**']\n    paths-ignore: ['docs/**', '**.md']\n  pull_request:",
    "\n  schedule:\n    - cron: '17 4 * * 1-5'\n  workflow_dispatch:",
    "\n  workflow_dispatch:\n    inputs:\n      level:\n        description: how much\n        type: choice\n"
    "        options: [low, high]\n        default: low",
    "\n  workflow_call:\n    inputs:\n      target:\n        type: string\n        required: true\n"
    "    secrets:\n      token:\n        required: false",
    "\n  push:\n    tags: ['v[0-9]+.*']\n  release:\n    types: [published]",
)
TOPS = (
    "",
    "permissions:\n  contents: read\n",
    "concurrency:\n  group: ci-${{ github.ref }}\n  cancel-in-progress: true\n",
    "env:\n  CARGO_TERM_COLOR: always\n  BRANCH: ${{ github.head_ref || github.ref_name }}\n",
    "defaults:\n  run:\n    shell: bash\npermissions: read-all\n",
)
JOBS = (
    "",
    "    timeout-minutes: 30\n",
    "    if: github.event_name != 'pull_request' || !github.event.pull_request.draft\n",
    "    strategy:\n      fail-fast: false\n      matrix:\n        os: [ubuntu-latest, windows-latest]\n"
    "        version: ['1.80', stable, beta]\n"
    "        exclude:\n          - os: windows-latest\n            version: beta\n",
    "    services:\n      db:\n        image: postgres:16\n        ports: ['5432:5432']\n        env:\n"
    "          POSTGRES_PASSWORD: postgres\n",
    "    container:\n      image: debian:12\n    env:\n      DEBIAN_FRONTEND: noninteractive\n",
    "    permissions:\n      contents: write\n      id-token: write\n    continue-on-error: true\n",
)
STEPS = (
    "      - uses: actions/checkout@v4\n        with:\n          fetch-depth: 0\n",
    "      - name: Build\n        run: |\n          cargo build --release --locked\n          ls -l target/release\n",
    "      - name: Test\n        run: cargo test --workspace\n        env:\n          RUST_BACKTRACE: 1\n",
    '      - name: Version\n        run: echo "version=$(git describe --always)" >> "$GITHUB_OUTPUT"\n',
    "      - uses: actions/setup-node@v4\n        with:\n          node-version: 20\n          cache: npm\n",
    "      - uses: actions/cache@v4\n        with:\n          path: ~/.cargo/registry\n"
    "          key: ${{ runner.os }}-${{ hashFiles('**/Cargo.lock') }}\n",
    "      - name: Report\n        if: failure() && github.ref == 'refs/heads/main'\n"
    '        run: echo "::warning::${{ toJSON(github.event.head_commit.message) }}"\n',
    "      - uses: actions/upload-artifact@v4\n        if: ${{ !cancelled() }}\n        with:\n"
    "          name: logs-${{ github.run_id }}\n          path: |\n"
    "            target/*.log\n            !target/secret.log\n",
    "      - run: npm ci && npm test -- --ci\n        working-directory: web\n        timeout-minutes: 5\n",
    '      - name: Deploy\n        if: contains(fromJSON(\'["main","next"]\'), github.ref_name)\n'
    "        run: ./deploy.sh \"${{ format('{0}-{1}', github.sha, github.run_attempt) }}\"\n        env:\n"
    "          TOKEN: ${{ secrets.DEPLOY_TOKEN }}\n",
)


def generated(count: int) -> dict[str, str]:
    """`count` valid workflow files of one to six jobs with two to fifteen steps each."""
    source = random.Random(count)
    files = {}
    for number in range(count):
        jobs = ""
        for index in range(source.randint(1, 6)):
            needs = f"    needs: job-{source.randrange(index)}\n" if index and source.random() < 0.6 else ""
            extra = source.choice(JOBS)
            runner = "${{ matrix.os }}" if "matrix:" in extra else "ubuntu-latest"
            steps = "".join(source.choices(STEPS, k=source.randint(2, 15)))
            jobs += f"  job-{index}:\n    runs-on: {runner}\n{needs}{extra}    steps:\n{steps}"
        head = f"name: Workflow {number}\non: {source.choice(TRIGGERS)}\n{source.choice(TOPS)}"
        files[f"workflow-{number:05}.yml"] = f"{head}jobs:\n{jobs}"
    return files


def copied(corpus: Path, count: int) -> dict[str, str]:
    """`count` files from the `.yml` and `.yaml` files under `corpus`, repeated or cut as needed."""
    found = sorted(path for pattern in ("*.yml", "*.yaml") for path in corpus.rglob(pattern))
    if not found:
        raise FileNotFoundError(f"no .yml or .yaml file under {corpus}")
    pairs = zip(range(count), itertools.cycle(found))
    return {f"{number:05}-{path.name}": path.read_text(errors="replace") for number, path in pairs}
