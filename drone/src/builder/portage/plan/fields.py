"""What makes a package another one by Gentoo's rule, as named values: the same on every machine.

What is not here rebuilds nothing: keywords, comments, the texts of ebuilds and eclasses,
and of the environment what does not reach the image (`HIDDEN`). The dependencies are all five kinds,
as `emerge --changed-deps` compares them: a build tool that is required anew decides what is built, too.
"""

import fnmatch
import glob
import itertools
import os
import re

from digests import Digest, ask, compiler, dist_lines, libc
from flags import portable
from sourced import named

# Variables that do not decide what is in a package: paths, jobs, caches, mirrors, logs, what
# Portage tells of itself, and what other fields say better.
HIDDEN = """
PATH HOME TERM NOCOLOR NO_COLOR SHELL ROOT EROOT SYSROOT ESYSROOT BROOT EPREFIX PWD OLDPWD SHLVL _ TZ USER LOGNAME
T D ED DESTDIR DISTDIR DOC_SYMLINKS_DIR EBUILD_SH_ENV_DIR ECLASSDIR FILESDIR INFODIR PKGDIR PKG_LOGDIR PKG_TMPDIR
PM_EBUILD_HOOK_DIR PORTDIR PORTDIR_OVERLAY RPMDIR TMPDIR WORKDIR PORTAGE_* BINPKG_* GPG_* SCCACHE_* MAKEOPTS
MAKEFLAGS NINJAOPTS NINJAFLAGS CCACHE_* DISTCC_* ICECC_* LC_MESSAGES *_proxy *_PROXY SSL_* PYTHONHASHSEED
PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE
FEATURES USE USE_ORDER USE_EXPAND* IUSE* PKGUSE REQUIRED_USE ACCEPT_* LICENSE KEYWORDS INHERITED DEFINED_PHASES
PROPERTIES RESTRICT PROFILE_ONLY_VARIABLES BOOTSTRAP_USE CONFIG_PROTECT* COLLISION_IGNORE UNINSTALL_IGNORE ENV_UNSET
DESCRIPTION HOMEPAGE SRC_URI SLOT EAPI *DEPEND REPOSITORY repository EMERGE_* PORT_LOG* *COMMAND* FETCH* RESUME*
GENTOO_MIRRORS MERGE_TYPE CATEGORY P PF PN PR PV PVR EBUILD_* BUILD_ID BUILD_TIME CLEAN_DELAY NOCONFMEM QA_* DBUS_* XDG_*
BASH_FUNC_* SWARM_* GIT_* SANDBOX_* LD_LIBRARY_PATH LD_PRELOAD
""".split()
# Which of the hidden do, after all.
SHOWN = {"PORTAGE_COMPRESS", "PORTAGE_COMPRESS_FLAGS", "PORTAGE_COMPRESS_EXCLUDE_SUFFIXES", "PORTAGE_STRIP_FLAGS",
         "PORTAGE_XATTR_EXCLUDE"}
HIDDEN = re.compile("|".join(fnmatch.translate(name) for name in HIDDEN))
# Features that do not change what is in a package: of fetching, logs, sandboxes, compiler caches, package files and
# merging, and checks that only fail or warn. Drones may set each of them differently.
NO_EFFECT = set("""
assume-digests binpkg-ignore-signature binpkg-logs binpkg-multi-instance binpkg-request-signature binpkg-signing buildpkg
buildpkg-live buildpkg-proactive buildsyspkg candy ccache cgroup clean-logs collision-protect compress-build-logs
compress-index config-protect-if-modified digest distcc distlocks downgrade-backup ebuild-locks fail-clean force-mirror
getbinpkg gpg-keepalive home-dir-template-copy icecream ipc-sandbox jobserver-token keeptemp keepwork lmirror merge-sync
merge-use-vdb merge-wait metadata-transfer mirror mount-sandbox network-sandbox network-sandbox-proxy news noauto noclean
notitles observability parallel-fetch parallel-install pid-sandbox pkgdir-index-trusted prelink-checksums preserve-libs
protect-owned python-trace qa-unresolved-soname-deps sandbox sccache sesandbox sfperms sign skiprocheck split-elog split-log
strict stricter suidctl test-fail-continue unknown-features-filter unknown-features-warn unmerge-backup unmerge-logs
unmerge-orphans unprivileged userfetch userpriv usersandbox usersync warn-on-large-env webrsync-gpg
""".split())
# Features with an effect that Portage has on by default: their absence is told, so that usual settings have no field.
USUAL = {"binpkg-docompress", "binpkg-dostrip", "fixlafiles"}
# Restrictions that do.
RESTRICT = {"compressdebug", "dedupdebug", "installsources", "splitdebug", "strip"}
# Longer values are told as digests.
LONGEST = 1000


def short(value):
    """The value, or if it is long its digest."""
    if len(value) <= LONGEST:
        return value
    digest = Digest("value")
    digest.add("", value)
    return "sha256:" + digest.hex()


