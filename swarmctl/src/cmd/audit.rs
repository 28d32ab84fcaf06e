//! `audit verify`: whether everything that the orchestrator keeps is whole.

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
pub enum Verb {
    /// Read everything that is kept, mend what can be, and name the rest; exit code 1 if there is any
    Verify,
}

/// Verifies.
///
/// # Errors
/// The orchestrator did not answer; silently, if something is wrong.
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
            out.push_str(&format!("{}\n", paint.tone(Tone::Good, "Everything is whole.")));
        }
        out
    })?;
    if audit.faults.is_empty() { Ok(()) } else { Err(Failure::Silent(FAILED)) }
}
