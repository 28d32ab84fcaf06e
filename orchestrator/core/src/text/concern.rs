//! Texts of concerns: title, full line, and what comes next.

use super::{offline, paused, span};
use crate::collision::{Apart, SharedPaths};
use swarm_common::{
    name::Name,
    state::{HealOutcome, HealStep},
    wire::concern::{Action, ConcernKind, LastStep, Remedy},
};

/// Number of drones named in one line.
const NAMED: usize = 4;

/// A short title, without reasons and current numbers.
#[must_use]
pub fn title(fact: &ConcernKind) -> String {
    use ConcernKind::*;
    match fact {
        JournalUnwritable { .. } => "the journal cannot be written".into(),
        PublishingFails { .. } => "publishing fails".into(),
        DirectoryUnwritable { place, at, .. } => format!("the {place} {at} cannot be written"),
        DiskNearlyFull { at, .. } => format!("the disk of {at} is nearly full"),
        CertificateUnusable { file, .. } => format!("the TLS certificate {file} cannot be taken over"),
        CertificateExpired { file, .. } => format!("the TLS certificate {file} is past its time"),
        CertificateExpires { file, .. } => format!("the TLS certificate {file} ends soon"),
        PassFails { pass, .. } => format!("the {pass} fails"),
        SinkFails { sink, .. } => format!("notifications to {sink} fail"),
        StoreDamaged { .. } => "something that is kept is damaged".into(),
        PlanWaits { run, profile, .. } => {
            format!("run {run} of {profile} waits for its plan, and no drone that can make it is online")
        }
        RunStandsStill { run, profile, .. } => format!("run {run} of {profile} stands still"),
        ToolchainDiffers { drone, run, profile, .. } => {
            format!("drone {drone} gets no packages of {run} of {profile}")
        }
        RunFailed { profile, .. } => format!("the last run of {profile} failed"),
        PackagesQuarantined { profile, .. } => format!("packages of {profile} are quarantined"),
        FilesCollide { profile, .. } => format!("packages of {profile} install the same files"),
        ResolverRefused { profile, evaluation: true, .. } => {
            format!("attributes of {profile} cannot be evaluated")
        }
        ResolverRefused { profile, .. } => format!("the resolver refuses packages of {profile}"),
        RunOverdue { profile, .. } => format!("a run of {profile} is overdue"),
        RunSkipped { profile, .. } => format!("a due run of {profile} was not started"),
        NoSuccess { profile, .. } => format!("no run of {profile} succeeds"),
        DroneIdle { run, .. } => format!("drones idle while {run} waits"),
        Paused { .. } => "nothing is handed out in a pause".into(),
        BaseStays { base, .. } => format!("base {base} does not follow"),
        BaseWaits { base, run } => {
            format!("base {base} is to follow {run}, and no drone that can make it is online")
        }
        DronesCutOff { .. } => "drones are cut off".into(),
        DroneLost { drone, .. } => format!("drone {drone} is lost"),
        DroneGrounded { drone, .. } => format!("drone {drone} is grounded"),
        DroneStruck { drone, .. } => format!("drone {drone} has many strikes but is the last that can build"),
        DroneOffline { drone, .. } => format!("drone {drone} is offline"),
        CredentialCloned { drone, .. } => {
            format!("another machine uses the credential of drone {drone} and is refused")
        }
        DroneUnusable { drone, .. } => format!("drone {drone} cannot build"),
        ProgramsMissing { drone, .. } => format!("drone {drone} cannot build in its own system"),
        DeliveryStuck { drone, .. } => format!("drone {drone} cannot deliver"),
        DronePending { drone } => format!("drone {drone} waits for approval"),
        NoProfile => "there is no profile yet, so there is nothing to build".into(),
        NoDrone => "there is no drone yet, so nothing is built".into(),
        Unknown => "something that only another version knows".into(),
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
        | DroneLost { why, .. }
        | CredentialCloned { why, .. }
        | DroneUnusable { why, .. } => format!("{title}: {why}"),
        DiskNearlyFull { free_mib, .. } => format!("{title}: {free_mib} MiB are free"),
        CertificateExpired { on, .. } => format!("{title} since {on}"),
        CertificateExpires { file, on, days } => {
            format!("the TLS certificate {file} ends in {days} days, on {on}")
        }
        StoreDamaged { faults: 0 | 1, first } => format!("{title}: {first}"),
        StoreDamaged { faults, first } => {
            format!("{faults} things that are kept are damaged, the first: {first}")
        }
        RunStandsStill { .. } => format!("{title}: no drone that can build for it is online"),
        ToolchainDiffers { part, planned, own, .. } => {
            format!("{title}: its {part} is {own}, but the run was planned with {planned}")
        }
        RunFailed { run, profile, why } => format!("run {run} of {profile} failed: {why}"),
        PackagesQuarantined { run, title, alike, others, blocked, why, .. } => {
            let also = also(*alike, *others, *blocked);
            match alike {
                0 | 1 => format!("{title} is quarantined in {run}{also}: {why}"),
                _ => format!("{alike} packages fail alike in {run}{also}: {why}"),
            }
        }
        FilesCollide { cpv, beside, paths, path_count, others, .. } => {
            let shared = SharedPaths { count: *path_count, first: paths.clone() };
            let apart = Apart { cpv: cpv.clone(), beside: beside.clone(), shared };
            format!("{}{}", apart.words(), and_more(*others, " packages"))
        }
        ResolverRefused { run, profile, atoms, others, why, evaluation: true } => {
            let more = and_more(*others, "");
            format!("{} cannot be evaluated in {run} of {profile}{more}: {why}", atoms.join(" "))
        }
        ResolverRefused { run, profile, atoms, others, why, evaluation: false } => {
            let more = and_more(*others, "");
            format!("the resolver refused {} in {run} of {profile}{more}: {why}", atoms.join(" "))
        }
        RunOverdue { profile, late_ms } => {
            format!("a run of {profile} was due {} ago and was not started", span(*late_ms))
        }
        RunSkipped { profile, ago_ms, why, .. } => {
            format!("no run of {profile} was started {} ago: {why}", span(*ago_ms))
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
                0 => "its plan".to_owned(),
                n => format!("{n} of its packages"),
            };
            let why = match why {
                Some(why) if *asks => format!("it is told: {why}"),
                _ if *asks => "though it asks for work".to_owned(),
                _ => "it does not ask for work".to_owned(),
            };
            format!(
                "run {run} of {profile} waits with {work} for {}, while {drone} idles: {why}",
                span(*for_ms)
            )
        }
        Paused { for_ms, why } => paused(*for_ms, why),
        BaseStays { base, generation, run, why } => format!(
            "base {base} stays in generation {generation}: what {run} built of it was not installed: {why}"
        ),
        DronesCutOff { silent, of } => {
            format!("{} of {of} drones fell silent together ({})", silent.len(), names(silent))
        }
        DroneGrounded { for_ms, why, .. } => format!("{title} for {} s: {why}", for_ms.div_ceil(1000)),
        DroneStruck { drone, strikes, why } => {
            format!("drone {drone} has {strikes} strikes but is the last that can build: {why}")
        }
        DroneOffline { offline: why, last, .. } => {
            format!("{title}: {}{}", offline(why), last.as_ref().map_or_else(String::new, so_far))
        }
        ProgramsMissing { programs, .. } => format!("{title}: it lacks {}", programs.join(", ")),
        DeliveryStuck { title: package, for_ms, why, .. } => {
            format!("{title} {package}: for {} nothing of it has got through: {why}", span(*for_ms))
        }
        PlanWaits { .. } | BaseWaits { .. } | DronePending { .. } | NoProfile | NoDrone | Unknown => title,
    }
}

