"""Differences that are meant, each with its reason."""

from scenarios import Scenario

OWN = "the environment is the job's own, so that `pip install` changes nothing of the machine's"
PREFIX = "`npm install -g` goes into the job's own folder"


def reason(scenario: Scenario, version: str, fact: str, ours: str | None, theirs: str | None) -> str | None:
    """Why a fact may differ; nothing when it may not."""
    fact = fact.split(".", 1)[1] if fact.startswith("run ") else fact
    if fact.startswith("outputs.") and theirs is None and version in ("v2", "v3"):
        return "an output of later versions"
    if scenario.action == "actions/setup-python":
        own = ours is not None and "/_python/" in ours
        if own or fact in ("environment.LD_LIBRARY_PATH", "environment.VIRTUAL_ENV"):
            return OWN
    if scenario.action == "actions/setup-node" and fact in ("environment.NPM_CONFIG_PREFIX", "environment.PATH"):
        return PREFIX
    if scenario.name == "an unknown ref" and fact.startswith("git."):
        return "the built-in looks for the ref before it makes anything"
    if scenario.name == "save and restore apart" and version == "v3" and fact == "outcomes.must":
        return "v3 says that it fails, but its process ends with 0"
    return None
