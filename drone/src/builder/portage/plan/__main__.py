"""Plans a world with Portage's own resolver: `python DIRECTORY WORLD PLAN`.

WORLD is a file of atoms, one a line (`#` comments; `@set` stands for the set's atoms); the sets
that a file WORLD_sets names beside it, @profile and @system belong to it, as to `emerge @world`.
PLAN is written atomically as the JSON of `PlanReport`; all that is printed is for the log. It
runs with the environment of a build root, exactly as `emerge` does there. Exit status 0: PLAN is
written, and what the resolver refused is in it. 1: no plan; one line on stderr says why.

It must not decide for the admin: where the resolver refuses, the fewest atoms are left out and
the resolver's suggestion is handed on. It installs, fetches and configures nothing.
"""

import json
import os
import sys
import traceback

from flags import check
from planning import Plan
from report import report
from resolver import NoPlan, Portage, say


def world(portage, path):
    """The atoms of a world file and of the sets that go with it, and problems for lines that are none."""
    from portage.dep import isvalidatom
    from portage.exception import PackageSetNotFound
    atoms, wrong, lines = set(), [], ["@profile", "@system"]
    for name in [path, *[path + "_sets"] * os.path.exists(path + "_sets")]:
        with open(name, encoding="utf-8") as file:
            lines += [line.partition("#")[0].strip() for line in file]
    for line in dict.fromkeys(lines):
        if line.startswith("@"):
            try:
                atoms.update(str(a) for a in portage.config.target_config.setconfig.getSetAtoms(line[1:]))
            except PackageSetNotFound:
                wrong.append((line, "there is no such package set"))
        elif line and (line.startswith("!") or not isvalidatom(line, allow_repo=True)):
            wrong.append((line, "this is not an atom: expected category/name, such as dev-libs/icu"))
        elif line:
            atoms.add(line)
    return atoms, [{"kind": "unsatisfied", "atoms": [a], "message": m, "suggestion": None} for a, m in wrong]


def main(arguments):
    if len(arguments) != 2:
        raise NoPlan("usage: python DIRECTORY WORLD PLAN")
    portage = Portage()
    check(portage.settings)
    atoms, wrong = world(portage, arguments[0])
    plan = Plan(portage, atoms)
    plan.problems += wrong
    answer = report(portage, plan)
    with open(arguments[1] + ".part", "w", encoding="utf-8") as file:
        json.dump(answer, file, ensure_ascii=False, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(arguments[1] + ".part", arguments[1])
    say(f"{len(answer['packages'])} packages, {len(answer['cycles'])} cycles, {len(answer['problems'])} problems; "
        f"the resolver ran {portage.runs} times")


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
