//! What a command that takes something away would do, for `--dry-run`: sentences made of what the
//! orchestrator shows. Nothing is changed, so the orchestrator may still refuse the command itself.

use crate::{
    failure::Failure,
    output::text::{clean, count},
};
use std::collections::BTreeMap;
use swarm_common::{
    state::PackageState,
    wire::{
        base::BaseView,
        calendar::ScheduleView,
        channel::GenerationContents,
        view::{DroneView, PackageRow, ProfileView, RunView},
    },
};

/// The option of commands that can only show what they would do.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DryRun {
    /// Print what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Removes drones.
pub fn drones_removed(drones: &[DroneView]) -> Vec<String> {
    let mut effects = Vec::new();
    for drone in drones {
        effects.push(format!("remove the drone {} ({}), which is {}", drone.name, drone.id, drone.state));
        effects.push(format!("revoke the credential of {}", drone.name));
        let work = drone.working_on.iter();
        effects.extend(work.map(|work| format!("give {} to another drone", clean(&work.title))));
    }
    effects
}

/// Removes a profile, which must have no active run.
pub fn profile_removed(profile: &ProfileView, runs: &[RunView]) -> Result<Vec<String>, Failure> {
    let mut own = runs.iter().filter(|run| run.profile == profile.name);
    if let Some(run) = own.clone().find(|run| !run.state.is_over()) {
        let (id, name) = (run.id, &profile.name);
        return Err(Failure::Failed(format!("{id} of {name} is active; cancel it or wait for its end")));
    }
    let published = count(profile.published_packages, "published package");
    Ok(vec![
        format!("remove the profile {} and its schedule", profile.name),
        format!("remove its binary package host {} with {published}", clean(&profile.binhost)),
        format!("forget its {}", count(own.by_ref().count() as u64, "run")),
    ])
}

/// Removes a base, which no profile may use.
pub fn base_removed(base: &BaseView) -> Result<Vec<String>, Failure> {
    if let Some(profile) = base.profiles.first() {
        return Err(Failure::Failed(format!("the base {} is in use by profile {profile}", base.name)));
    }
    let kept = count(base.generations.len() as u64, "generation");
    Ok(vec![format!("remove the base {} with {kept} and their images", base.name)])
}

/// Cancels a run.
pub fn run_cancelled(run: &RunView) -> Vec<String> {
    if run.state.is_over() {
        return vec![format!("leave {} as it is: it is {}", run.id, run.state)];
    }
    let of = |states: &[PackageState]| states.iter().filter_map(|state| run.counts.get(state)).sum::<u64>();
    let waiting = of(&[PackageState::Blocked, PackageState::Needed]);
    vec![
        format!("cancel {} of {}", run.id, run.profile),
        format!("discard {}", count(of(&[PackageState::Delegated]), "running build")),
        format!("not build {}", count(waiting, "waiting package")),
        format!("keep {}", count(of(&[PackageState::Received]), "received package")),
    ]
}

/// Removes a schedule.
pub fn schedule_removed(schedule: &ScheduleView) -> Vec<String> {
    let (profile, cron, zone) = (&schedule.profile, clean(&schedule.cron), clean(&schedule.zone));
    vec![format!("remove the schedule of {profile}: {cron} in {zone}")]
}

/// Releases packages from quarantine.
pub fn released(rows: &[PackageRow]) -> Vec<String> {
    rows.iter().map(|row| format!("retry {} ({}) of {}", clean(&row.title), row.id, row.run)).collect()
}

/// Publishes the content of a generation instead of the current one.
pub fn published(current: &GenerationContents, target: &GenerationContents) -> Vec<String> {
    let by_name = |contents: &GenerationContents| {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for package in &contents.packages {
            // A package that was built again has the same version and another file.
            let digest = package.digest.short();
            versions
                .entry(clean(&package.name))
                .or_default()
                .push(format!("{} {digest}", clean(&package.version)));
        }
        versions
    };
    let (old, new) = (by_name(current), by_name(target));
    let number = target.generation.number;
    let mut effects = vec![format!("publish the content of generation {number} as a new generation")];
    let shown = |versions: &[String]| versions.join(", ");
    for (name, versions) in &new {
        match old.get(name) {
            Some(before) if before == versions => {}
            Some(before) => {
                effects.push(format!("replace {name} {} by {}", shown(before), shown(versions)));
            }
            None => effects.push(format!("add {name} {}", shown(versions))),
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    effects.extend(gone.map(|(name, versions)| format!("remove {name} {}", shown(versions))));
    effects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;
    use swarm_common::{
        digest::Digest,
        id::RunId,
        state::RunState,
        time::TimeMs,
        wire::channel::{GenerationView, PublishedPackage},
    };

    fn contents(number: u64, packages: &[(&str, &str)]) -> GenerationContents {
        let generation = GenerationView {
            number,
            run: RunId(1),
            made_at: TimeMs(0),
            like: None,
            packages: packages.len() as u64,
            added: None,
            removed: None,
            pinned: None,
        };
        let package = |&(name, version): &(&str, &str)| PublishedPackage {
            name: name.into(),
            version: version.into(),
            path: String::new(),
            digest: Digest::of(version.as_bytes()),
            size: 1,
        };
        GenerationContents {
            profile: fixtures::name("desk"),
            generation,
            packages: packages.iter().map(package).collect(),
        }
    }

    #[test]
    fn a_rollback_names_what_it_replaces_adds_and_removes_and_nothing_else() {
        let current = contents(3, &[("a/same", "1"), ("a/icu", "77"), ("a/new", "1")]);
        let target = contents(2, &[("a/same", "1"), ("a/icu", "76"), ("a/old", "5")]);
        let digest = |version: &str| Digest::of(version.as_bytes()).short();
        let want = [
            "publish the content of generation 2 as a new generation".to_owned(),
            format!("replace a/icu 77 {} by 76 {}", digest("77"), digest("76")),
            format!("add a/old 5 {}", digest("5")),
            format!("remove a/new 1 {}", digest("1")),
        ];
        assert_eq!(published(&current, &target), want);
    }

    #[test]
    fn a_cancelled_run_names_what_is_lost_and_what_stays() {
        let effects = run_cancelled(&fixtures::run()).join("\n");
        for want in ["cancel r7 of desk", "discard 1 running build", "not build 5 ", "keep 12 received"] {
            assert!(effects.contains(want), "{effects}");
        }
        let over = RunView { state: RunState::Partial, ..fixtures::run() };
        assert_eq!(run_cancelled(&over), ["leave r7 as it is: it is partial"]);
    }

    #[test]
    fn a_removed_drone_names_the_work_that_goes_to_others() {
        let status = fixtures::status();
        let effects = drones_removed(&status.drones[..1]);
        assert_eq!(effects.len(), 2 + status.drones[0].working_on.len());
        assert!(effects[0].contains("oak (d1)") && effects[2].starts_with("give "), "{effects:?}");
    }
}
