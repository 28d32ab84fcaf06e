"""Live ebuilds: which commit their upstream has now.

Where the sources are is not metadata, so it is read from the ebuild's text, as git-r3.eclass means
it. What cannot be read or does not answer in time is told as unknown.
"""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from digests import place

SECONDS = 20
ASKED_AT_ONCE = 16
SET = re.compile(r"""^\s*(EGIT_REPO_URI|EGIT_BRANCH|EGIT_COMMIT)=(["']?)([^"'\n]*)\2\s*$""", re.MULTILINE)
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def live(packages):
    """For each package what `Live` has, or None if it is not live."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return list(pool.map(lambda p: {"commit": commit(p)} if "live" in p.properties else None, packages))


def commit(package):
    """The commit that a checkout would get now; None if nobody knows."""
    with open(place(package)[0], encoding="utf-8", errors="replace") as file:
        said = {name: expand(value, package) for name, _, value in SET.findall(file.read())}
    if COMMIT.fullmatch(said.get("EGIT_COMMIT", "")):
        return said["EGIT_COMMIT"]
    name = said.get("EGIT_COMMIT") or said.get("EGIT_BRANCH")
    refs = [f"refs/heads/{name}", f"refs/tags/{name}^{{}}", f"refs/tags/{name}"] if name else ["HEAD"]
    for uri in said.get("EGIT_REPO_URI", "").split():
        if uri.startswith("-"):
            continue
        found = {ref: digest for digest, ref in heads(uri, refs) if COMMIT.fullmatch(digest)}
        for ref in refs:
            if ref in found:
                return found[ref]
    return None


def expand(value, package):
    """The value with the variables that name the package."""
    category, pf = package.cpv.split("/")
    names = {"PN": package.cp.split("/")[1], "PF": pf, "P": re.sub(r"-r\d+$", "", pf), "CATEGORY": category}
    return re.sub(r"\$\{?(\w+)\}?", lambda m: names.get(m.group(1), m.group(0)), value)


def heads(uri, refs):
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:git:file"}
    try:
        answer = subprocess.run(["git", "ls-remote", uri, *refs], capture_output=True, text=True, timeout=SECONDS,
                                env=env, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.split("\t", 1) for line in answer.stdout.splitlines() if "\t" in line]
