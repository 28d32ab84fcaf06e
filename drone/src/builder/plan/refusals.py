"""Why the resolver refuses, in its own words, and which atoms of the world are to blame.

Suggestions are the resolver's; nothing is decided for the admin.
"""

import contextlib
import io
import itertools
import re

MESSAGE_CHARS = 4000


def said(portage, show):
    """What Portage prints meanwhile: no colours, no paths of this machine, not too much."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        show()
    text = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    for root in sorted(portage.trees, key=len, reverse=True):
        if root != "/":
            text = text.replace(f" for {root}", "").replace(f" to {root}", "").replace(root, "/")
    for repository in portage.settings.repositories:
        text = text.replace(f"{repository.location}/", f"{repository.name}/")
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()
    return text if len(text) <= MESSAGE_CHARS else text[:MESSAGE_CHARS] + "\n[...]"


def problems(outcome):
    """The refusals of a failed resolution: [(kind, culprits, message, suggestion)]."""
    found = changes(outcome) + unsatisfied(outcome)
    return found or conflicts(outcome) or blockers(outcome)


def changes(outcome):
    """Settings that would have to change."""
    from _emerge.depgraph import _get_masking_status
    graph, state, found = outcome.graph, outcome.state, []
    needed = ("_needed_use_config_changes", "_needed_unstable_keywords", "_needed_p_mask_changes",
              "_needed_license_changes")
    state._autounmask_backtrack_disabled = False

    def words(package):
        """Portage's own, about one package only."""
        everything = {name: getattr(state, name) for name in needed}
        state._displayed_autounmask = False
        try:
            for name, all_of in everything.items():
                some = [p for p in all_of if p == package]
                setattr(state, name, {p: all_of[p] for p in some} if isinstance(all_of, dict) else set(some))
            return said(outcome.portage, graph._display_autounmask)
        finally:
            for name, all_of in everything.items():
                setattr(state, name, all_of)

    def hints(package, key):
        settings = graph._frozen_config.pkgsettings[package.root]
        use = graph._pkg_use_enabled(package)
        reasons = _get_masking_status(package, settings, package.root_config, use=use)
        return [r.unmask_hint.value or "" for r in reasons if r.unmask_hint and r.unmask_hint.key == key]

    def visible(atom, package):
        database = package.root_config.trees["porttree"].dbapi
        return bool(atom.package and database.xmatch("bestmatch-visible", atom.without_use))

    def add(kind, package, suggestion, test):
        culprits = outcome.world([package], outcome.wants(test))
        found.append((kind, culprits, words(package), suggestion))

    def nodes(packages):
        return sorted((p for p in packages if p in outcome.digraph), key=lambda p: (p.cpv, p.root))

    def masked(atom, package):
        return not visible(atom, package)

    for package in nodes(state._needed_use_config_changes):
        flags = state._needed_use_config_changes[package][1]
        line = " ".join([f">={package.cpv}", *sorted(f if on else f"-{f}" for f, on in flags.items())])
        before = package.use.enabled
        add("use-change", package, line,
            lambda atom, p: bool(atom.package and atom.use and (
                (atom.use.enabled & flags.keys()) - before or (atom.use.disabled & flags.keys()) & before)))
    for package in nodes(state._needed_unstable_keywords):
        for keyword in hints(package, "unstable keyword")[:1]:
            add("keyword", package, f"={package.cpv} {keyword}", masked)
    for package in nodes(state._needed_p_mask_changes):
        add("mask", package, f"={package.cpv}", masked)
    for package in nodes(state._needed_license_changes):
        licenses = " ".join(sorted(state._needed_license_changes[package]))
        add("license", package, f"={package.cpv} {licenses}", masked)
    return found


