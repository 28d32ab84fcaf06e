//! `init`: logs in with the token that the orchestrator wrote on this machine. The state directory also
//! contains the fingerprint of the certificate, so nobody has to compare it.

use super::login::keep;
use crate::{failure::Failure, session::Session};
use std::path::{Path, PathBuf};
use swarm_client::{Trust, Url, parse_address};
use swarm_common::fingerprint::Pins;
use swarm_daemon::config::secret::read_secret;

/// The default address of an orchestrator on this machine.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8100";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  sudo swarmctl init\n  sudo swarmctl init --address https://nas:8143   \
                  address for other machines; pins its certificate\n  swarmctl init --state-dir ./state \
                  --address http://127.0.0.1:9000")]
pub struct Args {
    /// The orchestrator's state directory, which contains admin.token
    #[arg(long, value_name = "DIR", default_value = "/var/lib/build-swarm")]
    state_dir: PathBuf,
    /// Address of the orchestrator
    #[arg(long, value_name = "URL", value_parser = parse_address, default_value = DEFAULT_ADDRESS)]
    address: Url,
}

/// Logs in.
///
/// # Errors
/// There is no token, or the orchestrator rejects it.
pub async fn run(session: &Session, args: Args) -> Result<(), Failure> {
    let path = args.state_dir.join("admin.token");
    if let Err(e) = std::fs::metadata(&path) {
        let shown = path.display();
        return Err(Failure::Failed(match e.kind() {
            std::io::ErrorKind::NotFound => format!(
                "{shown} does not exist; the orchestrator creates it when it first starts. If its state is \
                 elsewhere, pass --state-dir DIR"
            ),
            std::io::ErrorKind::PermissionDenied => format!(
                "{shown}: permission denied; as your own user, log in with `sudo cat {shown} | swarmctl \
                 login {DEFAULT_ADDRESS} --token-file -`"
            ),
            _ => format!("{shown}: {e}"),
        }));
    }
    let addresses = match session.connection.orchestrator.as_slice() {
        [] => vec![args.address],
        given => given.to_vec(),
    };
    let mut trust = session.connection.trust();
    if trust == Trust::default() && addresses.iter().all(|address| address.scheme() == "https") {
        trust.pins = shown_here(&args.state_dir)?;
    }
    keep(session, addresses, trust, read_secret(&path)?).await
}

/// The fingerprint of the certificate used by the orchestrator on this machine.
fn shown_here(state_dir: &Path) -> Result<Pins, Failure> {
    let path = state_dir.join("tls.fingerprint");
    let wrong = |why: String| {
        Failure::Failed(format!(
            "{}: {why}; was the orchestrator started with `listen` in `[tls]`?",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
    Ok(Pins(vec![text.parse().map_err(|e| wrong(format!("{e}")))?]))
}
