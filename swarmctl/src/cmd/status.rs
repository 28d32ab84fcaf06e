//! `status`: shows the swarm on one screen, and whether an admin is needed.

use super::base::under_way;
use crate::{
    failure::{FAILED, Failure},
    output::{
        Cell, Paint, Table, Tone,
        text::{ago, clean, count, moment, size, span},
    },
    session::Session,
};
use swarm_common::{
    state::{DroneState, PackageState, Phase},
    wire::{
        base::BaseStatus,
        concern::Action,
        view::{DroneView, RunView, StatusView, UpcomingRun, WorkView},
    },
};

/// The most drones listed; the others are summarised, so that everything fits on one screen.
const MAX_DRONES: usize = 12;
/// The most tasks listed per drone; the others are counted.
const MAX_WORKS: usize = 8;
/// The most scheduled runs listed; the others are counted.
const MAX_UPCOMING: usize = 4;
/// The most concerns listed; the others are counted.
const MAX_CONCERNS: usize = 6;
/// The longest normal interval between a drone's heartbeats, in milliseconds; `heartbeat` is at
/// most 30 s.
const QUIET_MS: u64 = 35_000;

/// Shows the status.
///
/// # Errors
/// The orchestrator did not answer. [`Failure::Silent`] if something is wrong.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let client = session.client()?;
    let status = client.status().await?;
    let address = client.address().as_str().trim_end_matches('/').to_owned();
    session.output.show(&status, |paint| render(&status, &address, paint))?;
    if status.healthy { Ok(()) } else { Err(Failure::Silent(FAILED)) }
}

fn render(status: &StatusView, address: &str, paint: Paint) -> String {
    let up = span(status.now.since(status.started_at));
    let mut out = format!(
        "{} {} at {address}, up {up}\n",
        paint.tone(Tone::Bold, "Build Swarm"),
        clean(&status.version)
    );
    if let Some(pause) = &status.pause {
        let reason =
            if pause.reason.is_empty() { String::new() } else { format!(": {}", clean(&pause.reason)) };
        let until = format!("Paused until {}{reason}", moment(pause.until));
        out.push_str(&format!("{}\n", paint.tone(Tone::Warn, &until)));
    }
    if let Some(leader) = &status.standby {
        out.push_str(&format!("answered by a standby; the leader is {}\n", clean(leader)));
    }
    out.push_str(&turned_away(status));
    let heading = |name: &str| format!("\n{}\n", paint.tone(Tone::Bold, name));

    out.push_str(&heading("Drones"));
    out.push_str(&drones(status, paint));
    out.push_str(&heading("Runs"));
    if status.runs.is_empty() {
        out.push_str("  none\n");
    } else {
        out.push_str(&runs(status, paint));
    }
    out.push_str(&upcoming(status));
    out.push_str(&bases(status));
    out.push_str(&super::channel::waiting(&status.staged));
    if status.queue.values().any(|&n| n > 0) {
        let parts: Vec<String> = PackageState::ALL
            .iter()
            .filter_map(|state| Some((state, *status.queue.get(state)?)))
            .filter(|&(_, n)| n > 0)
            .map(|(state, n)| format!("{} {n}", paint.tone((*state).into(), state.word())))
            .collect();
        out.push_str(&format!("\n{}  {}\n", paint.tone(Tone::Bold, "Queue"), parts.join("  ")));
    }
    if !status.passes.is_empty() {
        out.push_str(&heading("Passes"));
        out.push_str(&passes(status, paint));
    }
    if !status.concerns.is_empty() {
        out.push_str(&heading("Concerns"));
        for concern in status.concerns.iter().take(MAX_CONCERNS) {
            out.push_str(&format!("  {} {}\n", paint.tone(Tone::Bad, "!"), clean(&concern.what)));
            if !concern.next.is_empty() {
                out.push_str(&format!("    {}\n", clean(&concern.next)));
            }
        }
        let more = status.concerns.len().saturating_sub(MAX_CONCERNS);
        if more > 0 {
            out.push_str(&format!("  and {more} more; see `swarmctl status --json`\n"));
        }
    }
    out.push('\n');
    // An older orchestrator sends only the text.
    let command = status.action.as_ref().map(Action::command);
    match (command.as_ref().or(status.next_action.as_ref()), status.healthy) {
        (Some(next), _) => out.push_str(&format!("{} {}\n", paint.tone(Tone::Bold, "Next:"), clean(next))),
        (None, true) => out.push_str(&format!("{}\n", paint.tone(Tone::Good, "Healthy."))),
        (None, false) => out.push_str("Not healthy; see the concerns above.\n"),
    }
    out
}

