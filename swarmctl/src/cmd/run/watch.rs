//! Watches a run: prints changes as lines, and on a terminal also a progress bar with the predicted end. The
//! orchestrator may restart meanwhile.

use super::show::{is_nix, show};
use crate::{
    failure::{FAILED, Failure},
    output::{
        Paint, Tone, progress,
        text::{clean, now, span},
    },
    patience::Patience,
    session::Session,
};
use indicatif::ProgressBar;
use std::{collections::HashMap, time::Duration};
use swarm_client::{Client, ClientError, EventStream, PackageFilter};
use swarm_common::{
    id::{PackageId, RunId},
    state::{PackageState, RunState},
    time::TimeMs,
    wire::view::{PackageRow, RunView},
};

/// The minimum delay between polls. It is longer for long lists.
const PAUSE: Duration = Duration::from_millis(100);
/// The delay between polls while no events arrive.
const LONG_PAUSE: Duration = Duration::from_secs(2);

/// Watches a run until it ends.
///
/// # Errors
/// There is no such run, or the orchestrator does not answer. [`Failure::Silent`] if not every package
/// was received.
pub async fn watch(session: &Session, client: &Client, run: RunId) -> Result<(), Failure> {
    let bar = progress::bar(session.output.live, "{bar:30.cyan} {pos}/{len}  {wide_msg}");
    let filter = PackageFilter { run: Some(run), ..PackageFilter::default() };
    let mut seen = Seen::default();
    let mut changes = Changes::default();
    let mut patience = Patience::default();
    let say = |text: &str| bar.suspend(|| session.output.say(text));
    loop {
        // Read the run first: if it is over, the packages read after it are final as well.
        let looked =
            async { Ok::<_, ClientError>((client.run(run).await?, client.packages(&filter).await?)) };
        let (view, rows) = match looked.await {
            Ok(looked) => looked,
            Err(error) => {
                patience.wait(error, say).await?;
                continue;
            }
        };
        patience.answered(say);
        let lines = seen.changes(&view, &rows, session.output.paint);
        if !session.output.json && !lines.is_empty() {
            bar.suspend(|| session.output.print(&lines.concat()))?;
        }
        move_bar(&bar, &view, &rows);
        if view.state.is_over() {
            bar.finish_and_clear();
            session.output.show(&view, |paint| show(&view, paint))?;
            return match view.state {
                RunState::Succeeded => Ok(()),
                _ => Err(Failure::Silent(FAILED)),
            };
        }
        changes.wait(client, PAUSE + Duration::from_millis(rows.len() as u64)).await;
    }
}

/// The orchestrator's events, used only as a signal that something changed.
#[derive(Default)]
struct Changes {
    events: Option<EventStream>,
}

impl Changes {
    /// Waits for a change, at least for `least` and at most for [`LONG_PAUSE`].
    async fn wait(&mut self, client: &Client, least: Duration) {
        if self.events.is_none() {
            // The next poll covers what happened before the stream began. Without a stream, polling continues
            // at intervals and reports the reason if the orchestrator is unreachable.
            self.events = client.events(None).await.ok();
            return tokio::time::sleep(if self.events.is_some() { least } else { LONG_PAUSE }).await;
        }
        if tokio::time::timeout(LONG_PAUSE, self.next()).await.is_ok() {
            // The same poll covers changes that follow at once.
            let _ = tokio::time::timeout(least, async {
                loop {
                    self.next().await
                }
            })
            .await;
        }
    }

    /// Waits for the next event. Never returns if the stream has ended.
    async fn next(&mut self) {
        if let Some(events) = &mut self.events
            && !matches!(events.next().await, Ok(Some(_)))
        {
            self.events = None;
        }
        if self.events.is_none() {
            std::future::pending().await
        }
    }
}

/// The states seen by the last poll.
#[derive(Debug, Default)]
struct Seen {
    run: Option<RunState>,
    packages: HashMap<PackageId, (PackageState, Option<String>)>,
    problems: bool,
}

