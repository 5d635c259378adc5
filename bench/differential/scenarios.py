"""The workflows that a real bundle and the built-in action are both put through."""

from dataclasses import dataclass

PROBE = """\
      - if: always()
        env: {{STEPS: '${{{{ toJSON(steps) }}}}'}}
        run: python3 "$PROBE" "$PROBE_REPORT" {programs}
"""
"""Tells what the steps before it did."""


@dataclass(frozen=True)
class Scenario:
    """Steps with `USES` where the action stands, and how they are run."""

    name: str
    action: str
    """OWNER/NAME."""
    versions: tuple[str, ...]
    steps: str
    runs: int = 1
    """How often, one after another with the same store."""
    programs: str = ""
    """Programs whose versions are compared."""
    needs: str = ""
    """What has to be here, `python` or `node` in the tool cache."""
    ignore: tuple[str, ...] = ()
    """Facts (`kind.name`) which differ by nature, with the reason beside them."""

    def workflow(self, version: str) -> str:
        """The whole file."""
        steps = self.steps.replace("USES", f"{self.action}@{version}").replace("SUB@", f"@{version}")
        steps = steps.replace(f"{self.action}@{version}/", f"{self.action}/")
        return (
            "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
            + steps
            + PROBE.format(programs=self.programs)
        )


CHECKOUTS = ("v2", "v3", "v4", "v5", "v6", "v7")
CACHES = ("v2", "v3", "v4", "v5")
SETUPS = ("v2", "v3", "v4", "v5", "v6", "v7")
ARTIFACTS = ("v4", "v5", "v6", "v7")


def checkout(name: str, with_: str, versions: tuple[str, ...] = CHECKOUTS, more: str = "") -> Scenario:
    return Scenario(name, "actions/checkout", versions, f"      - {{uses: USES, id: it, with: {{{with_}}}}}\n{more}")


CACHE = """\
      - {{uses: USES, id: it, with: {{path: "{path}", key: k-1, restore-keys: k-{more}}}}}
      - {{if: "steps.it.outputs.cache-hit != 'true'", run: "mkdir -p data/deep; printf x > data/deep/file; ln -s deep data/link; chmod +x data/deep/file"}}
"""

ALL = (
    checkout("plain", ""),
    checkout("whole history", "fetch-depth: 0"),
    checkout("a tag", "ref: v1"),
    checkout("a branch", "ref: side"),
    checkout("into a folder", "path: here"),
    checkout("sparse", "sparse-checkout: sub", ("v4", "v5", "v6", "v7")),
    checkout("sparse, no cones", "sparse-checkout: 'a.txt', sparse-checkout-cone-mode: false", ("v4", "v5", "v6", "v7")),
    checkout("no credentials", "persist-credentials: false"),
    checkout("an unknown ref", "ref: nowhere", ("v4",)),
    checkout("over what is there", "", more="      - {run: 'echo more > a.txt; echo new > new.txt'}\n      - {uses: USES, id: again}\n"),
    checkout("without cleaning", "", more="      - {run: 'echo new > new.txt'}\n      - {uses: USES, id: again, with: {clean: false}}\n"),
    Scenario("miss, then hit", "actions/cache", CACHES, CACHE.format(path="data", more=""), runs=2),
    Scenario("a pattern of paths", "actions/cache", CACHES, CACHE.format(path="data/**/file", more=""), runs=2),
    Scenario("an earlier key", "actions/cache", CACHES, """\
      - {uses: USES, id: it, with: {path: data, key: "k-${{ github.run_number }}", restore-keys: k-}}
      - {run: "mkdir -p data; echo ${{ github.run_number }} > data/number"}
""", runs=2),
    Scenario("save and restore apart", "actions/cache", ("v3", "v4", "v5"), """\
      - {run: "mkdir -p data; echo x > data/file"}
      - {uses: USES/saveSUB@, id: save, with: {path: data, key: one}}
      - {run: "rm -r data"}
      - {uses: USES/restoreSUB@, id: it, with: {path: data, key: one}}
      - {uses: USES/restoreSUB@, id: other, with: {path: data, key: two, lookup-only: true}}
      - {uses: USES/restoreSUB@, id: must, continue-on-error: true, with: {path: data, key: two, fail-on-cache-miss: true}}
"""),
    Scenario("up and down", "actions/upload-artifact", ARTIFACTS, """\
      - {run: "mkdir -p out/deep; echo x > out/deep/file; echo y > out/other; echo h > out/.hidden"}
      - {uses: USES, id: it, with: {name: n, path: out}}
      - {uses: USES, id: again, continue-on-error: true, with: {name: n, path: out}}
      - {uses: USES, id: none, with: {name: nothing, path: nowhere}}
"""),
    Scenario("one and all", "actions/download-artifact", ("v4", "v5", "v6", "v7"), """\
      - {run: "mkdir -p out/deep; echo x > out/deep/file"}
      - {uses: actions/upload-artifact@v4, with: {name: n, path: out}}
      - {uses: USES, id: it, with: {name: n, path: one}}
      - {uses: USES, id: all, with: {path: all}}
      - {uses: USES, id: none, continue-on-error: true, with: {name: nothing}}
"""),
    Scenario("the one on the PATH", "actions/setup-python", SETUPS,
             "      - {uses: USES, id: it, with: {python-version: '3.11'}}\n", programs="python python3", needs="python"),
    Scenario("an unknown version", "actions/setup-python", SETUPS,
             "      - {uses: USES, id: it, continue-on-error: true, with: {python-version: '2.1'}}\n"),
    Scenario("the one in the tool cache", "actions/setup-node", SETUPS,
             "      - {uses: USES, id: it, with: {node-version: 'NODE'}}\n", programs="node npm", needs="node"),
)