/// What will happen automatically, or what to do. `action` is the action of the concern, if any.
#[must_use]
pub fn next(fact: &ConcernKind, action: Option<&Action>) -> String {
    use ConcernKind::*;
    let command = action.map(|action| format!("`{}`", action.command()));
    match fact {
        JournalUnwritable { at: Some(at), .. } => {
            format!("free space on, or repair, the disk of {at}; it goes on by itself")
        }
        JournalUnwritable { at: None, .. } => {
            "see to Redis, as said above; drones go on building and keep their results, and what is published is \
             served meanwhile"
                .into()
        }
        PublishingFails { at, .. } => format!("look at the disk of {at}; it is tried again by itself"),
        DirectoryUnwritable { at, .. } => {
            format!("mount, free or repair the disk of {at}; it goes on by itself")
        }
        DiskNearlyFull { .. } => {
            "free some space there; once it is full, nothing more is taken from drones".into()
        }
        CertificateUnusable { .. } => "mend the files; the certificate before is shown until then".into(),
        CertificateExpired { file, .. } => {
            format!("drones and admins that do not pin it refuse it: {}", renew(file))
        }
        CertificateExpires { file, .. } => renew(file),
        PassFails { ended: true, .. } => "restart `swarm-orchestrator`; its log has more".into(),
        PassFails { .. } => "it is tried again by itself; the orchestrator's log has more".into(),
        SinkFails { waiting, .. } => {
            format!("{waiting} wait and are tried again by themselves; `swarmctl notify test`")
        }
        StoreDamaged { .. } => action.map(Action::command).unwrap_or_default(),
        PlanWaits { remedy, .. } | RunStandsStill { remedy, .. } => command.unwrap_or_else(|| with(remedy)),
        ToolchainDiffers { .. } => {
            "install the same versions on all drones of the profile, or have it built in a base: \
             `swarmctl base --help`"
                .into()
        }
        RunOverdue { .. } => {
            "the schedule pass has stopped: restart `swarm-orchestrator`, which makes up for the run".into()
        }
        RunSkipped { next_in_ms, .. } => {
            format!("the next is due in {}; `swarmctl run cancel` makes room for it", span(*next_in_ms))
        }
        NoSuccess { next_in_ms, .. } => {
            format!("{}; the next run is due in {}", command.unwrap_or_default(), span(*next_in_ms))
        }
        DroneIdle { asks: true, .. } => {
            "`swarmctl queue` names the packages, `swarmctl why` what they wait for".into()
        }
        DroneIdle { drone, .. } => {
            format!("restart `swarm-drone` on {drone}; it is given work as soon as it asks")
        }
        Paused { .. } => {
            "builds under way go on, and the pause ends by itself; `swarmctl unpause` ends it now".into()
        }
        BaseWaits { .. } => "the next run is built in the generation before as long".into(),
        DronesCutOff { .. } => {
            "probably it is this machine's network: look there; healing rests until they are heard".into()
        }
        DroneGrounded { .. } => "it works again by itself after its pause".into(),
        DroneStruck { .. } => "it goes on; mend it, or start another drone so that it can be grounded".into(),
        DroneOffline { healing, .. } => healing.clone().unwrap_or_else(|| {
            "it comes back by itself once its machine and `swarm-drone` run".into()
        }),
        CredentialCloned { .. } => {
            "on that machine, remove the credential and enrol it with a token of its own (`swarmctl drone token`)"
                .into()
        }
        DroneUnusable { .. } => {
            "mend that on its machine; the drone looks again every minute, and works again by itself".into()
        }
        ProgramsMissing { .. } => {
            "install them on its machine; the drone looks again every minute, and works again by itself".into()
        }
        DeliveryStuck { .. } => {
            "look at what stands between it and the orchestrator, such as a proxy's limit on the size of a body \
             (nginx: client_max_body_size 0); it is tried again, and after blocked_timeout_s of the drone's \
             configuration the package is built anew"
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

/// The outcome of the last step of healing.
fn so_far(last: &LastStep) -> String {
    match (last.step, last.outcome) {
        (HealStep::Probe, HealOutcome::Done) => "; its machine answers".into(),
        (step, outcome) if last.why.is_empty() => format!("; the last {step} ended {outcome}"),
        _ => format!("; {}", last.why),
    }
}

fn names(drones: &[Name]) -> String {
    let names: Vec<&str> = drones.iter().take(NAMED).map(Name::as_str).collect();
    let more = drones.len().saturating_sub(NAMED);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

fn renew(file: &str) -> String {
    format!("put a new one at {file}, with its key; it is taken over by itself")
}

/// Advice for a run that no drone can work for.
fn with(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Resume { drone } => format!("let {drone} work again"),
        Remedy::ResumeThere { drone } => format!(
            "{drone} was drained on its own machine: resume it there, with `systemctl kill -s USR2 swarm-drone` or \
             `rc-service swarm-drone resume`"
        ),
        Remedy::StartHost => {
            "start a drone for this profile, as root: one of an ordinary user builds only in images; the run goes on \
             when one is there"
                .into()
        }
        Remedy::StartNix => "start a drone on a machine that has Nix 2.8 or newer".into(),
        Remedy::StartImage { machine } => format!(
            "its base takes a drone for {machine} that lays overlays over images (root_kind = \"overlay\"): start \
             one, and update older ones"
        ),
    }
}
