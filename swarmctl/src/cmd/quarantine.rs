//! `quarantine`: manages packages that were judged broken or untrustworthy.

use super::effects::{self, DryRun};
use crate::{failure::Failure, output::text::clean, session::Session};
use std::collections::BTreeMap;
use swarm_client::{Client, PackageFilter};
use swarm_common::{
    id::PackageId,
    state::PackageState,
    wire::view::{PackageRow, PackageView},
};

/// Verbs of `quarantine`.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  swarmctl quarantine list\n  swarmctl quarantine release app-misc/wontbuild\n  \
        swarmctl quarantine release --all --dry-run\n  swarmctl quarantine release --all"
)]
pub enum Verb {
    /// List quarantined packages with their reasons
    List,
    /// Release packages from quarantine and retry them
    Release {
        /// Packages: id, name, category/name or category/name-version
        #[arg(required_unless_present = "all")]
        packages: Vec<String>,
        /// Release all quarantined packages of the newest runs
        #[arg(long, conflicts_with = "packages")]
        all: bool,
        /// Whether to only show what would change
        #[command(flatten)]
        dry: DryRun,
    },
}

/// Lists or releases packages.
///
/// # Errors
/// There is no such package, it is not quarantined, or the orchestrator did not answer.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let client = session.client()?;
    match verb {
        Verb::List => {
            let filter = PackageFilter { state: Some(PackageState::Quarantined), ..PackageFilter::default() };
            let rows = client.packages(&filter).await?;
            session.output.show(&rows, |paint| match rows.is_empty() {
                true => "No quarantined packages.\n".to_owned(),
                false => format!(
                    "{}\nExplain one: swarmctl why PACKAGE. Retry it: swarmctl quarantine release PACKAGE\n",
                    super::queue::render(&rows, paint)
                ),
            })
        }
        Verb::Release { packages, all, dry } => {
            if dry.dry_run {
                let mut rows = everything(&client).await?;
                if !all {
                    let mut named = Vec::new();
                    for text in &packages {
                        named.push(session.package(&client, text, None).await?);
                    }
                    rows.retain(|row| named.contains(&row.id));
                }
                return session.would(&effects::released(&rows));
            }
            let released = match all {
                true => confirmed(session, everything(&client).await?)?,
                false => {
                    let mut named = Vec::new();
                    for text in &packages {
                        named.push(session.package(&client, text, None).await?);
                    }
                    named
                }
            };
            let mut changed = Vec::new();
            for package in released {
                session.change(async |key| client.release(package, key).await).await?;
                changed.push(client.package(package).await?);
            }
            session.output.show(&changed, |_| match changed.is_empty() {
                true => "No quarantined packages.\n".to_owned(),
                false => describe(&changed),
            })
        }
    }
}

/// The packages, after the user has confirmed that all of them are to be retried.
fn confirmed(session: &Session, rows: Vec<PackageRow>) -> Result<Vec<PackageId>, Failure> {
    if !rows.is_empty() {
        session.confirm(&format!("Retry all {} quarantined packages?", rows.len()))?;
    }
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// The quarantined packages of each profile's newest run. Those of earlier runs cannot be retried.
async fn everything(client: &Client) -> Result<Vec<PackageRow>, Failure> {
    let filter = PackageFilter { state: Some(PackageState::Quarantined), ..PackageFilter::default() };
    let mut newest = BTreeMap::new();
    for run in client.runs().await? {
        let last = newest.entry(run.profile).or_insert(run.id);
        *last = run.id.max(*last);
    }
    let mut rows = client.packages(&filter).await?;
    rows.retain(|row| newest.values().any(|run| *run == row.run));
    Ok(rows)
}

/// The states of packages after a change, one line each.
pub(super) fn describe(packages: &[PackageView]) -> String {
    packages
        .iter()
        .map(|package| {
            let reason = match package.reason.as_str() {
                "" => String::new(),
                reason => format!(": {}", clean(reason)),
            };
            format!("{} ({}) is {}{reason}\n", clean(&package.title), package.id, package.state)
        })
        .collect()
}
