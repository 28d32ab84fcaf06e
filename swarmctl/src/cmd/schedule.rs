//! `schedule`: manages when runs start automatically.

use super::effects::{self, DryRun};
use crate::{
    failure::Failure,
    output::{
        Cell, Paint, Table, Tone,
        text::{ago, clean, moment_in, now, span},
    },
    session::Session,
};
use jiff::tz::TimeZone;
use swarm_common::{
    name::Name,
    time::TimeMs,
    wire::calendar::{DueView, ScheduleRequest, ScheduleView},
};

/// How late the start of a due run must be to be reported, in milliseconds.
const LATE_MS: u64 = 60_000;

/// Verbs of `schedule`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "WHEN is a time as in crontab(5): minute, hour, day of month, month, day of week.

Examples:
  swarmctl schedule set desk \"30 3 * * *\"                         every night at 3:30 in this machine's time zone
  swarmctl schedule set desk \"0 4 * * SAT\" --zone Europe/Berlin   Saturdays at 4:00 in Berlin
  swarmctl schedule set desk \"30 3 * * *\" --off                   store it without starting runs
  swarmctl schedule list
  swarmctl schedule remove desk --dry-run
  swarmctl schedule remove desk")]
pub enum Verb {
    /// Set the schedule of a profile
    Set {
        /// Name of the profile
        profile: Name,
        /// Cron expression, such as "30 3 * * *"
        when: String,
        /// Time zone, such as Europe/Berlin [default: this machine's]
        #[arg(long)]
        zone: Option<String>,
        /// Store the schedule but do not start runs
        #[arg(long)]
        off: bool,
    },
    /// List all schedules with their next runs and the result of the last one
    List,
    /// Remove the schedule of a profile
    Remove {
        /// Name of the profile
        profile: Name,
        /// Whether to only show what would change
        #[command(flatten)]
        dry: DryRun,
    },
}

/// Sets, lists or removes schedules.
///
/// # Errors
/// The orchestrator refused, with an explanation, or did not answer.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let client = session.client()?;
    match verb {
        Verb::Set { profile, when, zone, off } => {
            let zone = match zone {
                Some(zone) => zone,
                None => local_zone()?,
            };
            let request = ScheduleRequest { cron: when, zone, enabled: !off };
            let made = session.change(async |key| client.put_schedule(&profile, &request, key).await).await?;
            session.output.show(&made, |_| describe(&made))
        }
        Verb::List => {
            let schedules = client.schedules().await?;
            session.output.show(&schedules, |paint| match schedules.is_empty() {
                true => "No schedules; see `swarmctl schedule set --help`.\n".to_owned(),
                false => list(&schedules, now(), paint),
            })
        }
        Verb::Remove { profile, dry } => {
            if dry.dry_run {
                let schedules = client.schedules().await?;
                let own = schedules.iter().find(|schedule| schedule.profile == profile);
                return session.would(&own.map(effects::schedule_removed).unwrap_or_default());
            }
            session.ask(&format!("Remove the schedule of {profile}?"))?;
            session.change(async |key| client.remove_schedule(&profile, key).await).await?;
            session.output.show(&serde_json::json!({ "removed": profile }), |_| {
                format!("Removed the schedule of {profile}\n")
            })
        }
    }
}

fn local_zone() -> Result<String, Failure> {
    let zone = TimeZone::system();
    zone.iana_name().map(str::to_owned).ok_or_else(|| {
        Failure::Usage(
            "cannot determine this machine's time zone; pass it, such as --zone Europe/Berlin".to_owned(),
        )
    })
}

fn describe(schedule: &ScheduleView) -> String {
    match schedule.upcoming.first() {
        Some(&next) => {
            format!("Schedule of {} set; next run at {}\n", schedule.profile, moment_in(next, &schedule.zone))
        }
        None => format!("Schedule of {} set but off; no runs are started\n", schedule.profile),
    }
}

fn list(schedules: &[ScheduleView], now: TimeMs, paint: Paint) -> String {
    let mut table = Table::new(&["PROFILE", "WHEN", "ZONE", "NEXT", "LAST", "SUCCEEDED"]);
    for schedule in schedules {
        let next = match schedule.upcoming.first() {
            Some(&next) => moment_in(next, &schedule.zone).into(),
            None => Cell::toned(Tone::Dim, "off"),
        };
        table.row([
            schedule.profile.as_str().into(),
            clean(&schedule.cron).into(),
            clean(&schedule.zone).into(),
            next,
            schedule.last.as_ref().map_or_else(|| "not due yet".into(), |last| became(last, now)),
            schedule.succeeded_at.map_or_else(|| "not yet".to_owned(), |at| ago(now, at)).into(),
        ]);
    }
    table.render(paint)
}

/// The outcome of a due time, as a cell.
fn became(last: &DueView, now: TimeMs) -> Cell {
    let late = last.at.since(last.due);
    let late = if late > LATE_MS { format!(", {} late", span(late)) } else { String::new() };
    match (&last.skipped, last.run, last.state) {
        (Some(why), ..) => Cell::toned(Tone::Warn, format!("skipped {}: {}", ago(now, last.due), clean(why))),
        (None, Some(run), Some(state)) => {
            Cell::toned(state.into(), format!("{run} {state}, {}{late}", ago(now, last.at)))
        }
        (None, Some(run), None) => format!("{run}, {}{late}", ago(now, last.at)).into(),
        (None, None, _) => ago(now, last.at).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures::{NOW, name};
    use swarm_common::{id::RunId, state::RunState};

    fn schedule(profile: &str, last: Option<DueView>) -> ScheduleView {
        ScheduleView {
            profile: name(profile),
            cron: "30 3 * * *".into(),
            zone: "Europe/Berlin".into(),
            enabled: true,
            // 2026-11-22, half past three in Berlin.
            upcoming: vec![TimeMs(1_795_314_600_000)],
            last,
            succeeded_at: None,
        }
    }

    #[test]
    fn schedules_say_when_the_next_run_is_due_and_what_became_of_the_last() {
        let due =
            DueView { due: NOW - 7_200_000, at: NOW - 3_600_000, run: None, state: None, skipped: None };
        let late = DueView { run: Some(RunId(7)), state: Some(RunState::Partial), ..due.clone() };
        let skipped = DueView { skipped: Some("run r6 goes on\x1b[2J".into()), ..due };
        let off = ScheduleView { upcoming: vec![], enabled: false, ..schedule("old", None) };
        let all = [schedule("desk", Some(late)), schedule("den", Some(skipped)), off];
        assert_eq!(
            list(&all, NOW, Paint::new(false)),
            "\
PROFILE  WHEN        ZONE           NEXT                  LAST                                      SUCCEEDED
desk     30 3 * * *  Europe/Berlin  2026-11-22 03:30 CET  r7 partial, 1 h ago, 1 h late             not yet
den      30 3 * * *  Europe/Berlin  2026-11-22 03:30 CET  skipped 2 h ago: run r6 goes on\\u{1b}[2J  not yet
old      30 3 * * *  Europe/Berlin  off                   not due yet                               not yet
"
        );
    }
}