def unsatisfied(outcome):
    """Atoms that nothing satisfies, and packages whose own USE flags contradict each other."""
    found = []
    for arguments, options in outcome.state._unsatisfied_deps_for_display:
        package, parent = options.get("show_req_use"), options.get("myparent")
        text = said(outcome.portage, lambda: outcome.graph._show_unsatisfied_dep(*arguments, **options))
        culprits = {str(parent.arg)} if hasattr(parent, "arg") else outcome.world([parent] if parent else [])
        if package is not None:
            line = consistent_use(outcome.graph, package)
            fix = {str(package.cpv): line.split()[1:]} if line else None
            kind, wanted = "use-change", package if line else None
        else:
            kind = "use-change" if "Change USE" in text else "mask" if "masked by:" in text else "unsatisfied"
            line, fix, wanted = None, None, parent if hasattr(parent, "cpv") else None
        if wanted is not None:
            # The resolver stopped here; others of the world may lead here too.
            survey = outcome.portage.resolve(outcome.atoms, fix, survey=True)
            culprits |= survey.world([p for p in survey.packages() if p.cpv == wanted.cpv])
        found.append((kind, culprits, text, line))
    return found


def consistent_use(graph, package):
    """The line of package.use that satisfies REQUIRED_USE with the fewest changes."""
    from portage.dep import check_required_use, get_required_use_flags
    required = package._metadata.get("REQUIRED_USE", "")
    enabled = set(graph._pkg_use_enabled(package))
    fixed = package.use.mask | package.use.force
    flags = sorted(get_required_use_flags(required, eapi=package.eapi) - fixed)
    for count in (1, 2):
        for change in itertools.combinations(flags, count):
            if check_required_use(required, enabled.symmetric_difference(change), package.iuse.is_valid_flag,
                                  eapi=package.eapi):
                return " ".join([f"={package.cpv}", *(f"-{f}" if f in enabled else f for f in change)])
    return None


def conflicts(outcome):
    """Packages that want the same slot; the side that fewer atoms want has to go."""
    from portage._sets.base import InternalPackageSet
    for conflict in outcome.state._package_tracker.slot_conflicts():
        text = said(outcome.portage, outcome.graph._show_slot_collision_notice)
        packages = sorted(conflict)

        def picky(atom, package):
            wanted = InternalPackageSet(initial_atoms=(atom,))
            use = outcome.graph._pkg_use_enabled
            return not all(wanted.findAtomForPackage(p, modified_use=use(p)) for p in packages if p is not package)

        sides = [outcome.world([package], outcome.wants(picky)) for package in packages]
        # Who wants several of them cannot be helped; else the older one goes.
        culprits = set.intersection(*sides) or min((atoms for atoms in sides if atoms), key=len, default=set())
        return [("slot-conflict", culprits, text, None)]
    return []


def blockers(outcome):
    """Packages that refuse to be installed beside others."""
    state, found = outcome.state, []
    for blocker in sorted(state._unsatisfied_blockers_for_display or (), key=str):
        by = outcome.world(state._unsolvable_blockers.parent_nodes(blocker))
        of = outcome.world(state._package_tracker.match(blocker.root, blocker.atom))
        text = f"{blocker.atom} is blocked by what is wanted by {' '.join(sorted(by))}"
        found.append(("other", by & of or min(by, of, key=len), text, None))
    return found[:1]


def circular(outcome):
    """A cycle's members, how it can be broken ([(cpv, flags)], the best first), and words."""
    from _emerge.Package import Package
    from _emerge.resolver.circular_dependency import circular_dependency_handler
    handler = circular_dependency_handler(outcome.graph, outcome.state._circular_deps_for_display)
    ways = {(len(flags), str(package.cpv), tuple(sorted(f if on else f"-{f}" for f, on in flags)))
            for package, solutions in handler.parent_solutions.items() if isinstance(package, Package)
            for flags in solutions if flags}
    members = [p for p in handler.shortest_cycle or () if isinstance(p, Package)]
    text = "circular dependencies:\n" + (handler.circular_dep_message or "")
    return members, [(cpv, flags) for _, cpv, flags in sorted(ways)], said(outcome.portage, lambda: print(text))
