//! Texts of concerns: the title, the full line, and what happens next.

use super::{missing_capability, offline, paused, remedy::with, span};
use crate::state::{Conflict, Exclusion, SharedPaths};
use swarm_common::{
    state::{HealOutcome, HealStep},
    wire::{
        admin::BuilderKind,
        concern::{Action, ConcernKind, LastStep, RecordKind},
    },
};

/// Number of drones named in one line.
const NAMED: usize = 4;

/// A short title, without reasons and current numbers. It stays the same while the concern lasts.
#[must_use]
pub fn title(fact: &ConcernKind) -> String {
    use ConcernKind::*;
    match fact {
        JournalUnwritable { .. } => "cannot write the journal".into(),
        JournalRolledBack { .. } => "the journal was rolled back".into(),
        PublishingFails { .. } => "publishing fails".into(),
        DirectoryUnwritable { place, at, .. } => format!("cannot write to the {place} {at}"),
        DiskNearlyFull { at, .. } => format!("the file system of {at} is nearly full"),
        CertificateUnusable { file, .. } => format!("cannot load the TLS certificate {file}"),
        CertificateExpired { file, .. } => format!("the TLS certificate {file} has expired"),
        CertificateExpires { file, .. } => format!("the TLS certificate {file} expires soon"),
        PassFails { pass, .. } => format!("the {pass} fails"),
        SinkFails { sink, .. } => format!("cannot deliver notifications to {sink}"),
        UpstreamAway { url, .. } => format!("the upstream cache {url} does not answer"),
        StoreDamaged { .. } => "stored data is damaged".into(),
        RecordDamaged { file, .. } => format!("{file} was damaged"),
        SigningKeyChanged { clients: BuilderKind::Portage, .. } => "the signing key has changed".into(),
        SigningKeyChanged { clients: BuilderKind::Nix, .. } => "the signing keys for Nix have changed".into(),
        PlanWaits { run, profile, .. } => {
            format!("run {run} of {profile} waits for its plan: no drone that can make it is online")
        }
        RunStandsStill { run, profile, .. } => format!("run {run} of {profile} is stalled"),
        ToolchainDiffers { drone, run, profile, .. } | ProcessorLacks { drone, run, profile, .. } => {
            format!("drone {drone} is assigned no packages of {run} of {profile}")
        }
        NoSuchMachine { profile, system, features, .. } => missing_capability(profile, system, features),
        RunFailed { profile, .. } => format!("the last run of {profile} failed"),
        PackagesQuarantined { profile, .. } => format!("packages of {profile} are quarantined"),
        FilesCollide { profile, .. } => format!("packages of {profile} cannot be installed together"),
        ResolverRefused { profile, evaluation: true, .. } => {
            format!("attributes of {profile} cannot be evaluated")
        }
        ResolverRefused { profile, .. } => format!("the resolver refuses packages of {profile}"),
        RunOverdue { profile, .. } => format!("a run of {profile} is overdue"),
        RunSkipped { profile, .. } => format!("a scheduled run of {profile} was skipped"),
        NoSuccess { profile, .. } => format!("no run of {profile} succeeds"),
        DroneIdle { run, .. } => format!("drones are idle while {run} waits"),
        Paused { .. } => "the swarm is paused".into(),
        ChannelHeld { profile, generation, .. } => {
            format!("the channel of {profile} is held at generation {generation}")
        }
        CandidateRefused { profile, .. } => format!("{profile} was not updated"),
        TimerSilent { profile, .. } => format!("the timer that updates {profile} does not run"),
        BaseStays { base, .. } => format!("base {base} was not updated"),
        BaseWaits { base, run } => {
            format!("base {base} waits to be updated to {run}: no drone that can make it is online")
        }
        DronesCutOff { .. } => "several drones went silent together".into(),
        DroneLost { drone, .. } => format!("drone {drone} is lost"),
        DroneGrounded { drone, .. } => format!("drone {drone} is grounded"),
        DroneStruck { drone, .. } => format!(
            "drone {drone} has many strikes but is not grounded, as no \
             other drone can build"
        ),
        DroneOffline { drone, .. } => format!("drone {drone} is offline"),
        CredentialCloned { drone, .. } => {
            format!("another machine uses the credential of drone {drone} and was rejected")
        }
        DroneUnusable { drone, .. } => format!("drone {drone} cannot build"),
        ProgramsMissing { drone, .. } => format!("drone {drone} lacks programs to build in its own system"),
        DeliveryStuck { drone, .. } => format!("drone {drone} cannot deliver"),
        DronePending { drone, .. } => format!("drone {drone} waits for approval"),
        NoProfile => "no profile exists yet".into(),
        NoDrone => "no drone has enrolled yet".into(),
        Unknown => "a concern that only a newer version knows".into(),
    }
}