/// Connections rejected because a limit was reached, if any.
fn turned_away(status: &StatusView) -> String {
    let rows = status.connections.iter().filter(|row| row.turned_away > 0);
    let parts: Vec<String> = rows.map(|row| format!("{} of {}s", row.turned_away, row.of)).collect();
    if parts.is_empty() { String::new() } else { format!("connections rejected: {}\n", parts.join(", ")) }
}

fn drones(status: &StatusView, paint: Paint) -> String {
    if status.drones.is_empty() {
        return "  none; create an enrolment token with `swarmctl drone token`\n".to_owned();
    }
    // If not all fit, drones with a problem come first.
    let mut shown: Vec<&DroneView> = status.drones.iter().collect();
    if shown.len() > MAX_DRONES {
        shown.sort_by_key(|drone| (drone.state == DroneState::Online, drone.working_on.is_empty()));
        shown.truncate(MAX_DRONES);
    }
    let mut table = Table::new(&["NAME", "STATE", "LOAD", "FREE MEMORY", "FREE DISK", "STRIKES", "ACTIVITY"])
        .indented("  ");
    for drone in &shown {
        let vitals = |of: fn(&swarm_common::wire::drone::Vitals) -> String| {
            drone.vitals.as_ref().map_or(String::new(), of)
        };
        let strikes = match drone.strikes {
            0 => Cell::from(""),
            n => Cell::toned(Tone::Warn, n),
        };
        table.row([
            drone.name.as_str().into(),
            Cell::toned(drone.state.into(), drone.state),
            vitals(|v| format!("{:.1}", v.load1)).into(),
            vitals(|v| size(v.memory_free_bytes)).into(),
            vitals(|v| size(v.disk_free_bytes)).into(),
            strikes,
            does(status, drone).into(),
        ]);
        for line in other_slots(status, drone) {
            table.row(["", "", "", "", "", "", &line].map(Cell::from));
        }
    }
    let mut out = table.render(paint);
    let more = status.drones.len() - shown.len();
    if more > 0 {
        out.push_str(&format!("  and {}; see `swarmctl drone list`\n", count(more as u64, "more drone")));
    }
    out
}

/// The state of each base, one per line.
fn upcoming(status: &StatusView) -> String {
    let next = |run: &UpcomingRun| match run.due.since(status.now) {
        0 => format!("{} is due now", run.profile),
        ms => format!("{} in {}", run.profile, span(ms)),
    };
    let mut parts: Vec<String> = status.upcoming.iter().take(MAX_UPCOMING).map(next).collect();
    let more = status.upcoming.len().saturating_sub(MAX_UPCOMING);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    if parts.is_empty() { String::new() } else { format!("  scheduled: {}\n", parts.join(", ")) }
}

fn bases(status: &StatusView) -> String {
    let line = |base: &BaseStatus| {
        let run = base.run.map_or_else(String::new, |run| format!(", built from {run}"));
        let following = base.following.as_ref();
        let next = following.map_or_else(String::new, |f| format!("; {}", under_way(f, status.now)));
        format!("  base {}: generation {}{run}{next}\n", base.name, base.generation)
    };
    status.bases.iter().map(line).collect()
}

/// What a drone is working on, or why not; also that it has missed heartbeats, before it counts as
/// offline.
fn does(status: &StatusView, drone: &DroneView) -> String {
    let doing = doing(status, drone);
    let quiet = match drone.last_seen {
        _ if !matches!(drone.state, DroneState::Online | DroneState::Draining) => return doing,
        None => "no heartbeat yet".to_owned(),
        Some(seen) if status.now.since(seen) >= QUIET_MS => {
            format!("silent for {}", span(status.now.since(seen)))
        }
        Some(_) => return doing,
    };
    format!("{quiet}; {doing}")
}

fn doing(status: &StatusView, drone: &DroneView) -> String {
    if let Some(first) = drone.working_on.first() {
        return work(status, first);
    }
    if drone.state == DroneState::Online {
        return "idle".to_owned();
    }
    match drone.last_seen {
        Some(seen) => format!("{} (last heartbeat {})", clean(&drone.reason), ago(status.now, seen)),
        None => clean(&drone.reason),
    }
}

