"""Live ebuilds: which commit their upstream has now.

Where the sources are is not metadata. So the ebuild and its eclasses are sourced, as Portage does to
learn the metadata, and git-r3's variables are read; of an ebuild that has none, what its text clones.
A commit is unknown if the upstream cannot be read or does not answer in time.
"""

import hashlib
import http.client
import os
import re
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from digests import place

SECONDS = 20
ASKED_AT_ONCE = 16
MOST_URIS = 8
# The largest answer of a server, in bytes: some have hundreds of thousands of branches and tags.
LARGEST_ANSWER = 64 << 20
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
CLONE = re.compile(r"\bgit\b.*\s(?:clone|fetch)\s|\bgit-r3_fetch\s")
URI = re.compile(r"""(?:https?|git|file)://[^\s"')]+""")
BRANCH = re.compile(r"""\s(?:-b|--branch)[\s=]["']?([^\s"']+)""")
# Prints the variables that an ebuild sets in the global scope. What else it calls does nothing.
SOURCE = r"""
source "${PORTAGE_BIN_PATH}/isolated-functions.sh"
unalias -a
die() { exit 1; }
EXPORT_FUNCTIONS() { :; }
command_not_found_handle() { :; }
inherit() {
    local ECLASS
    for ECLASS; do source "${SWARM_ECLASSES[${ECLASS}]}" || exit 1; done
}
eval "declare -A SWARM_ECLASSES=(${SWARM_ECLASS_FILES})"
source "$1" >/dev/null || exit 1
for name in $(compgen -v); do
    declare -n value="${name}"
    text="${value[*]}"
    (( ${#text} > 4096 )) || printf '%s\0%s\0' "${name}" "${text}"
    unset -n value
done
"""