/// What is wrong and why, in one line.
#[must_use]
pub fn what(fact: &ConcernKind) -> String {
    use ConcernKind::*;
    let title = title(fact);
    match fact {
        JournalUnwritable { why, .. }
        | PublishingFails { why, .. }
        | DirectoryUnwritable { why, .. }
        | CertificateUnusable { why, .. }
        | PassFails { why, .. }
        | SinkFails { why, .. }
        | UpstreamAway { why, .. }
        | DroneLost { why, .. }
        | CredentialCloned { why, .. }
        | DroneUnusable { why, .. } => format!("{title}: {why}"),
        JournalRolledBack { drone, seen, last } => {
            format!("{title}: drone {drone} was assigned {seen}, but the journal ended at {last}")
        }
        DiskNearlyFull { free_mib, .. } => format!("{title}: {free_mib} MiB free"),
        CertificateExpired { file, on } => format!("the TLS certificate {file} expired on {on}"),
        CertificateExpires { file, on, days } => {
            format!("the TLS certificate {file} expires in {days} days, on {on}")
        }
        StoreDamaged { faults: 0 | 1, first } => format!("{title}: {first}"),
        StoreDamaged { faults, first } => {
            format!("{faults} stored items are damaged, the first: {first}")
        }
        RecordDamaged { record: RecordKind::Notifications, .. } => {
            format!(
                "{title} and has been reset: queued messages may be lost, and concerns may be announced again"
            )
        }
        RecordDamaged { record: RecordKind::Scrub, .. } => {
            format!("{title} and has been reset: all stored files are checked again")
        }
        SigningKeyChanged { before, now, .. } => format!("{title} from {before} to {now}"),
        RunStandsStill { .. } => format!("{title}: no drone that can build for it is online"),
        ToolchainDiffers { part, planned, own, .. } => {
            format!("{title}: its {part} is {own}, but the run was planned with {planned}")
        }
        ProcessorLacks { lacking, .. } => format!("{title}: its processor lacks {}", lacking.join(", ")),
        NoSuchMachine { run, package, title: name, others, .. } => {
            format!("{title}: {name} ({package}) of {run} needs it{}", and_more(*others, ""))
        }
        RunFailed { run, profile, why } => format!("run {run} of {profile} failed: {why}"),
        PackagesQuarantined { run, title, alike, others, blocked, why, .. } => {
            let also = also(*alike, *others, *blocked);
            match alike {
                0 | 1 => format!("{title} is quarantined in {run}{also}: {why}"),
                _ => format!("{alike} packages failed with the same error in {run}{also}: {why}"),
            }
        }
        FilesCollide { cpv, beside, paths, path_count, lost, needs, others, .. } => {
            let conflict = match (&lost[..], &needs[..]) {
                ([], []) => Conflict::Paths(SharedPaths { count: *path_count, first: paths.clone() }),
                ([], needs) => Conflict::Needs { needs: needs.to_vec() },
                (lost, _) => Conflict::Lost { lost: lost.to_vec() },
            };
            let apart = Exclusion { cpv: cpv.clone(), beside: beside.clone(), conflict };
            format!("{}{}", apart.describe(), and_more(*others, " packages"))
        }
        ResolverRefused { run, profile, atoms, others, why, evaluation: true } => {
            let more = and_more(*others, "");
            format!("{} cannot be evaluated in {run} of {profile}{more}: {why}", names(atoms))
        }
        ResolverRefused { run, profile, atoms, others, why, evaluation: false } => {
            let more = and_more(*others, "");
            let why = why.trim_end_matches(':');
            format!("the resolver refused {} in {run} of {profile}{more}: {why}", names(atoms))
        }
        RunOverdue { profile, late_ms } => {
            format!("a run of {profile} was due {} ago and has not started", span(*late_ms))
        }
        RunSkipped { profile, ago_ms, why, .. } => {
            format!("the run of {profile} scheduled {} ago was skipped: {why}", span(*ago_ms))
        }
        NoSuccess { profile, for_ms, period_ms, last, .. } => {
            let last = last.as_ref().map_or_else(String::new, |last| {
                let why = if last.why.is_empty() { String::new() } else { format!(": {}", last.why) };
                format!("; the last, {}, is {}{why}", last.run, last.state)
            });
            let (long, period) = (span(*for_ms), span(*period_ms));
            format!("no run of {profile} has succeeded for {long}, though one is due every {period}{last}")
        }
        DroneIdle { run, profile, drone, packages, for_ms, asks, why } => {
            let work = match packages {
                0 => "waited for its plan".to_owned(),
                n => format!("had {n} packages to assign"),
            };
            let why = match why {
                Some(why) if *asks => why.clone(),
                _ if *asks => "it asks for work and gets none".to_owned(),
                _ => "it does not ask for work".to_owned(),
            };
            format!("run {run} of {profile} has {work} for {}, while {drone} is idle: {why}", span(*for_ms))
        }
        Paused { for_ms, why } => paused(*for_ms, why),
        ChannelHeld { like, staged, .. } => {
            let like = like.map(|like| format!(", which has the content of {like}")).unwrap_or_default();
            let staged = staged.map(|run| format!("; {run} has other packages")).unwrap_or_default();
            format!("{title}{like}{staged}")
        }
        CandidateRefused { profile, run: Some(run), source, stays, why } => {
            format!("{profile} stays at {stays}: {run} could not serve all of {source}: {why}")
        }
        CandidateRefused { profile, run: None, source, stays, why } => {
            format!("{profile} stays at {stays}: there is no candidate from {source}: {why}")
        }
        TimerSilent { profile, machine, for_ms, every_ms } => format!(
            "the timer on {machine} that updates {profile} has not run for {}, though it runs every {}",
            span(*for_ms),
            span(*every_ms)
        ),
        BaseStays { base, generation, run, why } => format!(
            "base {base} stays at generation {generation}: packages of {run} could not be installed: {why}"
        ),
        DronesCutOff { silent, of } => {
            format!("{} of {of} drones went silent together ({})", silent.len(), names(silent))
        }
        DroneGrounded { for_ms, why, .. } => format!("{title} for {}: {why}", span(*for_ms)),
        DroneStruck { drone, strikes, why } => {
            let count = if *strikes == 1 { "1 strike".into() } else { format!("{strikes} strikes") };
            format!("drone {drone} has {count} but is not grounded, as no other drone can build: {why}")
        }
        DroneOffline { offline: why, last, .. } => {
            format!("{title}: {}{}", offline(why), last.as_ref().map_or_else(String::new, so_far))
        }
        ProgramsMissing { programs, .. } => format!("{title}: {}", programs.join(", ")),
        DeliveryStuck { title: package, for_ms, why, .. } => {
            format!("{title} {package}: no progress for {}: {why}", span(*for_ms))
        }
        DronePending { drone, returned: true } => {
            format!("drone {drone} returned after the journal was restored and waits for approval")
        }
        PlanWaits { .. } | BaseWaits { .. } | DronePending { .. } | NoProfile | NoDrone | Unknown => title,
    }
}

