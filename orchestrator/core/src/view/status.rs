//! The swarm on one screen: what is wrong, worst first, and the one thing to do next.

use super::{alarms, alike, concern, drones, healing, pause, run};
use crate::{
    attempt::Job, base, calendar::span, channel, drone::Drone, heal, judge::strike, run::Run, swarm::Swarm,
};
use std::collections::BTreeMap;
use swarm_common::{
    id::*,
    name::Name,
    state::*,
    time::TimeMs,
    wire::{
        base::Base,
        view::{Concern, StatusView},
    },
};

/// A refused machine is shown so long after it was heard last.
const CLONES_SHOWN_MS: u64 = 10 * 60 * 1000;

const BY_ITSELF: &str = "it comes back by itself once its machine and `swarm-drone` run";

/// Files that do not get through for this long are a concern.
const STUCK_MS: u64 = 120_000;

/// Something wrong in the shell, which the core cannot see: the journal, a disk, the
/// publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong and why, in one line.
    pub what: String,
    /// What will happen by itself, or what to do.
    pub next: String,
    /// How much it matters.
    pub severity: Severity,
    /// As long as it lasts, the orchestrator cannot do its work.
    pub stops: bool,
}

impl Trouble {
    /// Something that is wrong, and what comes next; the orchestrator works on.
    #[must_use]
    pub fn new(what: String, next: String) -> Self {
        Self { what, next, severity: Severity::Critical, stops: false }
    }

    /// The orchestrator cannot work meanwhile.
    #[must_use]
    pub fn stopping(self) -> Self {
        Self { stops: true, ..self }
    }

    /// It will be wrong, or is a little.
    #[must_use]
    pub fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }
}

/// A concern, with the command that mends it if one does.
struct Found {
    concern: Concern,
    action: Option<String>,
}

impl Found {
    fn new(what: String, next: String, action: Option<String>) -> Self {
        let signature = concern::signature(&what);
        Self { concern: Concern { what, next, signature, severity: Severity::Warning }, action }
    }

    fn mended_by(what: String, command: String) -> Self {
        Self::new(what, format!("`{command}`"), Some(command))
    }

    fn passing(what: String, next: &str) -> Self {
        Self::new(what, next.to_owned(), None)
    }

    /// It matters more, or less, than a warning.
    fn weighs(mut self, severity: Severity) -> Self {
        self.concern.severity = severity;
        self
    }

    /// It is the same thing as long as this is the same, other than its words tell.
    fn signed(mut self, signature: String) -> Self {
        self.concern.signature = signature;
        self
    }
}

/// The swarm on one screen. `wall` is what the machine's clock shows.
#[must_use]
pub fn status(swarm: &Swarm, now: TimeMs, wall: TimeMs, version: &str, troubles: &[Trouble]) -> StatusView {
    let shown = shown_runs(swarm);
    let found = find(swarm, now, wall, &shown, troubles);
    let mut queue: BTreeMap<PackageState, u64> = BTreeMap::new();
    for (_, run) in shown.iter().filter(|(_, run)| !run.state.is_over()) {
        for (&state, &n) in run.counts.iter().filter(|(_, n)| **n > 0) {
            *queue.entry(state).or_default() += n;
        }
    }
    StatusView {
        version: version.to_owned(),
        now,
        started_at: swarm.live.started_at,
        healthy: found.is_empty(),
        next_action: found.iter().find_map(|f| f.action.clone()),
        concerns: found.into_iter().map(|f| f.concern).collect(),
        runs: shown.iter().filter_map(|&(id, _)| run(swarm, now, id)).collect(),
        drones: drones(swarm, now),
        queue,
        journal_seq: swarm.seq,
        pause: pause(swarm, now),
        standby: None,
        bases: base::status(swarm),
        // The shell's; it adds them.
        passes: Vec::new(),
        connections: Vec::new(),
    }
}

/// What is wrong, worst first: as [`status`] tells it, without the cost of the rest.
#[must_use]
pub fn concerns(swarm: &Swarm, now: TimeMs, wall: TimeMs, troubles: &[Trouble]) -> Vec<Concern> {
    find(swarm, now, wall, &shown_runs(swarm), troubles).into_iter().map(|f| f.concern).collect()
}

