//! SSH with known host keys only and a time limit on every operation, because russh itself waits
//! forever. This is the only module that depends on russh.

use super::remote::{Ended, Fault, Remote, Script, Session};
use crate::config::Host;
use russh::{
    ChannelMsg, Preferred,
    client::{self, Handle},
    keys::{
        Algorithm, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, decode_secret_key,
        known_hosts::known_host_keys_path,
    },
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use swarm_common::state::HealOutcome;
use swarm_daemon::config::secret::read_private;
use tokio::{net::TcpStream, time::timeout};

/// How many bytes of a command's output and errors to keep.
const KEPT: usize = 4096;

/// Inactivity after which an abandoned connection is closed.
const IDLE: Duration = Duration::from_secs(180);

#[derive(Debug, Clone)]
pub struct Ssh {
    pub known_hosts: PathBuf,
    pub key_file: PathBuf,
    /// Time limit for connecting and logging in.
    pub connect: Duration,
    /// Time limit for one command.
    pub exec: Duration,
}

pub struct SshSession {
    handle: Handle<Verifier>,
    place: String,
    exec: Duration,
}

/// Compares a machine's host key with the known keys.
struct Verifier {
    known: Vec<PublicKey>,
    place: String,
    known_hosts: PathBuf,
    /// Why the key was rejected, for the caller that connects.
    refused: Arc<Mutex<Option<Fault>>>,
}

impl client::Handler for Verifier {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let (place, file) = (&self.place, self.known_hosts.display());
        let fault = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.known.contains(key) => return Ok(true),
            PublicKeyOrCertificate::PublicKey { key, .. }
                if self.known.iter().any(|known| known.algorithm() == key.algorithm()) =>
            {
                Fault::new(
                    HealOutcome::ChangedKey,
                    format!(
                        "the host key of {place} does not match {file}; if the machine was reinstalled, \
                         put the new key there"
                    ),
                )
            }
            _ => Fault::new(
                HealOutcome::UnknownKey,
                format!("the host key of {place} is not in {file}; `ssh-keyscan` shows it"),
            ),
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        Ok(false)
    }
}

impl Remote for Ssh {
    type Session = SshSession;

    async fn open(&self, host: &Host) -> Result<SshSession, Fault> {
        let place = format!("{}:{}", host.address, host.port);
        match timeout(self.connect, self.login(host, &place)).await {
            Ok(opened) => opened,
            Err(_) => {
                let within = self.connect.as_secs_f32();
                let detail = format!("{place} did not complete the login within {within} s");
                Err(Fault::new(HealOutcome::TimedOut, detail))
            }
        }
    }
}

impl Ssh {
    async fn login(&self, host: &Host, place: &str) -> Result<SshSession, Fault> {
        let key = self.key()?;
        let known = known_keys(&host.address, host.port, &self.known_hosts)?;
        let socket = TcpStream::connect((host.address.as_str(), host.port)).await;
        let socket = socket.map_err(|error| unreached(place, &error))?;
        let refused = Arc::new(Mutex::new(None));
        let config = client::Config {
            inactivity_timeout: Some(IDLE),
            preferred: preferring(&known),
            ..client::Config::default()
        };
        let verifier = Verifier {
            known,
            place: place.to_owned(),
            known_hosts: self.known_hosts.clone(),
            refused: refused.clone(),
        };
        let mut handle =
            client::connect_stream(Arc::new(config), socket, verifier).await.map_err(|error| {
                let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
                refused.unwrap_or_else(|| {
                    Fault::new(HealOutcome::Refused, format!("cannot negotiate SSH with {place}: {error}"))
                })
            })?;
        let broke = |error: russh::Error| {
            Fault::new(HealOutcome::Refused, format!("{place} closed the connection during login: {error}"))
        };
        let hash = handle.best_supported_rsa_hash().await.map_err(broke)?.flatten();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        let accepted = handle.authenticate_publickey(&host.user, key).await.map_err(broke)?;
        if !accepted.success() {
            return Err(Fault::new(
                HealOutcome::LoginDenied,
                format!(
                    "{}@{place} does not accept the key {}; put its public half into authorized_keys there",
                    host.user,
                    self.key_file.display()
                ),
            ));
        }
        Ok(SshSession { handle, place: place.to_owned(), exec: self.exec })
    }

    fn key(&self) -> Result<russh::keys::PrivateKey, Fault> {
        let denied = |what: String| Fault::new(HealOutcome::LoginDenied, what);
        let path = &self.key_file;
        let text = read_private(path).map_err(|error| {
            denied(format!("{error}; `ssh-keygen -t ed25519 -N \"\" -f {}` creates a key", path.display()))
        })?;
        decode_secret_key(&text, None).map_err(|error| {
            denied(format!("{}: not a private key without a passphrase: {error}", path.display()))
        })
    }
}

fn known_keys(address: &str, port: u16, file: &Path) -> Result<Vec<PublicKey>, Fault> {
    let keys = known_host_keys_path(address, port, file).map_err(|error| {
        let what = format!("{}: cannot read the host keys of {address}: {error}", file.display());
        Fault::new(HealOutcome::UnknownKey, what)
    })?;
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// Machines have host keys of several types: prefer the types that are known.
fn preferring(known: &[PublicKey]) -> Preferred {
    let preferred = Preferred::default();
    let (first, rest): (Vec<Algorithm>, Vec<Algorithm>) =
        preferred.key.iter().cloned().partition(|kind| known.iter().any(|key| key.algorithm() == *kind));
    Preferred { key: first.into_iter().chain(rest).collect::<Vec<_>>().into(), ..preferred }
}

fn unreached(place: &str, error: &io::Error) -> Fault {
    let outcome = match error.kind() {
        io::ErrorKind::TimedOut => HealOutcome::TimedOut,
        _ => HealOutcome::Refused,
    };
    Fault::new(outcome, format!("cannot reach {place}: {error}"))
}

impl Session for SshSession {
    async fn run(&mut self, script: Script) -> Result<Ended, Fault> {
        match timeout(self.exec, self.exec(script)).await {
            Ok(Ok(Some(ended))) => Ok(ended),
            Ok(Ok(None)) => Err(self.cut_off("the connection was closed")),
            Ok(Err(error)) => Err(self.cut_off(&error.to_string())),
            Err(_) => {
                let within = self.exec.as_secs_f32();
                let detail = format!("{}: the command did not finish within {within} s", self.place);
                Err(Fault::new(HealOutcome::Hung, detail))
            }
        }
    }
}

impl SshSession {
    /// Runs a command. Returns `None` if the channel closed before the exit status arrived.
    async fn exec(&mut self, script: Script) -> Result<Option<Ended>, russh::Error> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, script.text()).await?;
        let (mut code, mut output, mut errors) = (None, Vec::new(), Vec::new());
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => keep(&mut output, &data),
                ChannelMsg::ExtendedData { data, .. } => keep(&mut errors, &data),
                ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
                // Shells report a signal as an exit code above 128.
                ChannelMsg::ExitSignal { .. } => code = Some(128),
                _ => {}
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(code.map(|code| Ended { code, output: text(&output), errors: text(&errors) }))
    }

    fn cut_off(&self, why: &str) -> Fault {
        Fault::new(
            HealOutcome::CutOff,
            format!("{}: the connection was lost while the command ran: {why}", self.place),
        )
    }
}

fn keep(kept: &mut Vec<u8>, data: &[u8]) {
    let room = KEPT.saturating_sub(kept.len()).min(data.len());
    kept.extend_from_slice(&data[..room]);
}
