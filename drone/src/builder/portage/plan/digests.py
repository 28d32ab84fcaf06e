"""Digests of what packages are built from and with: the same on every machine, or two drones
would not agree whether a package is built already.
"""

import functools
import glob
import hashlib
import os
import re
import subprocess

from resolver import NoPlan


@functools.cache
def file_digest(path):
    """Kept, because every package inherits the same few eclasses."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).digest()


class Digest:
    """A digest over named byte strings, none of which can be mistaken for its neighbour."""

    def __init__(self, name):
        self.hash = hashlib.sha256()
        self.add("", name)

    def add(self, name, value):
        for part in (name, value):
            part = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
            self.hash.update(len(part).to_bytes(8, "big") + part)

    def tree(self, name, top):
        """A file, or all files below a directory by their relative names."""
        if os.path.isfile(top):
            self.add(name, file_digest(top))
        for folder, folders, files in os.walk(top):
            folders.sort()
            for file in sorted(files):
                path = os.path.join(folder, file)
                self.tree(f"{name}/{os.path.relpath(path, top)}", path)

    def digest(self):
        return self.hash.hexdigest()

    def hex(self):
        """What is enough to tell one value from another."""
        return self.hash.hexdigest()[:32]


def ask(command):
    """What a program answers; empty if it cannot be run or fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


@functools.cache
def libc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):    # musl has no such name; its loader says its version
        loaders = sorted(glob.glob("/lib/ld-musl-*"))
        said = subprocess.run(loaders[:1], capture_output=True, text=True, timeout=60).stderr if loaders else ""
        return "".join(f"musl {line.split()[-1]}" for line in said.splitlines() if line.startswith("Version"))


def compiler(command):
    """Its name and its version."""
    version = ask([*command, "-dumpfullversion"]) or ask([*command, "-dumpversion"])    # clang knows only the second
    if not version:
        raise NoPlan(f"the compiler cannot be run: `{' '.join(command)}` does not say its version")
    return ("clang" if "clang" in ask([*command, "--version"]) else "gcc"), version


def place(package):
    """Where a package's ebuild is, and in which repository."""
    return package.root_config.trees["porttree"].dbapi.findname2(package.cpv, myrepo=package.repo)


def dist_lines(package, use):
    """The lines of the Manifest for the sources that are used, sorted."""
    ebuild, repository = place(package)
    database = package.root_config.trees["porttree"].dbapi
    sources = set(database.getFetchMap(package.cpv, useflags=use, mytree=repository))
    manifest = os.path.join(os.path.dirname(ebuild), "Manifest")
    if not sources or not os.path.exists(manifest):
        return []
    with open(manifest, encoding="utf-8") as lines:
        lines = sorted(" ".join(line.split()) for line in lines)
    return [line for line in lines if line.startswith("DIST ") and line.split()[1] in sources]


def texts(package):
    """Digests of the texts that a package is made from, by name."""
    ebuild, _ = place(package)
    eclasses = package.root_config.trees["porttree"].dbapi.repositories[package.repo].eclass_db.eclasses
    found = {name: Digest(name) for name in ("ebuild", "eclasses", "files")}
    found["ebuild"].tree("ebuild", ebuild)
    for name in sorted(package.inherited):
        found["eclasses"].tree(name, eclasses[name].location)
    found["files"].tree("files", os.path.join(os.path.dirname(ebuild), "files"))
    return {name: digest.hex() for name, digest in found.items()}


def inputs(named, strict):
    """One digest of all that a package is built from and with."""
    digest = Digest("inputs-2")
    for name, value in [*sorted(named.items()), *sorted(strict.items())]:
        digest.add(name, value)
    return digest.digest()


def built_with(portage):
    """The programs that packages are built with, as `Toolchain` has them."""
    import portage as library
    name, version = compiler(["cc"])
    linker = ask(["ld", "--version"]).splitlines()
    level = re.findall(r"-march=(\S+)", portage.settings.get("CFLAGS", ""))
    return {"chost": ask(["cc", "-dumpmachine"]), "compiler": f"{name} {version}", "libc": libc(),
            "binutils": linker[0].split()[-1] if linker else "", "bash": ask(["bash", "-c", "echo ${BASH_VERSION%%(*}"]),
            "portage": library.VERSION, "cpu": level[-1] if level else ""}


def toolchain(named):
    """One digest of what every package of the profile is built with."""
    digest = Digest("toolchain-2")
    for name, value in sorted(named.items()):
        digest.add(name, value)
    return digest.digest()
