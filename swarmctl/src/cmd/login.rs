//! `login`: logs in with a copied token. The token is tried before it is saved, and is sent only to a server
//! whose certificate is trusted or was confirmed by the user.

use crate::{config::Connection, failure::Failure, session::Session};
use serde_json::json;
use std::{io::Read, path::PathBuf};
use swarm_client::{Client, ClientError, Trust, Url, parse_address, shown_fingerprint};
use swarm_common::{
    fingerprint::{Fingerprint, Pins},
    secret::Secret,
};
use swarm_daemon::config::secret::read_secret;

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ssh nas sudo cat /var/lib/build-swarm/admin.token | swarmctl login https://nas:8143 --fingerprint sha256:… --token-file -
  swarmctl login https://nas:8143 https://spare:8143 --token-file ./token

A certificate that this machine does not trust is pinned by its fingerprint: at a terminal, swarmctl
asks; otherwise, pass --fingerprint. The orchestrator logs the fingerprint when it starts.")]
pub struct Args {
    /// Addresses of the orchestrators
    #[arg(required = true, value_name = "URL", value_parser = parse_address)]
    addresses: Vec<Url>,
    /// File with the admin token; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

/// Logs in.
///
/// # Errors
/// There is no token, or the orchestrator rejects it.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let token = if args.token_file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(4096)
            .read_to_string(&mut text)
            .map_err(|e| Failure::Failed(format!("cannot read stdin: {e}")))?;
        Secret::new(&text)
    } else {
        read_secret(&args.token_file)?
    };
    if !token.is_well_formed() {
        return Err(Failure::Failed("not a token: expected one line of visible characters".to_owned()));
    }
    let trust = trust(session, &args.addresses).await?;
    keep(session, args.addresses, trust, token).await
}

/// How to verify the servers at these addresses: as given on the command line, by this machine's
/// certificate authorities, or by a fingerprint that the user confirms.
async fn trust(session: &Session, addresses: &[Url]) -> Result<Trust, Failure> {
    let given = session.connection.trust();
    given.check(addresses).map_err(Failure::Usage)?;
    if given != Trust::default() {
        return Ok(given);
    }
    let mut pins = Pins::default();
    for address in addresses.iter().filter(|address| address.scheme() == "https") {
        match Client::new(std::slice::from_ref(address), None)?.key().await {
            Err(e) if e.is_untrusted() => pins.0.push(compared(session, address).await?),
            Err(ClientError::Local(why)) => {
                // This machine has no certificate authorities.
                session.output.say(&format!("note: {why}"));
                pins.0.push(compared(session, address).await?);
            }
            // The login reports any other problem.
            _ => {}
        }
    }
    pins.0.dedup();
    Ok(Trust { pins, ca: None })
}

/// Asks the user to confirm a server's fingerprint.
async fn compared(session: &Session, address: &Url) -> Result<Fingerprint, Failure> {
    let shown = shown_fingerprint(address).await?;
    let what = format!(
        "{address} has a certificate that this machine does not trust: {shown}. The orchestrator logs its \
         fingerprint when it starts and stores it as tls.fingerprint in its state directory."
    );
    if session.yes || !session.can_ask() {
        return Err(Failure::Usage(format!(
            "{what} Compare them; if they match, pass --fingerprint {shown}"
        )));
    }
    session.confirm(&format!("{what}\nDo they match?"))?;
    Ok(shown)
}

/// Tries a connection and saves it.
pub(super) async fn keep(
    session: &Session,
    orchestrators: Vec<Url>,
    trust: Trust,
    token: Secret,
) -> Result<(), Failure> {
    let connection = Connection { orchestrators, trust, token };
    let status = connection.client()?.status().await?;
    let path = session.connection.path()?;
    connection.save(&path)?;
    let address = connection.orchestrators[0].as_str().trim_end_matches('/');
    session.output.show(
        &json!({ "config": path, "orchestrator": address, "version": status.version }),
        |_| {
            format!(
                "Logged in to {address} (Build Swarm {}); saved to {}.\nNext: {}\n",
                status.version,
                path.display(),
                status.next_action.unwrap_or_else(|| "swarmctl status".to_owned())
            )
        },
    )
}
