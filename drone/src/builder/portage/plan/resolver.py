"""Portage's resolver, and what came of one resolution.

It is private API of Portage (tried with 3.0.83): `emerge --pretend` says neither which kind a
dependency is of, nor what breaks a cycle, nor who is to blame for a refusal. Nothing else here
knows how a resolution is started.
"""

import contextlib

# All from source and as if nothing had to stay, so that the plan is the same whatever the base
# has. Changes (`--autounmask`) are only looked for by a survey, to be suggested.
OPTIONS = ["--pretend", "--quiet", "--color=n", "--oneshot", "--emptytree", "--deep", "--update", "--newuse",
           "--with-bdeps=y", "--autounmask=y", "--backtrack=30"]


class NoPlan(Exception):
    """There can be no plan at all; the text is for the admin."""


def say(text):
    print(f"plan: {text}", flush=True)


@contextlib.contextmanager
def replaced(owner, **attributes):
    """Other attributes for the while."""
    before = {name: getattr(owner, name) for name in attributes}
    try:
        for name, value in attributes.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


class Portage:
    """Portage's configuration, loaded once, and its resolver."""

    def __init__(self):
        import portage
        import portage.output
        portage._internal_caller = True
        portage.output.nocolor()
        from _emerge.actions import load_emerge_config
        from _emerge.create_depgraph_params import create_depgraph_params
        from _emerge.depgraph import _frozen_depgraph_config, depgraph
        from _emerge.main import parse_opts
        self.action, self.options, _ = parse_opts(list(OPTIONS), silent=True)
        self.config = load_emerge_config(action=self.action, args=[], opts=self.options)
        self.trees = self.config.trees
        self.settings = self.config.target_config.settings
        if not self.settings.profiles:
            raise NoPlan("the profile that etc/portage/make.profile points to cannot be read")
        self.params = create_depgraph_params(self.options, self.action)
        # What is read of ebuilds is kept in it from one resolution to the next.
        self.frozen = _frozen_depgraph_config(self.settings, self.trees, self.options, self.params, None)
        self.runs = 0
        # Atoms on a command line bring along the other slots that are installed; those of a set do not.
        depgraph._greedy_slots = lambda *_, **__: ()

    def resolve(self, atoms, changes=None, hopeless=lambda graph: False):
        """One resolution; it ends early when it failed and `hopeless` says that no other try helps.

        With `changes` ({cpv: USE changes}) these packages depend on what they would depend on
        with the changed flags. For all others they have their own flags: what they are in the end.
        """
        from _emerge import depgraph
        say(f"resolving {len(atoms)} atoms" + (f" with {changes}" if changes else ""))
        graph_class, changes = depgraph.depgraph, changes or {}
        add, enough, select = graph_class._add_pkg_deps, graph_class.need_config_change, graph_class.select_files

        def add_deps(graph, package, **options):
            flags = changes.get(str(package.cpv))
            if not flags or package.installed:
                return add(graph, package, **options)
            with replaced(package, _metadata=first_stage(package, flags)):
                return add(graph, package, **options)

        def counted(graph, files):
            self.runs += 1
            return select(graph, files)

        with replaced(graph_class, _add_pkg_deps=add_deps, select_files=counted,
                      need_config_change=lambda graph: enough(graph) or hopeless(graph)):
            done, graph, *_ = depgraph._backtrack_depgraph(
                self.settings, self.trees, self.options, {**self.params, "autounmask": False}, self.action,
                list(atoms), None, frozen_config=self.frozen)
        return Outcome(self, atoms, bool(done), graph)

    def survey(self, atoms):
        """One resolution that goes on after each refusal, to see all of them and all who lead there."""
        from _emerge import depgraph
        say(f"surveying {len(atoms)} atoms")
        graph_class = depgraph.depgraph
        create, resolve = graph_class._create_graph, graph_class._resolve

        def without_hopeless_arguments(graph, favorites):
            state = graph._dynamic_config
            provided = self.settings.pprovideddict
            for argument in list(state._initial_arg_list):
                root, atom = argument.root_config.root, argument.atom
                if atom.cp not in provided and not graph._select_package(root, atom)[0]:
                    state._unsatisfied_deps_for_display.append(((root, atom), {"myparent": argument}))
                    state._initial_arg_list.remove(argument)
            return resolve(graph, favorites)

        self.runs += 1
        with replaced(graph_class, _create_graph=lambda graph, allow_unsatisfied=False: create(graph, True),
                      _resolve=without_hopeless_arguments), \
                replaced(depgraph, check_required_use=lambda *_, **__: True):
            graph = graph_class(self.settings, self.trees, self.options, dict(self.params), None,
                                frozen_config=self.frozen, allow_backtracking=False)
            graph.select_files(list(atoms))
        for dep in graph._dynamic_config._unsatisfied_deps:
            graph._dynamic_config._unsatisfied_deps_for_display.append(((dep.root, dep.atom), {"myparent": dep.parent}))
        return Outcome(self, atoms, False, graph, survey=True)


def first_stage(package, flags):
    """The package's metadata with the dependencies that it has with changed USE flags."""
    from _emerge.Package import Package
    from portage.dep import paren_enclose, use_reduce
    use = set(package.use.enabled) | {f for f in flags if not f.startswith("-")}
    use -= {f[1:] for f in flags if f.startswith("-")}
    metadata = dict(package._metadata)
    for key in Package._dep_keys:
        metadata[key] = paren_enclose(use_reduce(
            metadata[key], uselist=use, is_valid_flag=package.iuse.is_valid_flag, eapi=package.eapi))
    return metadata


class Outcome:
    """What came of one resolution."""

    def __init__(self, portage, atoms, done, graph, survey=False):
        from _emerge.Package import Package
        self.portage, self.atoms, self.graph, self.order = portage, atoms, graph, None
        self.state = graph._dynamic_config
        self.digraph = self.state.digraph
        # What all there is to install beside would hide the reason.
        graph._show_merge_list = lambda: None
        if done:
            # The order is only worked out here, and may fail too.
            with contextlib.suppress(graph._unknown_internal_error):
                self.order = [p for p in graph.altlist() if isinstance(p, Package) and p.operation == "merge"]
        self.done = self.order is not None and not self.state._unsatisfied_blockers_for_display
        # An order that is refused beside something else will be looked at again without that.
        self.circular = (not self.done and self.state._circular_deps_for_display is not None
                         and not self.state._unsatisfied_deps_for_display and not self.clashes())
        if not self.done and not survey:
            graph.display_problems()

    def clashes(self):
        """Whether packages want one slot, or refuse to stand beside each other."""
        return any(self.state._package_tracker.slot_conflicts()) or bool(self.state._unsolvable_blockers)

    def packages(self):
        """What is installed: of a finished resolution the merge list, for the graph has more."""
        from _emerge.Package import Package
        if self.order is not None:
            return self.order
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
