"""Digests of what packages are built from and with: the same on every machine, or two drones
would not agree whether a package is built already.
"""

import functools
import glob
import hashlib
import itertools
import os
import re
import subprocess

from resolver import NoPlan

# Settings that change what is in a package, beside its USE flags.
SETTINGS = ["CHOST", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "FCFLAGS", "FFLAGS", "LDFLAGS", "RUSTFLAGS", "GOFLAGS",
            "EXTRA_ECONF", "EXTRA_EMAKE", "MYCMAKEARGS", "MYMESONARGS", "INSTALL_MASK", "PKG_INSTALL_MASK"]
FEATURES = {"compressdebug", "dedupdebug", "installsources", "nodoc", "noinfo", "noman", "nostrip", "splitdebug"}


@functools.cache
def file_digest(path):
    """Kept, because every package inherits the same few eclasses."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).digest()


class Fields:
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


def inputs(graph, package):
    """Digest of what a package is built from and with, the same on every machine."""
    from portage.package.ebuild._config.helper import ordered_by_atom_specificity
    fields = Fields("inputs-1")
    database = package.root_config.trees["porttree"].dbapi
    ebuild, repository = database.findname2(package.cpv, myrepo=package.repo)
    folder = os.path.dirname(ebuild)
    fields.tree("ebuild", ebuild)
    fields.add("eapi", package.eapi)
    eclasses = database.repositories[package.repo].eclass_db.eclasses
    for name in sorted(package.inherited):
        fields.tree(f"eclass/{name}", eclasses[name].location)
    fields.tree("files", os.path.join(folder, "files"))
    use = graph._pkg_use_enabled(package)
    sources = set(database.getFetchMap(package.cpv, useflags=use, mytree=repository))
    manifest = os.path.join(folder, "Manifest")
    if sources and os.path.exists(manifest):
        with open(manifest, encoding="utf-8") as lines:
            lines = sorted(" ".join(line.split()) for line in lines)
        for line in lines:
            if line.startswith("DIST ") and line.split()[1] in sources:
                fields.add("distfile", line)
    settings = graph._frozen_config.pkgsettings[package.root]
    settings.setcpv(package)
    for name in SETTINGS:
        fields.add(name, " ".join(settings.get(name, "").split()))
    fields.add("FEATURES", " ".join(sorted(FEATURES & set(settings.features))))
    # The admin's environment, patches and hooks for this package.
    etc = os.path.join(settings["PORTAGE_CONFIGROOT"], "etc/portage")
    named = ordered_by_atom_specificity(settings._penvdict.get(package.cp) or {}, package)
    for name in itertools.chain.from_iterable(named):
        fields.tree(f"package.env/{name}", os.path.join(etc, "env", name))
    pn, pf = package.cp.split("/")[1], package.cpv.split("/")[1]
    p = re.sub(r"-r\d+$", "", pf)
    for kind, name in itertools.product(("patches", "env"), sorted({pn, p, pf})):
        for path in sorted(glob.glob(glob.escape(f"{etc}/{kind}/{package.category}/{name}") + "*")):
            if os.path.basename(path) in (name, f"{name}:{package.slot}"):
                fields.tree(f"{kind}/{os.path.basename(path)}", path)
    return fields.digest()


def toolchain(portage):
    """Digest of what every package of the profile is built with."""
    settings, fields = portage.settings, Fields("toolchain-1")
    compiler = settings.get("CC", "cc").split() or ["cc"]
    ask = functools.partial(subprocess.run, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    for questions in (("-dumpfullversion", "-dumpversion"), ("-dumpmachine",)):    # clang knows only the second
        try:
            answers = [answer for answer in (ask([*compiler, q]) for q in questions) if answer.returncode == 0]
        except OSError as error:
            raise NoPlan(f"the compiler cannot be run: {error}") from error
        if not answers:
            raise NoPlan(f"the compiler `{' '.join(compiler)}` does not answer {questions[0]}")
        fields.add(questions[0], answers[0].stdout.strip())
    try:
        fields.add("libc", os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):    # musl has no such name; its loader says its version
        loaders = sorted(glob.glob("/lib/ld-musl-*"))
        fields.add("libc", ask(loaders[:1]).stderr if loaders else "")
    for name in ["CHOST", "CFLAGS", "CXXFLAGS", "LDFLAGS", "ABI", "DEFAULT_ABI", "MULTILIB_ABIS", "ELIBC"]:
        fields.add(name, " ".join(settings.get(name, "").split()))
    hooks = [os.path.join(p, "profile.bashrc") for p in settings.profiles]
    for path in [*hooks, os.path.join(settings["PORTAGE_CONFIGROOT"], "etc/portage/bashrc")]:
        fields.tree(os.path.basename(path), path)
    return fields.digest()
