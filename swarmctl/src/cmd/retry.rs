//! `retry`: retries packages.

use crate::{failure::Failure, session::Session};

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  swarmctl retry app-misc/wontbuild\n  swarmctl retry p12 p13")]
pub struct Args {
    /// Packages: id, name, category/name or category/name-version
    #[arg(required = true)]
    packages: Vec<String>,
}

/// Retries packages.
///
/// # Errors
/// There is no such package, or its state does not allow it.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let client = session.client()?;
    let mut changed = Vec::new();
    for text in &args.packages {
        let package = session.package(&client, text).await?;
        session.change(async |key| client.retry(package, key).await).await?;
        changed.push(client.package(package).await?);
    }
    session.output.show(&changed, |_| super::quarantine::describe(&changed))
}
