"""Why the resolver refuses, and which atoms of the world are to blame.

A finding is (kind, culprits, message, lines): lines are what would have to be written below
etc/portage, each with its file in front. They are the resolver's; nothing is decided for the admin.
"""

import contextlib
import io
import itertools
import re

from proof import Proof, consistent

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


def problems(findings, culprits):
    """One problem for the atoms that have the same findings: all that each of them takes together."""
    of = {}
    for number, (_, atoms, _, _) in enumerate(findings):
        for atom in atoms & culprits:
            of.setdefault(atom, []).append(number)
    together = {}
    for atom, numbers in sorted(of.items()):
        together.setdefault(tuple(numbers), []).append(atom)
    for numbers, atoms in together.items():
        kinds, _, messages, lines = zip(*(findings[n] for n in numbers), strict=True)
        # What is only half of the way is not offered.
        offered = None if any(some is None for some in lines) else "\n".join(dict.fromkeys(itertools.chain(*lines)))
        yield {"kind": kinds[0], "atoms": atoms, "message": "\n\n".join(dict.fromkeys(messages)), "suggestion": offered}


def findings(survey):
    """All that a survey found."""
    return unsatisfied(survey) + inconsistent(survey) + changes(survey)


def changes(survey):
    """Settings that would have to change."""
    from _emerge.depgraph import _get_masking_status
    graph, state, found = survey.graph, survey.state, []
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
            return said(survey.portage, graph._display_autounmask)
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

    def add(kind, package, line, test):
        found.append((kind, survey.world([package], survey.wants(test)), words(package), [line]))

    def nodes(packages):
        return sorted((p for p in packages if p in survey.digraph), key=lambda p: (p.cpv, p.root))

    def masked(atom, package):
        return not visible(atom, package)

    for package in nodes(state._needed_use_config_changes):
        flags = state._needed_use_config_changes[package][1]
        before = package.use.enabled

        def differs(atom, package, flags=flags, before=before):
            return bool(atom.package and atom.use and (
                (atom.use.enabled & flags.keys()) - before or (atom.use.disabled & flags.keys()) & before))
        torn = both_ways(survey, package, flags)
        if torn:
            found.append(("slot-conflict", survey.world([package], survey.wants(differs)), torn, None))
            continue
        line = " ".join([f">={package.cpv}", *sorted(f if on else f"-{f}" for f, on in flags.items())])
        add("use-change", package, f"package.use: {line}", differs)
    for package in nodes(state._needed_unstable_keywords):
        for keyword in hints(package, "unstable keyword")[:1]:
            add("keyword", package, f"package.accept_keywords: ={package.cpv} {keyword}", masked)
    for package in nodes(state._needed_p_mask_changes):
        add("mask", package, f"package.unmask: ={package.cpv}", masked)
    for package in nodes(state._needed_license_changes):
        licenses = " ".join(sorted(state._needed_license_changes[package]))
        add("license", package, f"package.license: ={package.cpv} {licenses}", masked)
    return found


def both_ways(survey, package, flags):
    """Words, if a flag that would have to change is wanted as it is by somebody else."""
    wanted = [pair for other, pairs in survey.state._parent_atoms.items() if other.slot_atom == package.slot_atom
              for pair in pairs]
    wanted += [(options["myparent"], arguments[1])
               for arguments, options in survey.state._unsatisfied_deps_for_display]
    wanted = [(parent, atom) for parent, atom in wanted if atom.package and atom.use and atom.cp == package.cp]
    for flag in sorted(flags):
        on = [pair for pair in wanted if flag in pair[1].use.enabled]
        off = [pair for pair in wanted if flag in pair[1].use.disabled]
        if on and off:
            lines = [f"  {atom}, {wanter(survey, parent)}" for parent, atom in sorted([*on, *off], key=str)]
            return "\n".join([f"{package.cpv} cannot be built both with and without {flag}, as is wanted:",
                              *dict.fromkeys(lines)])
    return None


def wanter(survey, parent):
    """Who wants something, and for whom in the world."""
    if not hasattr(parent, "cpv"):
        return "wanted by the world itself"
    world = sorted(survey.world([parent]))
    some = " ".join(world[:5]) + (f" and {len(world) - 5} more" if len(world) > 5 else "")
    return f"wanted by {parent.cpv}, for {some} of the world"


def unsatisfied(survey):
    """Atoms that nothing satisfies."""
    found, seen = [], set()
    for arguments, options in survey.state._unsatisfied_deps_for_display:
        parent = options["myparent"]
        if "show_req_use" in options or (str(arguments[1]), parent) in seen:
            continue
        seen.add((str(arguments[1]), parent))
        text = said(survey.portage, lambda: survey.graph._show_unsatisfied_dep(*arguments, **options))
        kind = "use-change" if "Change USE" in text else "mask" if "masked by:" in text else "unsatisfied"
        found.append((kind, survey.world([parent]), text, None))
    return found


