//! The content of `/metrics`, read from the state at each scrape. Labels are states, kinds and configured
//! names (profiles, sinks, passes), never packages.

pub mod text;

use crate::app::App;
use std::{collections::BTreeMap, path::Path};
use swarm_common::{digest::Digest, name::Name, state::*, time::TimeMs};
use swarm_core::{
    Swarm,
    view::{self, AlarmKind},
};
use text::{Text, Type::*};

/// All metrics in Prometheus' text format.
#[must_use]
pub fn text(app: &App) -> String {
    let mut out = Text::default();
    let (now, wall, reported) = (app.engine.now(), app.engine.wall(), app.concerns());
    let version = [([("version", env!("CARGO_PKG_VERSION").to_owned())], 1)];
    out.family("swarm_build_info", Gauge, "The orchestrator's version; always 1.", version);
    app.engine.read(|swarm| {
        let concerns = view::concerns(swarm, now, wall, &reported);
        out.gauge(
            "swarm_healthy",
            "Whether the swarm is healthy, as in `swarmctl status`.",
            u8::from(concerns.is_empty()),
        );
        let of = |s: &Severity| concerns.iter().filter(|c| c.severity == *s).count();
        let counts = Severity::ALL.iter().map(|s| ([("severity", s.to_string())], of(s)));
        out.family("swarm_concerns", Gauge, "Concerns, by severity.", counts);
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        concerns.iter().for_each(|concern| *kinds.entry(concern.fact.name()).or_default() += 1);
        let counts = kinds.into_iter().map(|(kind, count)| ([("kind", kind)], count));
        out.family("swarm_concern", Gauge, "Concerns, by kind; absent without one.", counts);
        out.gauge(
            "swarm_start_time_seconds",
            "When the orchestrator started.",
            seconds(swarm.live.started_at),
        );
        packages(swarm, now, &mut out);
        drones(swarm, &mut out);
        profiles(swarm, &mut out);
        calendar(swarm, now, wall, &mut out);
        let events = [([], swarm.seq)];
        out.family("swarm_journal_events_total", Counter, "Events in the journal.", events);
        out.gauge("swarm_artifact_bytes", "Bytes of stored package files.", artifact_bytes(swarm));
    });
    out.gauge("swarm_engine_commands", "Queued commands.", app.engine.commands_waiting());
    connections(app, &mut out);
    disks(app, &mut out);
    passes(app, &mut out);
    sinks(app, &mut out);
    out.finish()
}

fn packages(swarm: &Swarm, now: TimeMs, out: &mut Text) {
    let active = || swarm.runs.values().filter(|run| !run.state.is_over());
    let of = |state: PackageState| active().map(|run| run.count(state)).sum::<u64>();
    let counts = PackageState::ALL.iter().map(|&s| ([("state", s.to_string())], of(s)));
    out.family("swarm_packages", Gauge, "Packages of active runs, by state.", counts);
    let needed = active().flat_map(|run| run.ready.iter()).filter_map(|(_, id)| swarm.packages.get(id));
    let oldest = needed.map(|p| now.since(p.needed_since)).max().unwrap_or(0);
    let help = "How long the longest needed package has been waiting for a drone.";
    out.gauge("swarm_oldest_needed_age_seconds", help, oldest as f64 / 1000.0);
    let of = |state: RunState| swarm.runs.values().filter(|run| run.state == state).count();
    let counts = RunState::ALL.iter().map(|&s| ([("state", s.to_string())], of(s)));
    out.family("swarm_runs", Gauge, "Active and kept runs, by state or outcome.", counts);
}

fn drones(swarm: &Swarm, out: &mut Text) {
    let of = |state: DroneState| swarm.drones.values().filter(|d| d.state() == state).count();
    let counts = DroneState::ALL.iter().map(|&s| ([("state", s.to_string())], of(s)));
    out.family("swarm_drones", Gauge, "Drones, by state.", counts);
}

