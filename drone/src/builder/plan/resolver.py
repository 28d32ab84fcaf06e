"""Portage's resolver, and what came of one resolution.

It is private API of Portage (tried with 3.0.83): `emerge --pretend` says neither which kind a
dependency is of, nor what breaks a cycle, nor who is to blame for a refusal. Nothing else here
knows how a resolution is started.
"""

import contextlib

# All from source and as if nothing were installed, so that the plan is the same on every drone.
# Changes are looked for (`--autounmask`) to be suggested; a plan that needs one is refused.
OPTIONS = ["--pretend", "--quiet", "--color=n", "--oneshot", "--emptytree", "--deep", "--update", "--newuse",
           "--with-bdeps=y", "--autounmask=y", "--backtrack=30"]


class NoPlan(Exception):
    """There can be no plan at all; the text is for the admin."""


def say(text):
    print(f"plan: {text}", flush=True)


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
