"""What a step can see, as JSON: outputs, files, git, environment. Run inside the job that is compared."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

# Ports, files of one step, tokens: no two runs agree on them.
OURS = (
    "ACTIONS_", "RUNNER_TRACKING_ID", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ACTION",
    "GITHUB_STEP_SUMMARY", "GITHUB_ARTIFACTS", "GITHUB_API_URL", "GITHUB_GRAPHQL_URL", "GIT_CONFIG_", "TRAINYARD_",
    "PROBE", "STEPS", "OLDPWD", "SHLVL", "_",
)


def git(workspace: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=workspace, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"exit {done.returncode}"


def files(folder: Path) -> dict[str, str]:
    """Every file and link below a folder, without `.git`."""
    seen = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if ".git" in inside.parts:
            continue
        if path.is_symlink():
            seen[str(inside)] = f"link to {os.readlink(path)}"
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            seen[str(inside)] = f"{path.stat().st_mode & 0o111:03o} {digest}"
    return seen


def main() -> None:
    workspace = Path(os.environ["GITHUB_WORKSPACE"])
    known = {
        os.environ["GITHUB_WORKSPACE"]: "$WORKSPACE",
        os.environ["RUNNER_TEMP"]: "$TEMP",
        os.environ["RUNNER_TOOL_CACHE"]: "$TOOLS",
    }

    def plain(text: str) -> str:
        for folder, name in known.items():
            text = text.replace(folder, name)
        return text

    steps = json.loads(os.environ["STEPS"])
    report = {
        "outputs": {k: {n: plain(v) for n, v in s["outputs"].items()} for k, s in steps.items()},
        "outcomes": {k: s["outcome"] for k, s in steps.items()},
        "files": files(workspace),
        "environment": {k: plain(v) for k, v in sorted(os.environ.items()) if not k.startswith(OURS)},
    }
    if (workspace / ".git").exists():
        report["git"] = {
            "head": git(workspace, "rev-parse", "HEAD"),
            "branch": git(workspace, "rev-parse", "--abbrev-ref", "HEAD"),
            "status": git(workspace, "status", "--porcelain"),
            "origin": git(workspace, "config", "--local", "remote.origin.url"),
            "commits": git(workspace, "rev-list", "--count", "HEAD"),
            "tags": git(workspace, "tag"),
            "tracking": git(workspace, "branch", "--remotes", "--format=%(refname)"),
        }
    for program in sys.argv[2:]:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        report.setdefault("programs", {})[program] = done.stdout.strip()
    with open(sys.argv[1], "a", encoding="utf-8") as target:
        target.write(json.dumps(report) + "\n")


main()