def fields(graph, package):
    """The fields of a package."""
    settings = graph._frozen_config.pkgsettings[package.root]
    settings.setcpv(package)
    use = graph._pkg_use_enabled(package)
    etc = os.path.join(settings["PORTAGE_CONFIGROOT"], "etc/portage")
    reaching = environment(settings)
    portable(reaching, f"of {package.cpv}")    # set in package.env
    found = {f"env.{name}": value for name, value in reaching.items()}
    found["features"] = " ".join(features(set(settings.features)))
    found["restrict"] = " ".join(sorted(RESTRICT & set(settings.get("PORTAGE_RESTRICT", "").split())))
    found["use.implicit"] = " ".join(sorted(f for f in use if f not in package.iuse.all and package.iuse.is_valid_flag(f)))
    found["eapi"] = package.eapi
    for kind in ("DEPEND", "RDEPEND", "BDEPEND", "PDEPEND", "IDEPEND"):
        found[kind.lower()] = dependencies(package, kind, use)
    lines = dist_lines(package, use)
    if lines:
        found["distfiles"] = " ".join(f"{line.split()[1]}:{line.split()[-1][:32]}" for line in lines)
    for name, digest in configured(settings, package, etc):
        found[name] = digest
    return {name: short(value) for name, value in found.items() if value}


def features(active):
    """The features that decide what is in a package, and of the usual ones those that are off."""
    return sorted({*(active - NO_EFFECT - USUAL), *(f"-{name}" for name in USUAL - active)})


def environment(settings):
    """What an ebuild of the package that is set would see of the configuration."""
    foreign = {*os.environ, *settings.configdict["env.d"]}
    layers = [settings.configdict[k] for k in ("pkg", "conf", "pkginternal", "features", "repo", "defaults", "globals")
              if k in settings.configdict]

    def is_ours(name):
        return name not in foreign or any(name in layer for layer in layers)

    return {name: " ".join(value.split()) for name, value in settings.environ().items()
            if is_ours(name) and (name in SHOWN or not HIDDEN.match(name))}


def dependencies(package, kind, use):
    """The evaluated dependencies, in an order that does not hang on how they are written."""
    from portage.dep import Atom, use_reduce
    tree = use_reduce(package._metadata.get(kind, ""), uselist=use, eapi=package.eapi, opconvert=True,
                      is_valid_flag=package.iuse.is_valid_flag, token_class=Atom)

    def normal(part):
        if not isinstance(part, list):
            return str(part)
        operator, members = (part[0], part[1:]) if part and part[0] == "||" else ("", part)
        # The first of several that would do is preferred.
        members = [normal(m) for m in members]
        return f"{operator}( {' '.join(members if operator else sorted(set(members)))} )"

    return " ".join(sorted({normal(part) for part in tree}))


def configured(settings, package, etc):
    """Digests of the files of the configuration that this package's build reads."""
    pn, pf = package.cp.split("/")[1], package.cpv.split("/")[1]
    version = re.sub(r"-r\d+$", "", pf)
    # Portage looks for patches of `${P}-${PR}`, which of the first revision is `-r0`.
    names = sorted({pn, version, pf, pf if pf != version else f"{version}-r0"})
    for kind in ("patches", "env"):
        found = []
        for name in names:
            paths = sorted(glob.glob(glob.escape(f"{etc}/{kind}/{package.category}/{name}") + "*"))
            found += [p for p in paths if os.path.basename(p) in (name, f"{name}:{package.slot}")]
        yield kind, content(found, etc, follow=kind == "env")
    saved = [p for name in names for p in sorted(glob.glob(f"{glob.escape(etc)}/savedconfig/**/{package.category}/{name}",
                                                           recursive=True))]
    yield "savedconfig", content(saved, etc)
    # Its variables are in the environment; what they name is not.
    penv = itertools.chain.from_iterable((settings._penvdict.get(package.cp) or {}).values())
    yield "package.env", content(named([os.path.join(etc, "env", name) for name in penv], etc), etc)
    yield "bashrc", content([os.path.join(etc, "bashrc")], etc, follow=True)
    hooks = [os.path.join(path, "profile.bashrc") for path in settings.profiles]
    hooks += list(getattr(settings, "_pbashrc", ()) or ())
    yield "profile.bashrc", content(hooks, etc, follow=True)


def content(paths, etc, follow=False):
    """Digest of what these files and directories have in them; empty if there is none."""
    paths = [p for p in paths if os.path.exists(p)]
    paths += named(paths, etc) if follow else []
    digest = Digest("content")
    for path in paths:
        digest.tree(os.path.relpath(path, etc) if path.startswith(etc + "/") else os.path.basename(path), path)
    return digest.hex() if paths else ""


def abi(portage):
    """What of the base decides alike what every package is."""
    name, version = compiler(portage.settings.get("CC", "cc").split() or ["cc"])
    binutils = ask(["ld", "--version"]).splitlines()
    minor = ".".join(version.split(".")[:2])
    level = re.findall(r"-march=(\S+)", portage.settings.get("CFLAGS", ""))
    return {"abi.compiler": f"{name} {minor}", "abi.libc": libc(), "abi.cpu": level[-1] if level else "",
            "abi.binutils": ".".join(binutils[0].split()[-1].split(".")[:2]) if binutils else ""}


def common(packages, settings):
    """Moves what all packages have alike from their fields into the settings."""
    if packages:
        first, *others = (p["fields"] for p in packages)
        for name, value in list(first.items()):
            if all(fields.get(name) == value for fields in others):
                settings[name] = value
                for package in packages:
                    del package["fields"][name]
    return settings
