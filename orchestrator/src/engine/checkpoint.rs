//! The text of a checkpoint: the state as JSON, compressed, because a journal copies the text several times
//! before it is on disk, while every command waits.
//!
//! It stays text, so that an older version, which expects JSON, only replays the events instead.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::io::{self, Read as _};
use swarm_core::Swarm;

/// Begins the compressed form. Older versions stored plain JSON.
const COMPRESSED: &str = "zstd:";

/// The fastest level; a state has many repetitions.
const LEVEL: i32 = 1;

/// The largest state that is restored, in bytes. A damaged checkpoint must not take all memory.
const LARGEST: u64 = 4 << 30;

/// The text of a state.
///
/// # Errors
/// The state cannot be serialised.
pub(super) fn encode(swarm: &Swarm) -> io::Result<String> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    serde_json::to_writer(&mut encoder, swarm)?;
    let mut text = COMPRESSED.to_owned();
    BASE64_STANDARD.encode_string(encoder.finish()?, &mut text);
    Ok(text)
}

/// The state of a text, also of the form of older versions.
///
/// # Errors
/// This version cannot read the text.
pub(super) fn decode(text: &str) -> io::Result<Swarm> {
    let Some(compressed) = text.strip_prefix(COMPRESSED) else { return Ok(serde_json::from_str(text)?) };
    let compressed = BASE64_STANDARD.decode(compressed).map_err(io::Error::other)?;
    let mut json = Vec::new();
    zstd::Decoder::new(&*compressed)?.take(LARGEST).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::Policy;

    #[test]
    fn a_state_is_restored_from_both_forms() {
        let state = Swarm { seq: 7, ..Swarm::new(Policy::default()) };
        let (now, before) = (encode(&state).unwrap(), serde_json::to_string(&state).unwrap());
        for text in [&now, &before] {
            assert_eq!(decode(text).unwrap().seq, 7);
        }
        assert!(serde_json::from_str::<Swarm>(&now).is_err(), "an older version replays the events");
        for damaged in [&now[..now.len() - 8], "zstd:", "zstd:AAAA", "{", ""] {
            assert!(decode(damaged).is_err(), "{damaged}");
        }
    }
}
