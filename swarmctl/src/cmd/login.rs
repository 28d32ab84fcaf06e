//! `login`: log in with a token that somebody copied here. A token is tried before it
//! is kept.

use crate::{config::Connection, failure::Failure, session::Session};
use serde_json::json;
use std::{io::Read, path::PathBuf};
use swarm_common::{
    client::{Client, Url, parse_address},
    config::secret::read_secret,
    secret::Secret,
};

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ssh nas cat /var/lib/build-swarm/admin.token | swarmctl login http://nas:8100 --token-file -
  swarmctl login http://nas:8100 http://spare:8100 --token-file ./token")]
pub struct Args {
    /// Addresses of the orchestrators
    #[arg(required = true, value_name = "URL", value_parser = parse_address)]
    addresses: Vec<Url>,
    /// File with the admin token; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

/// Logs in.
///
/// # Errors
/// There is no token, or the orchestrator does not take it.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let token = if args.token_file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(4096)
            .read_to_string(&mut text)
            .map_err(|e| Failure::Failed(format!("stdin cannot be read: {e}")))?;
        Secret::new(&text)
    } else {
        read_secret(&args.token_file)?
    };
    if !token.is_well_formed() {
        return Err(Failure::Failed(
            "what was given is not a token: it is one line of visible characters".to_owned(),
        ));
    }
    keep(session, args.addresses, token).await
}

/// Tries a connection and keeps it.
pub(super) async fn keep(session: &Session, orchestrators: Vec<Url>, token: Secret) -> Result<(), Failure> {
    let status = Client::new(&orchestrators, Some(token.clone()))?.status().await?;
    let path = session.connection.path()?;
    let connection = Connection { orchestrators, token };
    connection.save(&path)?;
    let address = connection.orchestrators[0].as_str().trim_end_matches('/');
    session.output.show(
        &json!({ "config": path, "orchestrator": address, "version": status.version }),
        |_| {
            format!(
                "Logged in to {address} (Build Swarm {}); kept in {}.\nNext: {}\n",
                status.version,
                path.display(),
                status.next_action.unwrap_or_else(|| "swarmctl status".to_owned())
            )
        },
    )
}