fn work(status: &StatusView, work: &WorkView) -> String {
    format!("{}: {} for {}", clean(&work.title), work.phase, span(status.now.since(work.since)))
}

/// The other tasks and the idle slots of a drone that is working.
fn other_slots(status: &StatusView, drone: &DroneView) -> Vec<String> {
    let Some((_, rest)) = drone.working_on.split_first() else { return Vec::new() };
    let most = if status.drones.len() > MAX_DRONES { 0 } else { MAX_WORKS - 1 };
    let mut lines: Vec<String> = rest.iter().take(most).map(|other| work(status, other)).collect();
    if rest.len() > most {
        lines.push(format!("and {} more", rest.len() - most));
    }
    // An attempt that is only uploading has left its slot.
    let building = drone.working_on.iter().filter(|work| work.phase < Phase::Uploading).count();
    let idle = (drone.facts.slots as usize).saturating_sub(building);
    if idle > 0 && drone.state == DroneState::Online {
        lines.push(count(idle as u64, "idle slot"));
    }
    lines
}

fn runs(status: &StatusView, paint: Paint) -> String {
    let mut table = Table::new(&["RUN", "PROFILE", "CLASS", "STATE", "PACKAGES", ""]).indented("  ");
    for run in &status.runs {
        let when = match (run.eta, run.ended_at) {
            (_, Some(end)) => format!("ended {}", ago(status.now, end)),
            (Some(eta), None) if eta > status.now => {
                format!("done in about {}", span(eta.since(status.now)))
            }
            (Some(_), None) => "almost done".to_owned(),
            (None, None) => run.reason.as_deref().map(clean).unwrap_or_default(),
        };
        table.row([
            run.id.to_string().into(),
            run.profile.as_str().into(),
            run.class.word().into(),
            Cell::toned(run.state.into(), run.state),
            progress(run).into(),
            when.into(),
        ]);
    }
    table.render(paint)
}

/// When each pass last ran, and the result of the last run that had something to do.
fn passes(status: &StatusView, paint: Paint) -> String {
    let mut table = Table::new(&["PASS", "LAST RUN", "RESULT"]).indented("  ");
    for pass in &status.passes {
        let did = match (&pass.trouble, pass.did_at) {
            (Some(why), _) => Cell::toned(Tone::Bad, format!("failed: {}", clean(why))),
            (None, Some(at)) => format!("{} ({})", clean(&pass.did), ago(status.now, at)).into(),
            (None, None) => "idle".into(),
        };
        table.row([clean(&pass.name).into(), ago(status.now, pass.last_run).into(), did]);
    }
    table.render(paint)
}

