//! `quarantine`: manages packages that were judged broken or untrustworthy.

use crate::{failure::Failure, output::text::clean, session::Session};
use swarm_common::{client::PackageFilter, state::PackageState, wire::view::PackageView};

/// Verbs of `quarantine`.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  swarmctl quarantine list\n  swarmctl quarantine release app-misc/wontbuild"
)]
pub enum Verb {
    /// List quarantined packages with the reasons
    List,
    /// Release packages from quarantine and retry them
    Release {
        /// Packages: id, name, category/name or category/name-version
        #[arg(required = true)]
        packages: Vec<String>,
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
        Verb::Release { packages } => {
            let mut changed = Vec::new();
            for text in &packages {
                let package = session.package(&client, text).await?;
                session.change(async |key| client.release(package, key).await).await?;
                changed.push(client.package(package).await?);
            }
            session.output.show(&changed, |_| told(&changed))
        }
    }
}

/// The states of packages after a change.
pub(super) fn told(packages: &[PackageView]) -> String {
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
