//! `queue`: lists the packages of a run, or of all active runs, with the reasons for their states.

use crate::{
    failure::Failure,
    output::{Cell, Paint, Table, text::clean},
    session::Session,
};
use swarm_client::PackageFilter;
use swarm_common::{id::RunId, state::PackageState, wire::view::PackageRow};

/// Arguments of `queue`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  swarmctl queue --state delegated\n  swarmctl queue --run r7 icu")]
pub struct Args {
    /// Only packages whose name contains this text
    name: Option<String>,
    /// Only packages in this state: blocked, needed, delegated, received, quarantined, cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<PackageState>,
    /// Only packages of this run, such as r7
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
}

/// Lists packages.
///
/// # Errors
/// The orchestrator did not answer.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let filter = PackageFilter { run: args.run, state: args.state, name: args.name };
    let rows = session.client()?.packages(&filter).await?;
    session.output.show(&rows, |paint| match rows.is_empty() {
        true => "No packages.\n".to_owned(),
        false => render(&rows, paint),
    })
}

pub(super) fn render(rows: &[PackageRow], paint: Paint) -> String {
    let mut table = Table::new(&["ID", "RUN", "PACKAGE", "STATE", "TRIES", "WHY"]);
    for row in rows {
        let why = match (&row.drone, row.phase) {
            (Some(drone), Some(phase)) => format!("{drone}: {phase}"),
            _ => clean(&row.reason),
        };
        table.row([
            row.id.to_string().into(),
            row.run.to_string().into(),
            clean(&row.title).into(),
            Cell::toned(row.state.into(), row.state),
            match row.attempts {
                0 => "".into(),
                n => n.to_string().into(),
            },
            why.into(),
        ]);
    }
    table.render(paint)
}