/// `12 of 40, 3 quarantined`.
pub(super) fn progress(run: &RunView) -> String {
    let total: u64 = run.counts.values().sum();
    let of = |state| run.counts.get(&state).copied().unwrap_or(0);
    let mut text = format!("{} of {total}", of(PackageState::Received));
    for state in [PackageState::Delegated, PackageState::Quarantined, PackageState::Cancelled] {
        if of(state) > 0 {
            text.push_str(&format!(", {} {state}", of(state)));
        }
    }
    if run.reused > 0 {
        text.push_str(&format!(", {} reused", run.reused));
    }
    if run.held > 0 {
        text.push_str(&format!(", {} not retried", run.held));
        if run.saved_s > 0 {
            text.push_str(&format!(" (saves {})", span(run.saved_s * 1000)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;
    use swarm_common::{state::Caller, wire::view::ConnectionsView};

    #[test]
    fn a_drone_that_was_not_heard_lately_is_shown_before_it_is_offline() {
        let mut status = fixtures::status();
        status.drones[0].last_seen = Some(status.now - 40_000);
        assert_eq!(
            does(&status, &status.drones[0]),
            "silent for 40 s; app-misc/reckon-1.0: building for 1 min 30 s"
        );
        status.drones[0].last_seen = None;
        assert!(does(&status, &status.drones[0]).starts_with("no heartbeat yet; "));
    }

    #[test]
    fn what_each_slot_of_a_drone_does_has_a_line() {
        let mut status = fixtures::status();
        let oak = &mut status.drones[0];
        oak.facts.slots = 3;
        let sent = WorkView {
            title: "app-misc/sent-1".into(),
            phase: Phase::Uploading,
            ..oak.working_on[0].clone()
        };
        let beside = WorkView { title: "app-misc/beside-1".into(), ..oak.working_on[0].clone() };
        oak.working_on.extend([sent, beside]);
        let works = other_slots(&status, &status.drones[0]);
        assert_eq!(
            works,
            [
                "app-misc/sent-1: uploading for 1 min 30 s",
                "app-misc/beside-1: building for 1 min 30 s",
                "1 idle slot"
            ]
        );
        let text = render(&status, "x", Paint::new(false));
        assert!(works.iter().all(|work| text.contains(&format!("   {work}\n"))), "{text}");
        let oak = status.drones[0].clone();
        status.drones = vec![oak; 13];
        assert_eq!(other_slots(&status, &status.drones[0]), ["and 2 more", "1 idle slot"]);
    }

    #[test]
    fn a_swarm_in_trouble_is_told_on_one_screen_with_the_next_action_last() {
        let text = render(&fixtures::status(), "http://nas:8100", Paint::new(false));
        assert_eq!(
            text,
            "\
Build Swarm 0.1.0 at http://nas:8100, up 2 h

Drones
  NAME   STATE     LOAD  FREE MEMORY  FREE DISK  STRIKES  ACTIVITY
  oak    online    1.5   2.0 GiB      40.0 GiB            app-misc/reckon-1.0: building for 1 min 30 s
  birch  grounded                                5        five strikes\\u{1b}[2J (last heartbeat 40 s ago)

Runs
  RUN  PROFILE  CLASS    STATE     PACKAGES
  r7   desk     nightly  building  12 of 20, 1 delegated, 2 quarantined, 4 reused, 1 not retried (saves 1 h 30 min)  done in about 5 min
  scheduled: desk in 5 h
  base gentoo: generation 2, built from r6; next generation, with 3 new packages of r7, is being made on oak

Queue  blocked 3  needed 2  delegated 1  received 12  quarantined 2

Passes
  PASS       LAST RUN  RESULT
  publisher  9 s ago   3 placed for drones (9 s ago)
  upkeep     1 s ago   failed: no\\u{1b}[2J

Concerns
  ! birch is grounded
    it comes back in 3 min

Next: swarmctl quarantine list
"
        );
        assert!(text.lines().count() <= 24, "it fits a screen");
    }

    #[test]
    fn an_action_is_shown_as_the_command_that_does_it_however_it_was_worded() {
        let mut status = fixtures::status();
        status.action = Some(Action::ApproveDrone { drone: "oak".parse().unwrap() });
        let text = render(&status, "x", Paint::new(false));
        assert!(text.ends_with("\nNext: swarmctl drone approve oak\n"), "{text}");
    }

    #[test]
    fn connections_that_were_turned_away_are_counted_once_there_were_any() {
        let mut status = fixtures::status();
        let row = |of, turned_away| ConnectionsView { of, open: 1, limit: 2, turned_away };
        status.connections = vec![row(Caller::Stranger, 0), row(Caller::Drone, 0)];
        assert!(!render(&status, "x", Paint::new(false)).contains("connections rejected"));
        status.connections = vec![row(Caller::Stranger, 41), row(Caller::Drone, 0), row(Caller::Admin, 1)];
        let text = render(&status, "x", Paint::new(false));
        assert!(text.contains("\nconnections rejected: 41 of strangers, 1 of admins\n"), "{text}");
    }

    #[test]
    fn a_new_swarm_says_how_to_begin_and_a_well_one_that_it_is() {
        let mut status = fixtures::status();
        status.drones.clear();
        status.runs.clear();
        status.queue.clear();
        status.concerns.clear();
        status.next_action = None;
        status.healthy = true;
        let text = render(&status, "x", Paint::new(false));
        assert!(text.contains("swarmctl drone token"), "{text}");
        assert!(text.ends_with("Healthy.\n"), "{text}");
    }

    #[test]
    fn many_drones_still_fit_and_the_troubled_ones_are_shown() {
        let mut status = fixtures::status();
        let (oak, birch) = (status.drones[0].clone(), status.drones[1].clone());
        status.drones = vec![oak; 63];
        status.drones.push(birch);
        let text = render(&status, "x", Paint::new(false));
        assert!(text.contains("birch") && text.contains("and 52 more drones"), "{text}");
    }
}
