//! `audit verify`: checks the integrity of everything that the orchestrator stores.

use crate::{
    failure::{FAILED, Failure},
    output::{
        Tone,
        text::{clean, count},
    },
    session::Session,
};

/// Verbs of `audit`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  swarmctl audit verify")]
pub enum Verb {
    /// Check all stored data, repair what can be repaired and report the rest; exits with 1 if anything is damaged
    Verify,
}

/// Runs the check and prints its result.
///
/// # Errors
/// The orchestrator did not answer. [`Failure::Silent`] if something is damaged.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let Verb::Verify = verb;
    let audit = session.client()?.audit().await?;
    session.output.show(&audit, |paint| {
        let mut out = format!(
            "Checked {} and {}; the journal's head is {}\n",
            count(audit.events, "event"),
            count(audit.artifacts, "artifact"),
            audit.head
        );
        for fault in &audit.faults {
            out.push_str(&format!("  {} {}\n", paint.tone(Tone::Bad, "!"), clean(fault)));
        }
        for what in &audit.mended {
            out.push_str(&format!("  {} {}\n", paint.tone(Tone::Good, "+"), clean(what)));
        }
        if audit.faults.is_empty() {
            out.push_str(&format!("{}\n", paint.tone(Tone::Good, "No damage found.")));
        }
        out
    })?;
    if audit.faults.is_empty() { Ok(()) } else { Err(Failure::Silent(FAILED)) }
}