fn find(
    swarm: &Swarm,
    now: TimeMs,
    wall: TimeMs,
    shown: &[(RunId, &Run)],
    troubles: &[Trouble],
) -> Vec<Found> {
    let trouble =
        |t: &Trouble| Found::new(t.what.clone(), t.next.clone(), Some(t.next.clone())).weighs(t.severity);
    let mut found: Vec<Found> = troubles.iter().map(trouble).collect();
    for &(id, run) in shown {
        of_run(swarm, id, run, &mut found);
    }
    found.extend(alarms(swarm, now, wall).into_iter().map(|alarm| {
        let (severity, signature) = concern::of_alarm(alarm.kind, &alarm.subject);
        Found::new(alarm.what, alarm.next, alarm.command).weighs(severity).signed(signature)
    }));
    of_bases(swarm, &mut found);
    of_drones(swarm, now, &mut found);
    if swarm.profiles.is_empty() {
        let what = "there is no profile yet, so there is nothing to build".into();
        let mended = Found::mended_by(what, "swarmctl profile add NAME --from DIR".into());
        found.push(mended.weighs(Severity::Info));
    }
    if swarm.drones.is_empty() {
        let what = "there is no drone yet, so nothing is built".into();
        found.push(Found::mended_by(what, "swarmctl drone token".into()).weighs(Severity::Info));
    }
    found
}

/// Runs under way, and the last ended one of each profile; the newest first.
fn shown_runs(swarm: &Swarm) -> Vec<(RunId, &Run)> {
    let mut ended: Vec<&Name> = Vec::new();
    let mut shown = Vec::new();
    for (&id, run) in swarm.runs.iter().rev() {
        if run.state.is_over() {
            if ended.contains(&&run.profile) {
                continue;
            }
            ended.push(&run.profile);
        }
        shown.push((id, run));
    }
    shown
}

fn of_run(swarm: &Swarm, id: RunId, run: &Run, found: &mut Vec<Found>) {
    let able = swarm.drones.iter().filter(|(_, d)| d.builds_for(run));
    let online = able.filter(|(id, d)| swarm.state_of(**id, d) == DroneState::Online).count();
    let profile = &run.profile;
    if run.state == RunState::Planning && swarm.attempts_at(Job::Plan(id)).next().is_none() && online == 0 {
        let what =
            format!("run {id} of {profile} waits for its plan, and no drone that can make it is online");
        found.push(without_drone(swarm, run, what));
    }
    if run.state == RunState::Building && online == 0 {
        let what = format!("run {id} of {profile} stands still: no drone that can build for it is online");
        found.push(without_drone(swarm, run, what));
    }
    if run.state == RunState::Building {
        let online = swarm.drones.iter().filter(|(id, d)| swarm.state_of(**id, d) == DroneState::Online);
        for (name, (part, planned, own)) in online.filter_map(|(_, d)| Some((&d.name, d.difference(run)?))) {
            let what = format!(
                "drone {name} gets no packages of {id} of {profile}: its {part} is {own}, but the run was planned with {planned}"
            );
            let next = "install the same versions on all drones of the profile, or have it built in a base: \
                        `swarmctl base --help`";
            found.push(Found::passing(what, next));
        }
    }
    if run.state == RunState::Failed {
        let failed = Found::mended_by(
            format!("run {id} of {profile} failed: {}", run.reason),
            format!("swarmctl run start {profile}"),
        );
        found.push(failed.weighs(Severity::Critical).signed(concern::failed(profile)));
    }
    let broken = alike(swarm, run);
    if let Some((most, (id_of_first, first))) = broken.first().and_then(|most| {
        let id = *most.packages.first()?;
        Some((most, (id, swarm.packages.get(&id)?)))
    }) {
        let told = if most.is_many() { most.packages.len() } else { 1 };
        let more = run.count(PackageState::Quarantined).saturating_sub(told as u64);
        let also = match (more, run.count(PackageState::Blocked)) {
            (0, 0) => String::new(),
            (0, n) => format!(" ({n} wait for {})", if told == 1 { "it" } else { "them" }),
            (more, 0) => format!(" (and {more} more)"),
            (more, n) => format!(" (and {more} more; {n} wait for them)"),
        };
        let what = match most.is_many() {
            true => format!("{told} packages fail alike in {id}{also}: {}", most.error),
            false => format!("{} is quarantined in {id}{also}: {}", first.title(), first.reason),
        };
        let quarantined = Found::mended_by(what, format!("swarmctl why {id_of_first}"));
        found.push(quarantined.signed(concern::quarantined(profile)));
    }
    let mut apart = run.packages.iter().filter_map(|&p| Some((p, channel::apart(swarm, p)?)));
    if let Some((package, first)) = apart.next() {
        let more = match apart.count() {
            0 => String::new(),
            more => format!(" (and {more} more packages)"),
        };
        let what = format!("{}{more}", first.words());
        let collide = Found::mended_by(what, format!("swarmctl why {package}"));
        found.push(collide.signed(concern::collide(profile)));
    }
    if let Some(problem) = run.problems.first() {
        let more = run.problems.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let atoms = problem.atoms.join(" ");
        let message = problem.message.lines().next().unwrap_or_default();
        let refused = Found::mended_by(
            format!("the resolver refused {atoms} in {id} of {profile}{more}: {message}"),
            format!("swarmctl run show {id}"),
        );
        found.push(refused.signed(concern::refused(profile)));
    }
}

