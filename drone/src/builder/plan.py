"""Plans a world with Portage's own resolver: `python plan.py WORLD PLAN`.

WORLD is a file of atoms, one a line (`#` comments; `@set` stands for the set's atoms). PLAN is
written atomically as the JSON of `PlanReport`; all that is printed is for the log. It runs with
the environment of an empty build root, exactly as `emerge` does there. Exit status 0: PLAN is
written, and what the resolver refused is in it. 1: no plan; one line on stderr says why.

It must not decide for the admin: where the resolver refuses, the fewest atoms are left out and
the resolver's suggestion is handed on. It installs, fetches and configures nothing.

The resolver is private API of Portage (tried with 3.0.83): `emerge --pretend` says neither which
kind a dependency is of, nor what breaks a cycle, nor who is to blame for a refusal.
"""

import contextlib
import functools
import glob
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import traceback

# All from source and as if nothing were installed, so that the plan is the same on every drone.
# Changes are looked for (`--autounmask`) to be suggested; a plan that needs one is refused.
OPTIONS = ["--pretend", "--quiet", "--color=n", "--oneshot", "--emptytree", "--deep", "--update", "--newuse",
           "--with-bdeps=y", "--autounmask=y", "--backtrack=30"]
# Settings that change what is in a package, beside its USE flags.
SETTINGS = ["CHOST", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "FCFLAGS", "FFLAGS", "LDFLAGS", "RUSTFLAGS", "GOFLAGS",
            "EXTRA_ECONF", "EXTRA_EMAKE", "MYCMAKEARGS", "MYMESONARGS", "INSTALL_MASK", "PKG_INSTALL_MASK"]
FEATURES = {"compressdebug", "dedupdebug", "installsources", "nodoc", "noinfo", "noman", "nostrip", "splitdebug"}
MESSAGE_CHARS = 4000
# A resolution each; a world with more cycles than this is not one that USE changes bootstrap.
MOST_BREAKERS = 24
# Of the atoms that were left out together; a resolution each, too.
MOST_TRIED_AGAIN = 24


class NoPlan(Exception):
    """There can be no plan at all; the text is for the admin."""


def say(text):
    print(f"plan: {text}", flush=True)


# ------------------------------------------------------------------------------- resolving

class Portage:
    """Portage's configuration, loaded once, and its resolver."""

    def __init__(self):
        import portage
        import portage.output
        portage._internal_caller = True
        portage.output.nocolor()
        from _emerge.actions import load_emerge_config
        from _emerge.main import parse_opts
        self.action, self.options, _ = parse_opts(list(OPTIONS), silent=True)
        self.config = load_emerge_config(action=self.action, args=[], opts=self.options)
        self.trees = self.config.trees
        self.settings = self.config.target_config.settings
        if not self.settings.profiles:
            raise NoPlan("the profile that etc/portage/make.profile points to cannot be read")
        self.changes = {}
        managers = {id(m): m for m in (t["root_config"].settings._use_manager for t in self.trees.values())}
        for manager in managers.values():
            self._watch(manager)

    def _watch(self, manager):
        """What `self.changes` says of a package comes after its package.use, and so wins."""
        own = manager.getPUSE
        manager.getPUSE = lambda package: " ".join(
            [own(package), *self.changes.get(str(getattr(package, "cpv", package)), ())]).strip()

    def resolve(self, atoms, changes=None, survey=False):
        """One resolution, with USE changes ({cpv: flags}) for the while.

        A survey goes on after a dependency that nothing satisfies, to see all who want it.
        """
        from _emerge.create_depgraph_params import create_depgraph_params
        from _emerge.depgraph import backtrack_depgraph, depgraph
        say(f"{'surveying' if survey else 'resolving'} {len(atoms)} atoms" + (f" with {changes}" if changes else ""))
        options, create = dict(self.options), depgraph._create_graph
        if survey:
            options["--backtrack"] = 0
            depgraph._create_graph = lambda graph, allow_unsatisfied=False: create(graph, True)
        self.changes = changes or {}
        try:
            # Made anew each time: the resolver writes into them.
            params = create_depgraph_params(options, self.action)
            done, graph, _ = backtrack_depgraph(
                self.settings, self.trees, options, params, self.action, list(atoms), None)
            return Outcome(self, atoms, bool(done), graph, survey)
        finally:
            depgraph._create_graph, self.changes = create, {}


