"""How much of the world can be planned: the fewest atoms are left out, and cycles are broken."""

from cycles import circular
from proof import Proof
from refusals import clashes, findings, problems, said
from resolver import NoPlan, Outcome, say

# A resolution each; a world with more cycles than this is not one that USE changes bootstrap.
MOST_BREAKERS = 24
# Of the atoms that were left out without a proof; a resolution each, too.
MOST_TRIED_AGAIN = 8


class Refused:
    """The proofs about one world: what a failed resolution says that no further try changes."""

    def __init__(self, portage, atoms):
        self.portage, self.atoms, self.proof = portage, atoms, None

    def lost(self, graph):
        """Atoms of the world that are lost by themselves."""
        self.proof = self.proof or Proof(graph)
        return self.proof.lost(self.atoms)

    def hopeless(self, graph):
        state = graph._dynamic_config
        if state._unsatisfied_deps_for_display:
            return bool(self.lost(graph))
        outcome = Outcome(self.portage, self.atoms, False, graph, survey=True)
        if outcome.clashes():
            return any(proved for _, proved in clashes(outcome))
        return state._circular_deps_for_display is not None


class Plan:
    """What of the world can be planned, what not, and how its cycles are broken."""

    def __init__(self, portage, atoms):
        self.portage, self.kept, self.problems = portage, sorted(atoms), []
        self.doubtful = set()    # left out, and nothing proves that they had to be
        self.final = self.ordered = None    # with the final dependencies; with a merge order
        self.changes = {}
        while not self.settle(self.kept):
            before = len(self.kept)
            self.blame()
            if len(self.kept) == before:
                self.leave_out_by_trying()
        self.take_back()

    def settle(self, atoms):
        """Resolves, breaking cycles; if that goes, the plan is set. Else the refusal is kept."""
        self.refused = Refused(self.portage, atoms)
        self.failed, self.cycles = self.portage.resolve(atoms, hopeless=self.refused.hopeless), []
        if self.failed.circular:
            return self.break_cycles(atoms)
        if self.failed.done:
            self.final, self.ordered, self.changes = self.failed, self.failed, {}
        return self.failed.done

    def break_cycles(self, atoms):
        """Finds first stages with other USE flags for all cycles; those without one are kept."""
        final = outcome = self.failed
        changes, extra, tried = {}, set(), set()
        for _ in range(MOST_BREAKERS):
            cycles = circular(outcome)
            ways = [next((way for way in cycle.ways if way not in tried), None) for cycle in cycles]
            self.cycles = [cycle for cycle, way in zip(cycles, ways, strict=True) if way is None]
            if self.cycles or not cycles:
                return False
            tried.update(ways)
            merged, more = dict(changes), set(extra)
            for cpv, flags in ways:
                merged[cpv] = tuple(sorted({*merged.get(cpv, ()), *flags}))
                # The first stage may not need what is left out, the last one does.
                more |= {f"={c.cpv}" for p in final.packages() if str(p.cpv) == cpv
                         for c in final.digraph.child_nodes(p) if hasattr(c, "cpv") and not c.installed}
            attempt = self.portage.resolve([*atoms, *sorted(more.difference(atoms))], merged)
            if attempt.done:
                self.final, self.ordered, self.changes = final, attempt, merged
                return True
            if attempt.circular:
                outcome, changes, extra = attempt, merged, more
        return False

    def blame(self):
        """Leaves out whom the failed resolution names: only what is proved, if anything is."""
        outcome = self.failed
        if outcome.circular:
            self.leave_out([("circular", outcome.world(cycle.members), cycle.message, None) for cycle in self.cycles])
            return
        if not outcome.state._unsatisfied_deps_for_display:
            found = clashes(outcome)
            proved = [finding for finding, proved in found if proved]
            self.leave_out_clashes(proved or [finding for finding, _ in found[:1]], certain=bool(proved))
            return
        lost = self.refused.lost(outcome.graph)
        survey = self.portage.survey(self.kept)
        self.leave_out(findings(survey), lost, certain=bool(lost))
        if lost:
            self.leave_out_clashes([finding for finding, proved in clashes(survey, lost) if proved])

    def leave_out_clashes(self, found, certain=True):
        for finding in found:
            # An earlier one may have taken a side of this one away.
            if finding[1] <= set(self.kept):
                self.leave_out([finding], certain=certain)

    def leave_out(self, found, culprits=None, certain=True):
        """Leaves out the culprits of the findings, or those given."""
        culprits = (culprits or set().union(*(f[1] for f in found))) & set(self.kept)
        told = list(problems(found, culprits))
        silent = culprits.difference(*(p["atoms"] for p in told))
        if silent:
            text = said(self.portage, self.failed.graph.display_problems) or "the resolver refuses it and says nothing"
            told.append({"kind": "other", "atoms": sorted(silent), "message": text, "suggestion": None})
        for problem in told:
            say(f"{problem['kind']}: left out {' '.join(problem['atoms'])}")
        self.problems += told
        self.kept = [a for a in self.kept if a not in culprits]
        self.doubtful |= set() if certain else culprits

    def leave_out_by_trying(self):
        """Nobody can be blamed: the atoms that cannot be planned beside the others, by adding halves."""
        good, bad, text = [], set(), said(self.portage, self.failed.graph.display_problems)

        def add(part):
            if not part:
                return
            if self.settle(sorted([*good, *part])):
                good.extend(part)
            elif len(part) == 1:
                bad.update(part)
            else:
                add(part[:len(part) // 2])
                add(part[len(part) // 2:])

        add(self.kept[:len(self.kept) // 2])
        add(self.kept[len(self.kept) // 2:])
        if not bad:
            raise NoPlan(f"the resolver refuses the world but none of its atoms: {text}")
        self.leave_out([("other", bad, text, None)])

    def take_back(self):
        """Of what was left out without a proof, some may go well after all, or without the others."""
        kept, doubtful = self.kept, sorted(self.doubtful)
        parts = [doubtful] if len(doubtful) < 2 else [doubtful, *([a] for a in doubtful[:MOST_TRIED_AGAIN])]
        for part in parts:
            if part and not set(part) & set(kept) and self.settle(sorted([*kept, *part])):
                say(f"not to blame: {' '.join(part)}")
                kept = sorted([*kept, *part])
        self.kept = kept
        for problem in self.problems:
            problem["atoms"] = [a for a in problem["atoms"] if a not in kept]
        self.problems = [p for p in self.problems if p["atoms"]]