fn profiles(swarm: &Swarm, out: &mut Text) {
    let label = |name: &Name| [("profile", name.to_string())];
    let last = |name: &Name, has_state: fn(RunState) -> bool| {
        let runs = swarm.runs.values().filter(move |r| r.profile == *name && has_state(r.state));
        runs.filter_map(|run| run.ended_at).max()
    };
    let succeeded = swarm.profiles.keys().filter_map(|name| {
        // The schedule keeps the time after the run is forgotten.
        let recorded = swarm.schedules.get(name).and_then(|s| s.succeeded_at);
        let at = last(name, |state| state == RunState::Succeeded).max(recorded)?;
        Some((label(name), seconds(at)))
    });
    let help = "When a run last succeeded, by profile; absent before the first.";
    out.family("swarm_last_success_timestamp_seconds", Gauge, help, succeeded);
    let ended =
        swarm.profiles.keys().filter_map(|name| Some((label(name), seconds(last(name, RunState::is_over)?))));
    let help = "When a run last ended, with any outcome, by profile.";
    out.family("swarm_last_run_end_timestamp_seconds", Gauge, help, ended);
    let generations = swarm.profiles.iter().map(|(name, p)| (label(name), p.generation));
    out.family("swarm_generation", Gauge, "Number of the published generation, by profile.", generations);
    let published = swarm.profiles.iter().map(|(name, p)| (label(name), p.published_packages));
    out.family("swarm_published_packages", Gauge, "Published packages, by profile.", published);
}

fn calendar(swarm: &Swarm, now: TimeMs, wall: TimeMs, out: &mut Text) {
    let until = view::pause(swarm, now).map_or(0.0, |pause| seconds(pause.until));
    out.gauge("swarm_pause_until_timestamp_seconds", "When the pause ends; 0 without one.", until);
    let alarms = view::alarms(swarm, now, wall);
    use AlarmKind::*;
    let of = |kind: AlarmKind| alarms.iter().filter(|fact| AlarmKind::of(fact) == Some(kind)).count();
    let overdue = of(Overdue);
    out.gauge("swarm_schedules_overdue", "Schedules whose due run has not started.", overdue);
    let counts =
        [Overdue, Skipped, Stale, Silent, Idle, Paused].map(|k| ([("kind", k.word().to_owned())], of(k)));
    out.family("swarm_alarms", Gauge, "Overdue activities, by kind.", counts);
}

fn artifact_bytes(swarm: &Swarm) -> u64 {
    let built = swarm.built.values().flat_map(|built| &built.artifacts);
    let received = swarm.packages.values().flat_map(|p| &p.artifacts);
    let sizes: BTreeMap<Digest, u64> = built.chain(received).map(|a| (a.digest, a.size)).collect();
    sizes.values().sum()
}

fn connections(app: &App, out: &mut Text) {
    let rows = app.limiter.view();
    let label = |caller: Caller| [("of", caller.to_string())];
    let open = rows.iter().map(|row| (label(row.of), row.open));
    out.family("swarm_connections", Gauge, "Open connections, by kind of client.", open);
    let limits = rows.iter().map(|row| (label(row.of), row.limit));
    out.family("swarm_connections_limit", Gauge, "Limit of connections.", limits);
    let turned_away = rows.iter().map(|row| (label(row.of), row.turned_away));
    let help = "Connections that were rejected or closed to make room for others.";
    out.family("swarm_connections_turned_away_total", Counter, help, turned_away);
}

fn disks(app: &App, out: &mut Text) {
    let free = |name: &str, dir: &Path| {
        // An unreadable disk has no sample. Alerts can be defined for absent samples.
        let stat = rustix::fs::statvfs(dir).ok()?;
        Some(([("directory", name.to_owned())], stat.f_bavail.saturating_mul(stat.f_frsize)))
    };
    let dirs = [("state", app.config.state_dir.as_path()), ("artifacts", app.config.artifact_dir())];
    let samples = dirs.into_iter().filter_map(|(name, dir)| free(name, dir));
    out.family("swarm_disk_free_bytes", Gauge, "Free bytes on the disk of a directory.", samples);
}

fn passes(app: &App, out: &mut Text) {
    let passes = app.passes.list();
    let label = |name: &str| [("pass", name.to_owned())];
    let ran = passes.iter().map(|p| (label(&p.name), seconds(p.last_run)));
    out.family("swarm_pass_last_run_timestamp_seconds", Gauge, "When a pass last ran.", ran);
    let failing = passes.iter().map(|p| (label(&p.name), u8::from(p.trouble.is_some())));
    out.family("swarm_pass_failing", Gauge, "Whether the last run of a pass failed.", failing);
}

fn sinks(app: &App, out: &mut Text) {
    let sinks = app.notifier.list();
    let label = |name: &str| [("sink", name.to_owned())];
    let waiting = sinks.iter().map(|s| (label(&s.name), s.waiting));
    out.family("swarm_notifications_waiting", Gauge, "Queued messages of a sink.", waiting);
    let failing = sinks.iter().map(|s| (label(&s.name), u8::from(s.failing.is_some())));
    out.family("swarm_notifications_failing", Gauge, "Whether deliveries to a sink fail.", failing);
}

fn seconds(at: TimeMs) -> f64 {
    at.0 as f64 / 1000.0
}