/// What will happen automatically, or what an admin should do. `action` is the action of the concern, if any.
#[must_use]
pub fn next(fact: &ConcernKind, action: Option<&Action>) -> String {
    use ConcernKind::*;
    let command = action.map(|action| format!("`{}`", action.command()));
    match fact {
        JournalUnwritable { at: Some(at), .. } => {
            format!("free space on the disk of {at} or repair it; work resumes automatically")
        }
        JournalUnwritable { at: None, .. } => {
            "fix the Redis problem above; meanwhile drones keep building and store their results, and \
             published packages are still served"
                .into()
        }
        JournalRolledBack { .. } => {
            "IDs in use are skipped and lost packages are rebuilt; restore a newer backup if runs, drones or \
             profiles are missing, otherwise restart `swarm-orchestrator` to end this message"
                .into()
        }
        PublishingFails { at, .. } => format!("check the disk of {at}; retries automatically"),
        DirectoryUnwritable { at, .. } => {
            format!("mount, free or repair the disk of {at}; work resumes automatically")
        }
        DiskNearlyFull { .. } => "free space there; when it is full, uploads from drones are rejected".into(),
        CertificateUnusable { .. } => {
            "fix the files; until then the previous certificate stays in use".into()
        }
        CertificateExpired { file, .. } => {
            format!("clients that do not pin it reject it: {}", renew(file))
        }
        CertificateExpires { file, .. } => renew(file),
        PassFails { ended: true, .. } => "restart `swarm-orchestrator`; see its log for details".into(),
        PassFails { .. } => "retries automatically; see the orchestrator's log for details".into(),
        SinkFails { waiting, .. } => {
            format!("{waiting} queued, will retry; check with `swarmctl notify test`")
        }
        UpstreamAway { .. } => {
            "packages that may refer to its paths wait at their drones, which deliver them once it answers; if it is \
             gone for good, remove it from the profile (`--upstream`) and cancel the run"
                .into()
        }
        StoreDamaged { .. } => action.map(Action::command).unwrap_or_default(),
        RecordDamaged { aside, .. } => {
            format!("check that disk; remove {aside}, the damaged file, to end this message")
        }
        SigningKeyChanged { file, .. } => {
            format!("clients refuse the new one: `swarmctl client setup` for each, then remove {file}")
        }
        PlanWaits { remedy, .. } | RunStandsStill { remedy, .. } => command.unwrap_or_else(|| with(remedy)),
        ToolchainDiffers { .. } => {
            "install the same versions on all drones of the profile, or build it in a base (`swarmctl base \
             --help`)"
                .into()
        }
        ProcessorLacks { profile, .. } => format!(
            "change CFLAGS and CPU_FLAGS_* of {profile} to what all its drones support, or name other profiles in \
             `profiles` of this drone's configuration"
        ),
        NoSuchMachine { profile, system, features, .. } => {
            let setting = if features.is_empty() { "extra_platforms" } else { "system_features" };
            let what = if features.is_empty() { system.clone() } else { features.join(", ") };
            format!(
                "start a drone for {profile} that has it, or add {what} to {setting} in [builder.nix] of one whose \
                 machine can do it; the next run tries again"
            )
        }
        RunOverdue { .. } => {
            "the schedule pass has stopped: restart `swarm-orchestrator`, which then starts the run".into()
        }
        RunSkipped { next_in_ms, .. } => {
            format!(
                "the next run is due in {}; `swarmctl run cancel` ends the one under way",
                span(*next_in_ms)
            )
        }
        NoSuccess { next_in_ms, .. } => {
            format!("{}; the next run is due in {}", command.unwrap_or_default(), span(*next_in_ms))
        }
        DroneIdle { asks: true, .. } => {
            "see `swarmctl queue` for the packages and `swarmctl why` for what they wait for".into()
        }
        DroneIdle { drone, .. } => {
            format!("restart `swarm-drone` on {drone}")
        }
        Paused { .. } => {
            "running builds continue and the pause ends automatically; `swarmctl unpause` ends it now".into()
        }
        ChannelHeld { staged: Some(run), .. } => {
            format!("{} publishes those of {run} and lets it follow later runs", command.unwrap_or_default())
        }
        ChannelHeld { staged: None, .. } => {
            format!("{} lets it follow later runs", command.unwrap_or_default())
        }
        CandidateRefused { .. } => {
            let command = command.unwrap_or_else(|| "fix the source on the machine that runs `swarmctl profile update`".into());
            format!("{command}; the next candidate that can be served ends this")
        }
        TimerSilent { profile, machine, .. } => format!(
            "start the timer on {machine} that runs `swarmctl profile update {profile}`; with `--every never` that command \
             says that none is to run"
        ),
        BaseWaits { .. } => "until then, new runs build in the previous generation".into(),
        DronesCutOff { .. } => {
            "probably this machine's network is down: check it; healing is suspended until they report".into()
        }
        DroneGrounded { .. } => "it gets work again automatically afterwards".into(),
        DroneStruck { .. } => {
            "it keeps building; fix it, or start another drone so that it can be grounded".into()
        }
        DroneOffline { healing, .. } => healing
            .clone()
            .unwrap_or_else(|| "it reconnects automatically once its machine and `swarm-drone` run".into()),
        CredentialCloned { .. } => {
            "on that machine, remove the credential and enrol it with its own token (`swarmctl drone \
             token`)"
                .into()
        }
        DroneUnusable { .. } => {
            "fix that on its machine; the drone checks every minute and resumes automatically".into()
        }
        ProgramsMissing { .. } => {
            "install them on its machine; the drone checks every minute and resumes automatically".into()
        }
        DeliveryStuck { .. } => {
            "check what is between it and the orchestrator, such as a proxy's limit on the request size \
             (nginx: client_max_body_size 0), or the orchestrator's disk; the drone retries, and after \
             blocked_timeout of its configuration the work is repeated"
                .into()
        }
        RunFailed { .. }
        | PackagesQuarantined { .. }
        | FilesCollide { .. }
        | ResolverRefused { .. }
        | BaseStays { .. }
        | DroneLost { .. }
        | DronePending { .. }
        | NoProfile
        | NoDrone
        | Unknown => command.unwrap_or_default(),
    }
}

fn also(alike: u64, others: u64, blocked: u64) -> String {
    match (others, blocked) {
        (0, 0) => String::new(),
        (0, n) => format!(" ({n} wait for {})", if alike > 1 { "them" } else { "it" }),
        (more, 0) => format!(" (and {more} more)"),
        (more, n) => format!(" (and {more} more; {n} wait for them)"),
    }
}

fn and_more(others: u64, what: &str) -> String {
    if others > 0 { format!(" (and {others} more{what})") } else { String::new() }
}

/// The outcome of the last healing step, as a phrase.
fn so_far(last: &LastStep) -> String {
    match (last.step, last.outcome) {
        (HealStep::Probe, HealOutcome::Done) => "; its machine is reachable".into(),
        (step, outcome) if last.why.is_empty() => format!("; the last {step} ended {outcome}"),
        _ => format!("; {}", last.why),
    }
}

/// The first names of a list, and how many more there are.
fn names<T: ToString>(all: &[T]) -> String {
    let names: Vec<String> = all.iter().take(NAMED).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(NAMED);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

fn renew(file: &str) -> String {
    format!("replace {file} and its key; they are reloaded automatically")
}
