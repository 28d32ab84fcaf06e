"""Packages that need each other to be built, and the first stages that break that."""

from refusals import said


class Cycle:
    """One tangle of a refused order: its packages, and how it could be broken."""

    def __init__(self, outcome, members):
        from _emerge.resolver.circular_dependency import circular_dependency_handler
        from resolver import replaced
        self.members = members
        graph = outcome.state._circular_deps_for_display.copy()
        graph.difference_update([n for n in graph.order if n not in members])
        # What others want of a member is what it is in the end. Only the members, which are
        # built between its stages, meet the first one.
        inside = {p: {(parent, atom) for parent, atom in pairs if parent in members}
                  for p, pairs in outcome.state._parent_atoms.items() if p in members}
        with replaced(outcome.state, _parent_atoms=inside):
            handler = circular_dependency_handler(outcome.graph, graph)
        ways = {(len(flags), str(package.cpv), tuple(sorted(f if on else f"-{f}" for f, on in flags)))
                for package, solutions in handler.parent_solutions.items() if package in members
                for flags in solutions if flags}
        self.ways = [(cpv, flags) for _, cpv, flags in sorted(ways)]
        text = "circular dependencies:\n" + (handler.circular_dep_message or "")
        self.message = said(outcome.portage, lambda: print(text))


def circular(outcome):
    """The cycles that forbid an order."""
    from _emerge.Package import Package
    graph = outcome.state._circular_deps_for_display
    needs, build = {}, set()
    for child in graph.order:
        for parent, priorities in graph.nodes[child][1].items():
            hard = [p for p in priorities if not getattr(p, "optional", False) and not getattr(p, "satisfied", False)]
            if isinstance(parent, Package) and isinstance(child, Package) and hard:
                needs.setdefault(parent, set()).add(child)
                if any(getattr(p, "buildtime", False) for p in hard):
                    build.add((parent, child))
    return [Cycle(outcome, set(members)) for members in knots(graph.order, needs)
            if any(a in members and b in members for a, b in build)]


def knots(nodes, needs):
    """The sets of nodes that lead to each other (Kosaraju's algorithm)."""
    backwards = {}
    for node, others in needs.items():
        for other in others:
            backwards.setdefault(other, set()).add(node)

    def walk(start, steps, seen):
        """Those that are reached first, in the order in which they are left."""
        left, todo = [], [(start, False)]
        while todo:
            node, leaving = todo.pop()
            if leaving:
                left.append(node)
            elif node not in seen:
                seen.add(node)
                todo += [(node, True), *((n, False) for n in sorted(steps.get(node, ()), key=str))]
        return left

    seen, order = set(), []
    for node in nodes:
        order += walk(node, needs, seen)
    seen = set()
    found = [walk(node, backwards, seen) for node in reversed(order)]
    return [members for members in found if len(members) > 1]
