//! Finds packages that the newest plans do not contain, because the resolver refused them or they are no
//! longer wanted.

use crate::state::{Package, Run, Swarm};
use swarm_common::{
    cpv::Cpv,
    id::*,
    name::Name,
    wire::plan::{PlanProblem, ProblemKind},
};

/// `category/name` of an atom such as `>=dev-libs/icu-75:0=[static]`.
fn cp(atom: &str) -> &str {
    let bare = atom.trim_start_matches(['<', '>', '=', '~', '!']);
    let end = bare.find([':', '[']).unwrap_or(bare.len());
    let named = &bare[..end];
    if bare.len() == atom.len() {
        return named;
    }
    let versioned = named.trim_end_matches('*').parse::<Cpv>();
    versioned.map_or(named, |cpv| &named[..cpv.cp().len()])
}

/// The newest run of each profile that has a plan.
fn newest(swarm: &Swarm) -> impl Iterator<Item = (RunId, &Run)> {
    swarm.profiles.keys().filter_map(|profile| newest_of(swarm, profile))
}

fn newest_of<'s>(swarm: &'s Swarm, profile: &Name) -> Option<(RunId, &'s Run)> {
    let has_plan = |run: &Run| !run.packages.is_empty() || !run.problems.is_empty();
    let newest = swarm.runs.iter().rfind(|(_, run)| run.profile == *profile && has_plan(run));
    newest.map(|(&id, run)| (id, run))
}

/// Describes the refusal of a package by the resolver, if no kept run plans a package of that name.
pub(super) fn of_query(swarm: &Swarm, query: &str) -> Option<String> {
    let version = query.parse::<Cpv>().ok();
    let queried = version.as_ref().map_or(query, Cpv::cp);
    let meant = |atom: &String| {
        let cp = cp(atom);
        cp == queried || cp.split_once('/').is_some_and(|(_, name)| name == queried)
    };
    newest(swarm).find_map(|(id, run)| {
        let problem = run.problems.iter().find(|p| p.atoms.iter().any(meant))?;
        let atom = problem.atoms.iter().find(|a| meant(a))?;
        Some(format!("{atom} is not planned in {id} of {}: {}", run.profile, describe(problem)))
    })
}

/// Why a newer run of the same profile does not plan a package. `None` if it does, or if there is no newer
/// run.
pub(super) fn since(swarm: &Swarm, package: &Package) -> Option<String> {
    let profile = &swarm.runs.get(&package.run)?.profile;
    let (id, run) = newest_of(swarm, profile)?;
    if id <= package.run {
        return None;
    }
    let own = |cp: &str| package.targets.iter().any(|t| t.family() == cp);
    let planned = run.packages.iter().filter_map(|p| swarm.packages.get(p)).flat_map(|p| &p.targets);
    let mut others = planned.filter(|t| own(t.family()));
    if let Some(other) = others.next() {
        return Some(format!("The newer run {id} plans {} instead.", other.title()));
    }
    let problem = run.problems.iter().find(|p| p.atoms.iter().any(|atom| own(cp(atom))));
    Some(match problem {
        Some(problem) => format!("The newer run {id} does not plan it: {}.", describe(problem)),
        None => {
            format!("The newer run {id} does not plan it: nothing in the world set of {profile} needs it.")
        }
    })
}

fn describe(problem: &PlanProblem) -> String {
    let first = problem.message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let change = problem.suggestion.as_ref().map(|line| format!("; suggested fix: `{line}`"));
    let what = match problem.kind {
        ProblemKind::Evaluation => "Nix cannot evaluate it",
        _ => "the resolver refuses it",
    };
    format!("{what}: {}{}", first.trim_end_matches('.'), change.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::cp;

    #[test]
    fn an_atom_is_known_by_its_name_whatever_it_demands() {
        for atom in [
            "dev-libs/icu",
            ">=dev-libs/icu-75",
            "=dev-libs/icu-75*",
            "dev-libs/icu:0=",
            "~dev-libs/icu-75[static]",
        ] {
            assert_eq!(cp(atom), "dev-libs/icu", "{atom}");
        }
    }
}