def live(packages):
    """For each package what `Live` has, or None if it is not live."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return list(pool.map(lambda p: {"commit": commit(p)} if "live" in p.properties else None, packages))


def commit(package):
    """The commit that a checkout would get now; None if nobody knows."""
    ebuild, known = place(package)[0], variables(package)
    name = known.get("EGIT_COMMIT") or known.get("EGIT_BRANCH")
    if COMMIT.fullmatch(known.get("EGIT_COMMIT", "")):
        return name
    if known.get("EGIT_REPO_URI"):
        # Mirrors of one repository.
        uris = known["EGIT_REPO_URI"].split()[:MOST_URIS]
        return next(filter(None, (upstream(uri, name) for uri in uris)), None)
    with open(ebuild, encoding="utf-8", errors="replace") as file:
        cloned = clones(file.read(), known)
    found = [upstream(uri, branch) for uri, branch in cloned[:MOST_URIS]]
    if not all(found) or len(cloned) > MOST_URIS:
        return None
    if len(found) < 2:
        return found[0] if found else None
    return hashlib.sha256(" ".join(found).encode()).hexdigest()


def variables(package):
    """The variables that the ebuild sets, by name; none if it cannot be sourced."""
    from portage.const import PORTAGE_BIN_PATH
    from portage.versions import catpkgsplit
    ebuild = place(package)[0]
    category, name, version, revision = catpkgsplit(package.cpv)
    full = version if revision == "r0" else f"{version}-{revision}"
    eclasses = package.root_config.trees["porttree"].dbapi.repositories[package.repo].eclass_db.eclasses
    files = " ".join(f"[{eclass}]={quoted(found.location)}" for eclass, found in sorted(eclasses.items()))
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "PORTAGE_BIN_PATH": PORTAGE_BIN_PATH,
           "EAPI": package.eapi, "EBUILD_PHASE": "depend", "CATEGORY": category, "PN": name, "PV": version,
           "PR": revision, "PVR": full, "P": f"{name}-{version}", "PF": f"{name}-{full}",
           "FILESDIR": os.path.join(os.path.dirname(ebuild), "files"), "SWARM_ECLASS_FILES": files}
    try:
        said = subprocess.run(["bash", "-c", SOURCE, "live", ebuild], capture_output=True, timeout=SECONDS, env=env,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    words = said.stdout.decode("utf-8", "replace").split("\0")
    return dict(zip(words[::2], words[1::2])) if said.returncode == 0 else {}


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def clones(text, known):
    """The repositories that the text of an ebuild clones or fetches, and of each the branch or None."""
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for command in filter(CLONE.search, re.split(r"[\n;]|&&|\|\|", text)):
        command = re.sub(r"\$\{?(\w+)\}?", lambda m: known.get(m[1], m[0]), command)
        branch = BRANCH.search(command)
        found += [(uri, branch and branch[1]) for uri in URI.findall(command)]
    return found


def upstream(uri, name):
    """The commit of a branch or tag of a repository, or of its HEAD."""
    refs = [f"refs/heads/{name}", f"refs/tags/{name}^{{}}", f"refs/tags/{name}"] if name else ["HEAD"]
    found = {}
    try:
        for digest, ref in over_http(uri, refs) if uri.startswith(("http://", "https://")) else by_git(uri, refs):
            if ref in refs and COMMIT.fullmatch(digest):
                found[ref] = digest
            if refs[0] in found:
                break
    except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError):
        return None
    return next((found[ref] for ref in refs if ref in found), None)


def by_git(uri, refs):
    """Asks a repository by git, which a base need not have."""
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "git:file"}
    command = ["git", "-c", "safe.directory=*", "ls-remote", "--", uri, *refs]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=env, stdin=subprocess.DEVNULL)
    return [line.split("\t", 1) for line in answer.stdout.splitlines() if "\t" in line]


def over_http(uri, refs):
    """Asks a repository over HTTP, as git does (gitprotocol-http): from a smart server or from files."""
    answer = Answer(uri + "/info/refs?service=git-upload-pack")
    if answer.kind == "application/x-git-upload-pack-advertisement":
        while line := answer.packet():
            if b" " in line and not line.startswith(b"#"):
                # After the first comes what the server can do.
                digest, ref = line.split(b"\0")[0].decode("utf-8", "replace").split(" ", 1)
                yield digest, ref.strip()
        return
    if refs == ["HEAD"]:
        head = Answer(uri + "/HEAD").line().decode("utf-8", "replace").strip()
        if not head.startswith("ref: "):
            yield head, "HEAD"
            return
        refs.append(head.removeprefix("ref: "))
    while line := answer.line():
        yield line.decode("utf-8", "replace").strip().split("\t", 1) if b"\t" in line else ("", "")


class Answer:
    """An answer to a GET request, bounded in size and time."""

    def __init__(self, url):
        self.until = time.monotonic() + SECONDS
        self.left, self.rest, self.flushes = LARGEST_ANSWER, b"", 0
        # Some servers give a page for people to whoever is no git.
        request = urllib.request.Request(url, headers={"User-Agent": "git/2.47.0 (build-swarm)"})
        self.body = urllib.request.urlopen(request, timeout=SECONDS)
        self.kind = self.body.headers.get_content_type()

    def more(self):
        """Reads on; whether there was anything."""
        data = self.body.read1(1 << 16)
        self.left -= len(data)
        if self.left < 0 or time.monotonic() > self.until:
            raise TimeoutError("the answer is too large or takes too long")
        self.rest += data
        return bool(data)

    def take(self, count):
        while len(self.rest) < count and self.more():
            pass
        if len(self.rest) < count:
            raise ValueError("the answer ends early")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def packet(self):
        """The next packet's text (gitprotocol-common, pkt-line); empty at the end."""
        while True:
            length = int(self.take(4), 16)
            if length >= 4:
                return self.take(length - 4) or b"\n"
            # The first flush ends the service's name, the second the list.
            self.flushes += 1
            if self.flushes == 2:
                return b""

    def line(self):
        """The next line; empty at the end."""
        while b"\n" not in self.rest and self.more():
            pass
        line, end, self.rest = self.rest.partition(b"\n")
        return line + end
