//! What all commands share: the client, the output, and finding objects by name.

use crate::{config::ConnectionArgs, failure::Failure, output::Output};
use std::io::{IsTerminal, Write};
use swarm_client::{Client, ClientError, IdempotencyKey};
use swarm_common::{
    id::{DroneId, PackageId},
    name::Name,
    wire::view::DroneView,
};

/// One invocation of swarmctl.
#[derive(Debug)]
pub struct Session {
    pub connection: ConnectionArgs,
    pub output: Output,
    /// Whether to skip confirmations (`--yes`).
    pub yes: bool,
    /// Whether to ask no questions (`--no-input`).
    pub no_input: bool,
}

impl Session {
    /// A client with the admin token.
    ///
    /// # Errors
    /// There is no login, or the configuration is invalid.
    pub fn client(&self) -> Result<Client, Failure> {
        self.connection.connection()?.client()
    }

    /// Makes a change with a new idempotency key, so that the request can be repeated safely.
    ///
    /// # Errors
    /// The change was refused, or there was no answer.
    pub async fn change<T>(
        &self,
        send: impl AsyncFn(&IdempotencyKey) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        Ok(send(&IdempotencyKey::random()?).await?)
    }

    /// Whether the user can be asked a question.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        !self.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks for confirmation before something that cannot be undone.
    ///
    /// # Errors
    /// The answer was no, or nobody can be asked.
    pub fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !self.can_ask() {
            return Err(Failure::Usage(format!("{question} There is no terminal to confirm at; pass --yes")));
        }
        let mut terminal = std::io::stderr().lock();
        let asked = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
        let mut answer = String::new();
        asked
            .and_then(|()| std::io::stdin().read_line(&mut answer))
            .map_err(|e| Failure::Failed(format!("cannot read the terminal: {e}")))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::Failed("cancelled".to_owned())),
        }
    }

    /// Prints what a command with `--dry-run` would do.
    ///
    /// # Errors
    /// Writing to stdout failed.
    pub fn would(&self, effects: &[String]) -> Result<(), Failure> {
        let value = serde_json::json!({ "dry_run": true, "would": effects });
        self.output.show(&value, |_| match effects.is_empty() {
            true => "This would change nothing.\n".to_owned(),
            false => {
                format!("This would:\n{}", effects.iter().map(|e| format!("  {e}\n")).collect::<String>())
            }
        })
    }

    /// Asks for confirmation if anybody can be asked. For what can be done again, at a cost: a script
    /// that does it need not say `--yes`.
    ///
    /// # Errors
    /// The answer was no.
    pub fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.can_ask() { self.confirm(question) } else { Ok(()) }
    }

    /// The drone with this id or name.
    ///
    /// # Errors
    /// There is no such drone; the message lists the known ones.
    pub async fn drone(&self, client: &Client, text: &str) -> Result<DroneView, Failure> {
        find_drone(client.drones().await?, text)
    }

    /// The package with this id or name, in the newest run of `profile` or of each profile.
    ///
    /// # Errors
    /// There is no such package, or there are several.
    pub async fn package(
        &self,
        client: &Client,
        text: &str,
        profile: Option<&Name>,
    ) -> Result<PackageId, Failure> {
        match text.parse() {
            Ok(id) => Ok(id),
            Err(_) => Ok(client.why(text, profile).await?.package.id),
        }
    }
}

fn find_drone(drones: Vec<DroneView>, text: &str) -> Result<DroneView, Failure> {
    let id = text.parse::<DroneId>().ok();
    let names: Vec<String> = drones.iter().map(|drone| drone.name.to_string()).collect();
    // A name takes precedence, since a drone may be named `d2`.
    let found = drones
        .iter()
        .position(|drone| drone.name.as_str() == text)
        .or_else(|| drones.iter().position(|drone| Some(drone.id) == id));
    if let Some(at) = found {
        return drones.into_iter().nth(at).ok_or_else(|| Failure::Failed("no such drone".to_owned()));
    }
    let candidates: Vec<&str> = names.iter().map(String::as_str).collect();
    let help = match swarm_daemon::config::nearest(text, &candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "none has enrolled yet; see `swarmctl drone token`".to_owned(),
        None => format!("known drones: {}", names.join(", ")),
    };
    Err(Failure::Failed(format!("no drone `{}`; {help}", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;

    #[test]
    fn a_drone_is_found_by_name_or_id_and_a_typo_is_answered() {
        let drones = || fixtures::status().drones;
        assert_eq!(find_drone(drones(), "oak").unwrap().id, DroneId(1));
        assert_eq!(find_drone(drones(), "d2").unwrap().name.as_str(), "birch");
        let error = find_drone(drones(), "brich").unwrap_err().to_string();
        assert!(error.contains("did you mean `birch`?"), "{error}");
        assert!(find_drone(vec![], "x").unwrap_err().to_string().contains("drone token"));
    }
}