impl Seen {
    /// Describes the changes since the last poll.
    fn changes(&mut self, run: &RunView, rows: &[PackageRow], paint: Paint) -> Vec<String> {
        let mut lines = Vec::new();
        if self.run.replace(run.state) != Some(run.state) && !run.state.is_over() {
            let reason =
                run.reason.as_deref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
            lines.push(format!("{} is {}{reason}\n", run.id, run.state));
        }
        if !run.problems.is_empty() && !std::mem::replace(&mut self.problems, true) {
            let who = if is_nix(run) { "Nix failed to evaluate" } else { "the resolver rejected" };
            lines.push(format!("{who} {}; see `swarmctl run show {}`\n", run.problems.len(), run.id));
        }
        let first_look = self.packages.is_empty();
        if first_look && !rows.is_empty() {
            lines.push(format!("{} packages\n", rows.len()));
        }
        for row in rows {
            let drone = row.drone.as_ref().map(ToString::to_string);
            let before = self.packages.insert(row.id, (row.state, drone.clone()));
            let (old, old_drone) = before.clone().unwrap_or((PackageState::Blocked, None));
            let unchanged = old == row.state && (row.state != PackageState::Delegated || old_drone == drone);
            // The bar includes packages that were received before the first poll.
            if unchanged || (first_look && row.state == PackageState::Received) {
                continue;
            }
            let about = match row.state {
                PackageState::Delegated => drone.unwrap_or_default(),
                PackageState::Received => old_drone.unwrap_or_default(),
                PackageState::Quarantined => clean(&row.reason),
                // The package was returned after a failed attempt.
                PackageState::Needed if old == PackageState::Delegated => clean(&row.reason),
                _ => continue,
            };
            let word = paint.tone(row.state.into(), &format!("{:<11}", row.state));
            lines.push(
                format!("{word} {}  {}", clean(&row.title), paint.tone(Tone::Dim, &about))
                    .trim_end()
                    .to_owned()
                    + "\n",
            );
        }
        lines
    }
}

fn move_bar(bar: &ProgressBar, run: &RunView, rows: &[PackageRow]) {
    bar.set_length(rows.len() as u64);
    bar.set_position(rows.iter().filter(|row| row.state.is_final()).count() as u64);
    bar.set_message(message(run, rows, now()));
}

/// The text next to the progress bar.
fn message(run: &RunView, rows: &[PackageRow], now: TimeMs) -> String {
    let busy: Vec<&str> = rows
        .iter()
        .filter(|row| row.state == PackageState::Delegated)
        .map(|row| row.title.as_str())
        .collect();
    let mut parts = Vec::new();
    if let Some(eta) = run.eta {
        parts.push(format!("done in about {}", span(eta.since(now))));
    }
    match busy.as_slice() {
        [] => parts.push(run.state.to_string()),
        [one] => parts.push(clean(one)),
        [first, rest @ ..] => parts.push(format!("{} and {} more", clean(first), rest.len())),
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;

    fn row(id: u64, state: PackageState, drone: Option<&str>) -> PackageRow {
        PackageRow {
            id: PackageId(id),
            run: RunId(7),
            title: format!("app-misc/a{id}-1"),
            state,
            reason: "because\x1b".into(),
            drone: drone.map(fixtures::name),
            phase: None,
            attempts: 1,
        }
    }

    #[test]
    fn each_change_is_told_once() {
        use PackageState::*;
        let (run, paint) = (fixtures::run(), Paint::new(false));
        let mut seen = Seen::default();
        let first = seen.changes(&run, &[row(1, Delegated, Some("oak")), row(2, Received, None)], paint);
        assert_eq!(
            first,
            [
                "r7 is building\n",
                "the resolver rejected 1; see `swarmctl run show r7`\n",
                "2 packages\n",
                "delegated   app-misc/a1-1  oak\n"
            ]
        );
        let second = seen.changes(&run, &[row(1, Received, None), row(2, Received, None)], paint);
        assert_eq!(second, ["received    app-misc/a1-1  oak\n"]);
        let third = seen.changes(&run, &[row(1, Received, None), row(2, Quarantined, None)], paint);
        assert_eq!(third, ["quarantined app-misc/a2-1  because\\u{1b}\n"]);
        assert!(seen.changes(&run, &[row(1, Received, None), row(2, Quarantined, None)], paint).is_empty());
    }

    #[test]
    fn the_bar_says_what_is_built_and_when_it_ends() {
        let rows = [row(1, PackageState::Delegated, None), row(2, PackageState::Delegated, None)];
        let text = message(&fixtures::run(), &rows, fixtures::NOW);
        assert_eq!(text, "done in about 5 min, app-misc/a1-1 and 1 more");
    }
}
