"""The plan as `PlanReport` has it."""

from digests import built_with, inputs, texts, toolchain
from fields import abi, common, fields
from live import live
from portage.versions import best, cpv_getkey

LIBC = ("sys-libs/glibc", "sys-libs/musl")


def report(portage, plan):
    """The plan as `PlanReport` has it."""
    final, ordered = plan.final, plan.ordered
    # The final USE flags where there are two; a first stage's own dependencies come on top.
    nodes = {(str(p.cpv), p.repo, p.root): p for p in [*ordered.packages(), *final.packages()]}
    positions, packages, sources, at = {}, [], [], {}
    base = portage.trees[portage.settings["EROOT"]]["vartree"].dbapi
    for node in ordered.order:
        name = (str(node.cpv), node.repo, node.root)
        if name in at:
            continue
        package = nodes[name]
        use = sorted(final.graph._pkg_use_enabled(package) & package.iuse.all)
        key = (str(package.cpv), package.repo, tuple(use))
        if key not in positions:
            positions[key] = len(packages)
            own, strict = fields(final.graph, package), texts(package)
            packages.append({
                "cpv": str(package.cpv), "slot": package.slot, "subslot": package.sub_slot, "repository": package.repo,
                "use_flags": use, "iuse": sorted(package.iuse.all), "chost": portage.settings["CHOST"],
                "inputs": inputs(own, strict), "fields": own, "strict": strict, "in_base": bool(base.cp_list(package.cp))})
            sources.append(package)
        at[name] = positions[key]
    edges = {}
    collect(final, at, edges)
    # A first stage may be built with what the last one is not.
    collect(ordered, at, edges, only=plan.changes)
    edges = [edges[pair] for pair in sorted(edges)]
    for entry, found in zip(packages, live(sources)):
        if found is not None:
            entry["live"] = found
    plan.problems.extend(newer_libc(packages, base))
    programs = built_with(portage)
    return {"packages": packages, "edges": edges, "cycles": cycles(plan, packages, edges),
            "problems": sorted(plan.problems, key=lambda p: (p["kind"], p["atoms"], p["suggestion"] or "")),
            "toolchain": toolchain(programs), "built_with": programs, "settings": common(packages, abi(portage)),
            "base_provides": provided(portage)}


def newer_libc(packages, base):
    """The base's C library if it is newer than the planned one. Portage makes what is built there need the base's."""
    for package in packages:
        name = cpv_getkey(package["cpv"])
        there = base.cp_list(name) if name in LIBC else []
        if there and best([*there, package["cpv"]]) != package["cpv"]:
            message = (f"the base has {best(there)}, newer than the planned {package['cpv']}: every package built in it "
                       f"would require >={best(there)}, which no workstation of the profile could install")
            yield {"kind": "other", "atoms": [name], "message": message, "suggestion": None}


def provided(portage):
    """The sonames of the base's packages by multilib category; none where no package is known."""
    base, found = portage.trees[portage.settings["EROOT"]]["vartree"].dbapi, {}
    for cpv in base.cpv_all():
        category = ""
        for word in base.aux_get(cpv, ["PROVIDES"])[0].split():
            if word.endswith(":"):
                category = word[:-1]
            else:
                found.setdefault(category, set()).add(word)
    return {category: sorted(sonames) for category, sonames in sorted(found.items())}


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
            satisfied = all(serves(getattr(k, "satisfied", None), child, bound) for k in kinds)
            edge = edges.setdefault(pair, {"from": pair[0], "to": pair[1], "build": False, "runtime": False,
                                           "slot_operator": False, "satisfied": True})
            edge["build"] |= build
            edge["runtime"] |= runtime
            edge["slot_operator"] |= bound
            edge["satisfied"] &= satisfied


def serves(installed, planned, bound):
    """Whether what the base has will do. Who is bound to a sub-slot must be bound to the planned one."""
    if not installed or not bound:
        return bool(installed)
    return (installed.slot, installed.sub_slot) == (planned.slot, planned.sub_slot)


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