class Outcome:
    """What came of one resolution."""

    def __init__(self, portage, atoms, done, graph, survey):
        from _emerge.Package import Package
        self.portage, self.atoms, self.graph, self.order = portage, atoms, graph, None
        self.state = graph._dynamic_config
        self.digraph = self.state.digraph
        if done and not survey:
            # The order is only worked out here, and may fail too.
            with contextlib.suppress(graph._unknown_internal_error):
                self.order = [p for p in graph.altlist() if isinstance(p, Package) and p.operation == "merge"]
        self.done = self.order is not None and not self.state._unsatisfied_blockers_for_display
        self.circular = not self.done and self.state._circular_deps_for_display is not None
        if not self.done and not survey:
            graph.display_problems()

    def packages(self):
        from _emerge.Package import Package
        return [n for n in self.digraph.order if isinstance(n, Package) and n.operation == "merge"]

    def world(self, nodes, keep=lambda parent, node: True):
        """The atoms of the world that lead to `nodes`; `keep` says which last steps count."""
        from _emerge.Package import Package
        found, seen, todo = set(), set(), []
        for node in nodes:
            parents = self._parents(node)
            todo += [p for p in parents if keep(p, node)] or parents
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            if isinstance(node, Package):
                todo += self._parents(node)
            elif hasattr(node, "arg"):
                found.add(str(node.arg))
        return found

    def _parents(self, node):
        if node not in self.digraph:
            return [] if hasattr(node, "cpv") else [node]
        return list(self.digraph.parent_nodes(node)) or ([node] if hasattr(node, "arg") else [])

    def wants(self, test):
        """A `keep` for `world`: the dependencies whose atom passes the test."""
        atoms = self.state._parent_atoms
        return lambda parent, node: any(p == parent and test(a, node) for p, a in atoms.get(node, ()))


# ------------------------------------------------------------------- what the resolver refuses

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


# ----------------------------------------------------------------------------------- the world

