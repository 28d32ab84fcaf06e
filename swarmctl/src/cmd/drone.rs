//! `drone`: manages the machines that build. Drones are given by name or id.

use super::{
    client::is_local,
    effects::{self, DryRun},
};
use crate::{
    config::Connection,
    failure::Failure,
    output::{
        Cell, Paint, Table, Tone,
        text::{ago, clean, now, size, span},
    },
    session::Session,
};
use serde_json::json;
use swarm_common::{
    state::DroneState,
    wire::{admin::EnrolTokenRequest, view::DroneView},
};

/// Verbs of `drone`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  swarmctl drone token --approved        let one machine join
  swarmctl drone list
  swarmctl drone approve oak
  swarmctl drone drain oak               before maintenance
  swarmctl drone resume oak              after maintenance, or after the cause of grounding is fixed
  swarmctl drone protect nas             never reboot this machine automatically
  swarmctl drone unprotect nas
  swarmctl drone confirm-reboot oak
  swarmctl drone remove oak --dry-run    show what would change
  swarmctl drone remove oak")]
pub enum Verb {
    /// List all drones
    List,
    /// Approve an enrolled machine for work
    Approve {
        /// Names or ids of drones
        #[arg(required = true)]
        drones: Vec<String>,
    },
    /// Give a drone no new work; it finishes its running builds
    Drain {
        /// Names or ids of drones
        #[arg(required = true)]
        drones: Vec<String>,
    },
    /// Give a drained, grounded or lost drone work again
    Resume {
        /// Names or ids of drones
        #[arg(required = true)]
        drones: Vec<String>,
    },
    /// Never reboot a drone's machine automatically
    Protect {
        /// Names or ids of drones
        #[arg(required = true)]
        drones: Vec<String>,
    },
    /// Allow automatic reboots of a drone's machine again
    Unprotect {
        /// Names or ids of drones
        #[arg(required = true)]
        drones: Vec<String>,
    },
    /// Approve the reboot of a silent drone's machine after restarts of its service have failed
    ConfirmReboot {
        /// Names or ids of drones
        #[arg(required = true)]
        drones: Vec<String>,
    },
    /// Remove a drone and revoke its credential
    Remove {
        /// Names or ids of drones
        #[arg(required = true)]
        drones: Vec<String>,
        /// Whether to only show what would change
        #[command(flatten)]
        dry: DryRun,
    },
    /// Create a token with which one machine can enrol
    Token {
        /// How long the token is valid, such as 30min, 2h or 1d
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_span)]
        valid: u64,
        /// Approve the drone that enrols with it
        #[arg(long)]
        approved: bool,
    },
}

/// Lists or changes drones.
///
/// # Errors
/// There is no such drone, or the orchestrator refused or did not answer.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let client = session.client()?;
    let names = match &verb {
        Verb::List => {
            let drones = client.drones().await?;
            return session.output.show(&drones, |paint| match drones.is_empty() {
                true => "No drone has enrolled yet; create a token with `swarmctl drone token`.\n".to_owned(),
                false => render(&drones, paint),
            });
        }
        Verb::Token { valid, approved } => return token(session, *valid, *approved).await,
        Verb::Approve { drones }
        | Verb::Drain { drones }
        | Verb::Resume { drones }
        | Verb::Protect { drones }
        | Verb::Unprotect { drones }
        | Verb::ConfirmReboot { drones }
        | Verb::Remove { drones, .. } => drones,
    };
    // All names are resolved before any drone is changed, so that a typo changes nothing.
    let mut found = Vec::new();
    for name in names {
        found.push(session.drone(&client, name).await?);
    }
    if let Verb::Remove { dry, .. } = &verb {
        if dry.dry_run {
            return session.would(&effects::drones_removed(&found));
        }
        let list: Vec<&str> = found.iter().map(|drone| drone.name.as_str()).collect();
        session.confirm(&format!("Remove {} and revoke the credential?", list.join(", ")))?;
    }
    for drone in &found {
        let id = drone.id;
        match &verb {
            Verb::Approve { .. } => session.change(async |key| client.approve_drone(id, key).await).await?,
            Verb::Drain { .. } => session.change(async |key| client.drain_drone(id, key).await).await?,
            Verb::Resume { .. } => session.change(async |key| client.resume_drone(id, key).await).await?,
            Verb::Protect { .. } => session.change(async |key| client.protect_drone(id, key).await).await?,
            Verb::Unprotect { .. } => {
                session.change(async |key| client.unprotect_drone(id, key).await).await?
            }
            Verb::ConfirmReboot { .. } => {
                session.change(async |key| client.confirm_reboot(id, key).await).await?
            }
            Verb::Remove { .. } => session.change(async |key| client.remove_drone(id, key).await).await?,
            Verb::List | Verb::Token { .. } => {}
        }
    }
    let now: Vec<DroneView> =
        client.drones().await?.into_iter().filter(|drone| found.iter().any(|f| f.id == drone.id)).collect();
    session.output.show(&now, |_| {
        found
            .iter()
            .map(|drone| match now.iter().find(|n| n.id == drone.id) {
                Some(n) => format!("{} is {}{}{}\n", n.name, n.state, prefixed(": ", &why(n)), shield(n)),
                None => format!("Removed {}\n", drone.name),
            })
            .collect()
    })
}

