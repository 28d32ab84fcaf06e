//! `retry`: retries packages.

use crate::{failure::Failure, session::Session};
use swarm_common::name::Name;

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  swarmctl retry app-misc/wontbuild\n  swarmctl retry p12 p13")]
pub struct Args {
    /// Packages: id, name, category/name or category/name-version
    #[arg(required = true)]
    packages: Vec<String>,
    /// Search only the runs of this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
}

/// Retries packages.
///
/// # Errors
/// There is no such package, or its state does not allow it.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let mut changed = Vec::new();
    for text in &args.packages {
        let package = session.package(&client, text, args.profile.as_ref()).await?;
        session.change(async |key| client.retry(package, key).await).await?;
        changed.push(client.package(package).await?);
    }
    session.output.show(&changed, |_| super::quarantine::describe(&changed))
}