fn of_bases(swarm: &Swarm, found: &mut Vec<Found>) {
    for (name, base) in &swarm.bases {
        if let (Some(failed), Some(current)) = (&base.failed, base.current()) {
            let what = format!(
                "base {name} stays in generation {}: what {} built of it was not installed: {}",
                current.number, failed.run, failed.reason
            );
            let again = format!("swarmctl base update {name} --follow");
            found.push(Found::mended_by(what, again).signed(format!("base {name} does not follow")));
        }
        let Some((id, run)) = base.following.as_ref().and_then(|f| Some((f.run, swarm.runs.get(&f.run)?)))
        else {
            continue;
        };
        let able =
            |(id, d): (&DroneId, &Drone)| d.builds_for(run) && swarm.state_of(*id, d) == DroneState::Online;
        if !swarm.drones.iter().any(able) {
            let what = format!("base {name} is to follow {id}, and no drone that can make it is online");
            found.push(Found::passing(what, "the next run is built in the generation before as long"));
        }
    }
}

/// What helps where no drone can work for a profile: to let one work that was drained, by an
/// admin or on its own machine, or to start one.
fn without_drone(swarm: &Swarm, run: &Run, what: String) -> Found {
    let drained = |d: &&Drone| d.builds_for(run) && d.state() == DroneState::Draining;
    let mut at_home = swarm.live.draining.iter().filter_map(|id| swarm.drones.get(id));
    let at_home = at_home.find(|drone| drone.builds_for(run) && drone.state() == DroneState::Online);
    let found = match (swarm.drones.values().find(drained), at_home) {
        (Some(drone), _) => Found::mended_by(what, format!("swarmctl drone resume {}", drone.name)),
        (None, Some(drone)) => {
            let next = format!(
                "{} was drained on its own machine: resume it there, with `systemctl kill -s USR2 swarm-drone` or \
                 `rc-service swarm-drone resume`",
                drone.name
            );
            Found::passing(what, &next)
        }
        (None, None) => {
            let next = match &run.base {
                Base::Host => "start a drone for this profile, as root: one of an ordinary user builds only in images; the \
                               run goes on when one is there"
                    .to_owned(),
                Base::Image { image, .. } => format!(
                    "its base takes a drone for {} that lays overlays over images (root_kind = \"overlay\"): start one, and \
                     update older ones",
                    image.machine
                ),
            };
            Found::passing(what, &next)
        }
    };
    found.weighs(Severity::Critical)
}