async fn token(session: &Session, valid_ms: u64, approved: bool) -> Result<(), Failure> {
    let client = session.client()?;
    let request = EnrolTokenRequest { valid_ms, approved };
    let token = session.change(async |key| client.make_enrol_token(&request, key).await).await?.token;
    let connection = session.connection.connection()?;
    if session.output.json {
        let addresses: Vec<&str> =
            connection.orchestrators.iter().map(|url| url.as_str().trim_end_matches('/')).collect();
        return session.output.json(&json!({
            "token": token, "valid_ms": valid_ms, "approved": approved,
            "orchestrators": addresses, "fingerprint": connection.trust.pins,
        }));
    }
    // Only the token goes to stdout, so that it can be redirected into a file.
    session.output.print(&format!("{}\n", clean(&token)))?;
    session.output.say(&format!(
        "Valid for one machine, for {}. Put it into the file set as `token_file` in the drone's \
         configuration, next to these lines:\n{}{}",
        span(valid_ms),
        drone_lines(&connection)?,
        if approved { "" } else { "After it has enrolled: swarmctl drone approve NAME" }
    ));
    Ok(())
}

/// The lines of a drone's configuration that name the orchestrators, with the addresses that swarmctl uses.
fn drone_lines(connection: &Connection) -> Result<String, Failure> {
    let quoted = |text: &dyn std::fmt::Display| format!("\"{text}\"");
    let addresses: Vec<String> =
        connection.orchestrators.iter().map(|url| quoted(&url.as_str().trim_end_matches('/'))).collect();
    let mut text = format!("  orchestrators = [{}]\n", addresses.join(", "));
    match connection.trust.pins.0.iter().map(|pin| quoted(pin)).collect::<Vec<_>>().as_slice() {
        [] => {}
        [pin] => text.push_str(&format!("  fingerprint = {pin}\n")),
        pins => text.push_str(&format!("  fingerprint = [{}]\n", pins.join(", "))),
    }
    if let Some(ca) = &connection.trust.ca {
        text.push_str(&format!("  ca = \"{}\"    # copy this file to the drone\n", ca.display()));
    }
    if connection.orchestrators.iter().any(is_local) {
        text.push_str(
            "  (That address is only reachable from this machine. For others, log in with an address that \
             they can reach and repeat: swarmctl init --address https://NAME:8143)\n",
        );
    }
    Ok(text)
}

/// The reason for a drone's state, and what healing does about it.
fn why(drone: &DroneView) -> String {
    match &drone.healing {
        None => clean(&drone.reason),
        Some(healing) => format!("{}; {}", clean(&drone.reason), clean(healing)),
    }
}

fn prefixed(prefix: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{prefix}{text}") }
}

fn shield(drone: &DroneView) -> &'static str {
    if drone.protected { " (protected)" } else { "" }
}

fn render(drones: &[DroneView], paint: Paint) -> String {
    let mut table = Table::new(&[
        "ID", "NAME", "STATE", "CORES", "MEMORY", "SLOTS", "SPEED", "STRIKES", "VERSION", "DOES",
    ]);
    if paint.wide {
        table.widen(&["SEEN", "FREE MEMORY", "FREE DISK", "IMAGES", "NIX", "PROFILES"]);
    }
    for drone in drones {
        let works = drone.working_on.iter().map(|work| format!("{}: {}", clean(&work.title), work.phase));
        let works: Vec<String> = works.collect();
        let does = match works.as_slice() {
            [] if drone.state == DroneState::Online => "idle".to_owned(),
            [] => why(drone),
            works => works.join(", "),
        };
        let strikes = match drone.strikes {
            0 => Cell::from("0"),
            n => Cell::toned(Tone::Warn, n),
        };
        let cells = [
            drone.id.to_string().into(),
            drone.name.as_str().into(),
            Cell::toned(drone.state.into(), drone.state),
            drone.facts.cores.to_string().into(),
            size(drone.facts.memory_bytes).into(),
            drone.facts.slots.to_string().into(),
            format!("{:.2}", drone.speed).into(),
            strikes,
            clean(&drone.facts.version).into(),
            format!("{does}{}", shield(drone)).into(),
        ];
        table.row(cells.into_iter().chain(paint.wide.then(|| more(drone)).into_iter().flatten()));
    }
    table.render(paint)
}

/// The cells of the additional columns.
fn more(drone: &DroneView) -> [Cell; 6] {
    let or_none = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
    let names: Vec<&str> = drone.facts.profiles.iter().map(|name| name.as_str()).collect();
    [
        or_none(drone.last_seen.map(|at| ago(now(), at))),
        or_none(drone.vitals.map(|vitals| size(vitals.memory_free_bytes))),
        or_none(drone.vitals.map(|vitals| size(vitals.disk_free_bytes))),
        or_none(drone.facts.images.as_deref().map(clean)),
        or_none(drone.facts.nix.as_deref().map(clean)),
        if names.is_empty() { "all".into() } else { names.join(" ").into() },
    ]
}

/// Parses a duration (a number and `s`, `min`, `h` or `d`) into milliseconds.
pub(super) fn parse_span(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number with s, min, h or d, such as 30min".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_s: u64 = match &text[digits.len()..] {
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(unit_s * 1000).filter(|&ms| ms > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::fixtures;

    #[test]
    fn spans_are_read_with_their_unit_only() {
        assert_eq!(parse_span("30min"), Ok(1_800_000));
        assert_eq!(parse_span("2h"), Ok(7_200_000));
        assert_eq!(parse_span("1d"), Ok(86_400_000));
        for bad in ["", "30", "h", "0s", "-1h", "1w", "99999999999999999d", "1.5h", "ü"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn drones_are_listed_one_a_line() {
        let text = render(&fixtures::status().drones, Paint::new(false));
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("d1  oak"), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
        let wide = render(&fixtures::status().drones, Paint::new(false).widened(true));
        let head = wide.lines().next().unwrap();
        assert!(head.ends_with("PROFILES") && !text.contains("FREE DISK"), "{wide}");
        assert!(wide.lines().nth(1).unwrap().contains("40.0 GiB"), "{wide}");
    }
}
