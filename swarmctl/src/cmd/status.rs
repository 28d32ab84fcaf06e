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

/// The maximum number of drones listed. The others are summarised, so that everything fits on one screen.
const MAX_DRONES: usize = 12;
/// The maximum number of tasks listed per drone. The others are counted.
const MAX_WORKS: usize = 8;
/// The maximum number of concerns listed. The others are counted.
const MAX_CONCERNS: usize = 6;
/// The maximum normal interval between a drone's heartbeats, in milliseconds: `heartbeat` is at most 30 s.
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
        "{} {} at {address}, up {up}{}\n",
        paint.tone(Tone::Bold, "Build Swarm"),
        clean(&status.version),
        upcoming(status)
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

/// A line about connections that were rejected because a limit was reached. Empty if there were none.
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

/// The next scheduled run, and how many other schedules there are.
fn upcoming(status: &StatusView) -> String {
    let Some(UpcomingRun { profile, due }) = status.upcoming.first() else { return String::new() };
    let when = match due.since(status.now) {
        0 => "now".to_owned(),
        ms => format!("in {}", span(ms)),
    };
    let more = match status.upcoming.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more scheduled)"),
    };
    format!(", next run: {profile} {when}{more}")
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

/// What a drone is working on, or why it is not working. Also notes missed heartbeats before the drone counts
/// as offline.
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

/// The other tasks and the idle slots of a working drone.
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

/// The progress of a run, such as `12 of 40, 3 quarantined`.
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
mod tests;