fn of_drones(swarm: &Swarm, now: TimeMs, found: &mut Vec<Found>) {
    let in_state = |state| swarm.drones.values().filter(move |d| d.state() == state);
    let offline = swarm.drones.iter().filter(|(_, d)| d.state() == DroneState::Offline);
    if let Some(what) = heal::cut_off(swarm) {
        let next = "probably it is this machine's network: look there; healing rests until they are heard";
        found.push(Found::passing(what, next).weighs(Severity::Critical).signed("drones are cut off".into()));
    }
    for drone in in_state(DroneState::Lost) {
        let why = drone.lost.as_deref().unwrap_or_default();
        let what = format!("drone {} is lost: {why}", drone.name);
        let lost = Found::mended_by(what, format!("swarmctl drone resume {}", drone.name));
        found.push(lost.weighs(Severity::Critical));
    }
    for drone in in_state(DroneState::Grounded) {
        let Some(pause) = &drone.grounded else { continue };
        let seconds = pause.until.since(now).div_ceil(1000);
        found.push(Found::passing(
            format!("drone {} is grounded for {seconds} s: {}", drone.name, pause.reason),
            "it works again by itself after its pause",
        ));
    }
    for (id, drone) in swarm.drones.iter().filter(|(_, d)| d.state() == DroneState::Online) {
        let strikes = drone.strikes.len();
        if strikes >= swarm.policy.strikes_to_ground as usize && strike::is_last_able(swarm, *id) {
            let last = drone.strikes.values().next_back().map_or("", String::as_str);
            found.push(Found::passing(
                format!("drone {} has {strikes} strikes but is the last that can build: {last}", drone.name),
                "it goes on; mend it, or start another drone so that it can be grounded",
            ));
        }
    }
    for (&id, drone) in offline {
        // A machine that said goodbye is off because somebody wants it so.
        if drone.signed_off() {
            continue;
        }
        let why = drone.offline.as_deref().unwrap_or_default();
        let what = format!("drone {} is offline: {why}{}", drone.name, healing::so_far(drone));
        let next = super::healing(swarm, now, id, drone);
        let next = next.unwrap_or_else(|| BY_ITSELF.to_owned());
        let asks = drone.healing.asked && !drone.healing.confirmed;
        let action = asks.then(|| format!("swarmctl drone confirm-reboot {}", drone.name));
        // Only a person can go on from there.
        let severity = if action.is_some() { Severity::Critical } else { Severity::Warning };
        found.push(Found::new(what, next, action).weighs(severity));
    }
    for (id, (at, what)) in &swarm.live.cloned {
        let Some(drone) = swarm.drones.get(id).filter(|_| now.since(*at) < CLONES_SHOWN_MS) else { continue };
        let name = &drone.name;
        let what = format!("another machine uses the credential of drone {name} and is refused: {what}");
        let next = "on that machine, remove the credential and enrol it with a token of its own (`swarmctl drone token`)";
        found.push(Found::passing(what, next).weighs(Severity::Critical));
    }
    for drone in swarm.drones.values().filter(|d| d.offline.is_none() && d.lost.is_none()) {
        let (name, facts) = (&drone.name, &drone.facts);
        if let Some(first) = facts.unusable.first() {
            let what = format!("drone {name} cannot build: {first}");
            let next =
                "mend that on its machine; the drone looks again every minute, and works again by itself";
            found.push(Found::passing(what, next));
        }
        let mut hosts = swarm.profiles.iter().filter(|(_, profile)| profile.request.base.is_none());
        let wanted = hosts.any(|(name, _)| facts.profiles.is_empty() || facts.profiles.contains(name));
        if facts.host && wanted && !facts.lacks.is_empty() {
            let what =
                format!("drone {name} cannot build in its own system: it lacks {}", facts.lacks.join(", "));
            let next =
                "install them on its machine; the drone looks again every minute, and works again by itself";
            found.push(Found::passing(what, next));
        }
    }
    for (&id, stuck) in &swarm.live.stuck {
        let long = stuck.iter().filter(|(_, s)| s.for_ms >= STUCK_MS).max_by_key(|(_, s)| s.for_ms);
        let (Some(drone), Some((&attempt, stuck))) = (swarm.drones.get(&id), long) else { continue };
        let title = swarm.attempts.get(&attempt).map(|a| super::title(swarm, a)).unwrap_or_default();
        let what = format!(
            "drone {} cannot deliver {title}: for {} nothing of it has got through: {}",
            drone.name,
            span(stuck.for_ms),
            stuck.why
        );
        let next = "look at what stands between it and the orchestrator, such as a proxy's limit on the size of a \
                    body (nginx: client_max_body_size 0); it is tried again, and after blocked_timeout_s of the \
                    drone's configuration the package is built anew";
        let stuck = Found::passing(what, next).weighs(Severity::Critical);
        found.push(stuck.signed(format!("drone {} cannot deliver", drone.name)));
    }
    for drone in in_state(DroneState::Pending) {
        let what = format!("drone {} waits for approval", drone.name);
        found.push(Found::mended_by(what, format!("swarmctl drone approve {}", drone.name)));
    }
}