class Plan:
    """What of the world can be planned, what not, and how its cycles are broken."""

    def __init__(self, portage, atoms):
        self.portage, self.kept, self.problems = portage, atoms, []
        self.final = self.ordered = None    # with the final USE flags; with a merge order
        self.changes = {}
        while True:
            refused = self.settle(self.kept)
            if not refused:
                break
            before = set(self.kept)
            for kind, culprits, text, suggestion in refused:
                self.leave_out(kind, culprits & before, text, suggestion)
            if before == set(self.kept):
                # Nobody can be blamed by the graph alone, so by trying.
                alone = self.bisect(self.kept)
                kind, _, text, suggestion = refused[0]
                self.leave_out(kind, alone, text, suggestion)
                if not alone:
                    raise NoPlan(f"the resolver refuses the world but none of its atoms: {text}")
        self.take_back()

    def leave_out(self, kind, culprits, text, suggestion):
        if not culprits:
            return
        say(f"{kind}: left out {' '.join(sorted(culprits))}")
        self.kept = [a for a in self.kept if a not in culprits]
        problem = {"kind": kind, "atoms": sorted(culprits), "message": text, "suggestion": suggestion}
        if problem not in self.problems:
            self.problems.append(problem)

    def settle(self, atoms, why=True):
        """Resolves, breaking cycles. Gives the refusals; with none of them the plan is set."""
        outcome = self.portage.resolve(atoms)
        final, tried, changes, extra = outcome, set(), {}, []
        while outcome.circular and len(tried) < MOST_BREAKERS:
            members, ways, text = circular(outcome)
            failed = [("circular", outcome.world(members), text, None)]
            for cpv, flags in ways:
                if (cpv, flags) in tried:
                    continue
                tried.add((cpv, flags))
                # The first stage may not need what is left out, the last one does.
                children = {f"={c.cpv}" for p in final.packages() if str(p.cpv) == cpv
                            for c in final.digraph.child_nodes(p) if hasattr(c, "cpv")}
                more = sorted({*extra, *children})
                merged = {**changes, cpv: tuple(sorted({*changes.get(cpv, ()), *flags}))}
                attempt = self.portage.resolve([*atoms, *(a for a in more if a not in atoms)], merged)
                if attempt.done or attempt.circular:
                    outcome, changes, extra = attempt, merged, more
                    break
            else:
                return failed
        if outcome.circular:
            return failed
        if not outcome.done and not why:
            return [None]
        if not outcome.done:
            return problems(outcome) or [("other", set(), said(outcome.portage, outcome.graph.display_problems), None)]
        self.final, self.ordered, self.changes = final, outcome, changes
        return []

    def bisect(self, atoms):
        """The atoms that cannot be planned beside the others, found by adding halves."""
        good, bad = [], set()

        def add(part):
            if not part:
                return
            if not self.settle([*good, *part], why=False):
                good.extend(part)
            elif len(part) == 1:
                bad.update(part)
            else:
                add(part[:len(part) // 2])
                add(part[len(part) // 2:])

        add(atoms[:len(atoms) // 2])
        add(atoms[len(atoms) // 2:])
        return bad

    def take_back(self):
        """Of several atoms left out for one reason, some may go well without the others."""
        doubtful = [a for p in self.problems for a in p["atoms"] if len(p["atoms"]) > 1]
        for atom in doubtful[:MOST_TRIED_AGAIN]:
            with_it = sorted([*self.kept, atom])
            if atom not in self.kept and not self.settle(with_it, why=False):
                say(f"{atom} is not to blame")
                self.kept = with_it
        for problem in self.problems:
            problem["atoms"] = [a for a in problem["atoms"] if a not in self.kept]
        self.problems = [p for p in self.problems if p["atoms"]]


# -------------------------------------------------------------------------------------- digests

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


# ---------------------------------------------------------------------------------- the report

def report(portage, plan):
    """The plan as `PlanReport` has it."""
    final, ordered = plan.final, plan.ordered
    # The final USE flags where there are two; a first stage's own dependencies come on top.
    nodes = {(str(p.cpv), p.repo, p.root): p for p in [*ordered.packages(), *final.packages()]}
    positions, packages, at = {}, [], {}
    for node in [*ordered.order, *final.packages()]:
        name = (str(node.cpv), node.repo, node.root)
        if name in at:
            continue
        package = nodes[name]
        use = sorted(final.graph._pkg_use_enabled(package) & package.iuse.all)
        key = (str(package.cpv), package.repo, tuple(use))
        if key not in positions:
            positions[key] = len(packages)
            packages.append({
                "cpv": str(package.cpv), "slot": package.slot, "subslot": package.sub_slot, "repository": package.repo,
                "use_flags": use, "iuse": sorted(package.iuse.all), "chost": portage.settings["CHOST"],
                "inputs": inputs(final.graph, package)})
        at[name] = positions[key]
    edges = {}
    collect(final, at, edges)
    # A first stage may be built with what the last one is not.
    collect(ordered, at, edges, only=plan.changes)
    edges = [edges[pair] for pair in sorted(edges)]
    return {"packages": packages, "edges": edges, "cycles": cycles(plan, packages, edges),
            "problems": sorted(plan.problems, key=lambda p: (p["kind"], p["atoms"], p["suggestion"] or "")),
            "toolchain": toolchain(portage)}


def collect(outcome, at, edges, only=None):
    """Adds the dependencies between packages (or of some cpvs only), merged by pair."""
    for child in outcome.packages():
        for parent, priorities in outcome.digraph.nodes[child][1].items():
            if only is not None and str(getattr(parent, "cpv", "")) not in only:
                continue
            pair = tuple(at.get((str(p.cpv), p.repo, p.root)) if hasattr(p, "cpv") else None for p in (parent, child))
            kinds = [k for k in priorities if not getattr(k, "optional", False)]
            build = any(getattr(k, "buildtime", False) for k in kinds)
            runtime = any(getattr(k, "runtime", False) or getattr(k, "runtime_post", False) for k in kinds)
            if None in pair or pair[0] == pair[1] or not (build or runtime):
                continue
            bound = any(a.package and a.slot_operator == "=" for p, a in outcome.state._parent_atoms.get(child, ())
                        if p == parent)
            satisfied = all(bool(getattr(k, "satisfied", False)) for k in kinds)
            edge = edges.setdefault(pair, {"from": pair[0], "to": pair[1], "build": False, "runtime": False,
                                           "slot_operator": False, "satisfied": True})
            edge["build"] |= build
            edge["runtime"] |= runtime
            edge["slot_operator"] |= bound
            edge["satisfied"] &= satisfied


def cycles(plan, packages, edges):
    """The packages that need each other, with the stages that the USE changes allow."""
    changed = {i: list(plan.changes[p["cpv"]]) for i, p in enumerate(packages) if p["cpv"] in plan.changes}
    needs, backwards = {}, {}
    for edge in edges:
        if not edge["satisfied"]:
            needs.setdefault(edge["from"], set()).add(edge["to"])
            backwards.setdefault(edge["to"], set()).add(edge["from"])

    def reach(start, steps):
        seen, todo = {start}, [start]
        while todo:
            more = steps.get(todo.pop(), set()) - seen
            seen |= more
            todo += more
        return seen

    found, done = [], set()
    for package in sorted(changed):
        members = sorted(reach(package, needs) & reach(package, backwards))
        if package in done or len(members) < 2:
            continue
        done.update(members)
        again = [m for m in members if m in changed]
        stages = [{"package": m, "use_changes": changed.get(m, [])} for m in members]
        found.append({"members": members, "stages": stages + [{"package": m, "use_changes": []} for m in again]})
    return found


# ---------------------------------------------------------------------------------------- main

def world(portage, path):
    """The atoms of a world file, sorted, and problems for lines that are none."""
    from portage.dep import isvalidatom
    from portage.exception import PackageSetNotFound
    atoms, wrong = set(), []
    with open(path, encoding="utf-8") as lines:
        for line in (line.partition("#")[0].strip() for line in lines):
            if line.startswith("@"):
                try:
                    atoms.update(str(a) for a in portage.config.target_config.setconfig.getSetAtoms(line[1:]))
                except PackageSetNotFound:
                    wrong.append((line, "there is no such package set"))
            elif line and (line.startswith("!") or not isvalidatom(line, allow_repo=True)):
                wrong.append((line, "this is not an atom: expected category/name, such as dev-libs/icu"))
            elif line:
                atoms.add(line)
    return sorted(atoms), [{"kind": "unsatisfied", "atoms": [a], "message": m, "suggestion": None} for a, m in wrong]


def main(arguments):
    if len(arguments) != 2:
        raise NoPlan("usage: plan.py WORLD PLAN")
    portage = Portage()
    atoms, wrong = world(portage, arguments[0])
    plan = Plan(portage, atoms)
    plan.problems += wrong
    answer = report(portage, plan)
    with open(arguments[1] + ".part", "w", encoding="utf-8") as file:
        json.dump(answer, file, ensure_ascii=False, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(arguments[1] + ".part", arguments[1])
    say(f"{len(answer['packages'])} packages, {len(answer['cycles'])} cycles, {len(answer['problems'])} problems")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The resolver walks through sets; with this their order is the same every time.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    try:
        main(sys.argv[1:])
    except NoPlan as reason:
        sys.exit(f"plan: {reason}")
    except BaseException as reason:    # Portage raises much, SystemExit among it
        traceback.print_exc(file=sys.stdout)
        sys.exit(f"plan: the resolver broke off: {type(reason).__name__}: {' '.join(str(reason).split())[:300]}")
