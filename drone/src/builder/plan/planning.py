"""How much of the world can be planned: the fewest atoms are left out, and cycles are broken."""

from refusals import circular, problems, said
from resolver import NoPlan, say

# A resolution each; a world with more cycles than this is not one that USE changes bootstrap.
MOST_BREAKERS = 24
# Of the atoms that were left out together; a resolution each, too.
MOST_TRIED_AGAIN = 24


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