def inconsistent(survey):
    """Packages whose own USE flags contradict each other."""
    found = []
    for package in survey.packages():
        if not package.installed and not consistent(package):
            wanted = next(iter(survey.state._parent_atoms.get(package, ())), None)
            options = {"myparent": wanted[0] if wanted else None, "show_req_use": package}
            text = said(survey.portage, lambda: survey.graph._show_unsatisfied_dep(
                package.root, wanted[1] if wanted else package.slot_atom, **options))
            line = consistent_use(package)
            found.append(("use-change" if line else "unsatisfied", survey.world([package]), text,
                          [f"package.use: {line}"] if line else None))
    return found


def consistent_use(package):
    """The line of package.use that satisfies REQUIRED_USE with the fewest changes."""
    from portage.dep import check_required_use, get_required_use_flags
    required = package._metadata.get("REQUIRED_USE", "")
    enabled = set(package.use.enabled)
    fixed = package.use.mask | package.use.force
    flags = sorted(get_required_use_flags(required, eapi=package.eapi) - fixed)
    for count in (1, 2):
        for change in itertools.combinations(flags, count):
            if check_required_use(required, enabled.symmetric_difference(change), package.iuse.is_valid_flag,
                                  eapi=package.eapi):
                return " ".join([f"={package.cpv}", *(f"-{f}" if f in enabled else f for f in change)])
    return None


def clashes(outcome, without=frozenset()):
    """Slot conflicts and blockers, some atoms of the world set aside, and whether each is proved."""
    return ([(("slot-conflict", *finding, None), proved) for *finding, proved in conflicting(outcome, without)]
            + [(("other", *finding, None), proved) for *finding, proved in blocked(outcome, without)])


def conflicting(outcome, without):
    """Packages that want the same slot: [(culprits, message, whether no other choice helps)]."""
    from portage._sets.base import InternalPackageSet
    found, use = [], outcome.graph._pkg_use_enabled
    for conflict in outcome.state._package_tracker.slot_conflicts():
        packages = sorted(conflict, reverse=True)

        def picky(atom, package):
            wanted = InternalPackageSet(initial_atoms=(atom,), allow_repo=True)
            return not all(wanted.findAtomForPackage(p, modified_use=use(p)) for p in packages if p is not package)

        lines, sides = [], []
        for package in packages:
            sides.append(outcome.world([package], outcome.wants(picky)))
            lines += sorted({f"  {package.cpv}, as {atom} is {wanter(outcome, parent)}"
                             for parent, atom in outcome.state._parent_atoms.get(package, ()) if picky(atom, package)})
        message = "\n".join([f"{packages[0].cp}:{packages[0].slot} can be installed once, and is wanted as:", *lines])
        # Who goes if only one of them is there; the newest of the least is kept.
        candidates = [p for p in outcome.graph._iter_match_pkgs_any(packages[0].root_config, packages[0].slot_atom)
                      if p.visible and not p.installed]
        atoms = set().union(*sides) - without
        victims = [only(outcome, package).lost(atoms) for package in candidates]
        proved = bool(victims) and all(victims)
        # Who wants several of them cannot be helped; else the older one goes.
        guess = set.intersection(*sides) or min((s for s in reversed(sides) if s), key=len, default=set())
        found.append((min(victims, key=len) if proved else guess, message, proved))
    return found


def only(outcome, package):
    """Proofs for a world in which this is the only package of its slot."""
    return Proof(outcome.graph, lambda p: p.slot_atom == package.slot_atom and p != package)


def blocked(outcome, without):
    """Packages that refuse to be installed beside others, as `conflicting`."""
    state, found = outcome.state, []
    for blocker in sorted(state._unsolvable_blockers, key=str):
        if not hasattr(blocker, "atom"):
            continue
        blockers = sorted(state._unsolvable_blockers.parent_nodes(blocker))
        victims = sorted(p for p in state._package_tracker.match(blocker.root, blocker.atom) if p not in blockers)
        if not blockers or not victims:
            continue
        by, of = outcome.world(blockers), outcome.world(victims)
        lines = [f"  {p.cpv}, {wanter(outcome, parent)}" for p in [*blockers, *victims]
                 for parent in sorted(outcome._parents(p), key=str)]
        message = "\n".join([f"{' and '.join(str(p.cpv) for p in blockers)} cannot be installed beside "
                             f"{' and '.join(str(p.cpv) for p in victims)} (it blocks {blocker.atom}):",
                             *dict.fromkeys(lines)])
        lost = [Proof(outcome.graph, lambda p: p in blockers).lost(by - without),
                Proof(outcome.graph, lambda p: bool(blocker.atom.match(p))).lost(of - without)]
        sides = lost if all(lost) else [by, of]
        guess = sides[0] & sides[1] or min((s for s in sides if s), key=len, default=set())
        found.append((guess, message, all(lost)))
    return found
