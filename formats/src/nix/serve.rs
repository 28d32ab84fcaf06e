//! The serve protocol of `nix-store --serve`, which Nix uses between machines over SSH. Here, one request builds
//! a derivation and asks what was registered for its outputs. A process answers any number of requests.
//!
//! Unlike `nix-store --realise`, this needs the inputs of the derivation in the store, but neither the derivation
//! nor those that it depends on. Nix then cannot build anything else either.
//!
//! Source: `serve-protocol.hh` and the commands of `nix-store.cc` in Nix 2.8 to 2.34. Numbers have 64 bits in
//! little-endian order; a string is its length, its bytes, and zeros up to the next multiple of 8.

use super::{derivation::Derivation, store_path::StoreDir, store_path::StorePath};

const CLIENT_MAGIC: u64 = 0x390c_9deb;
const SERVER_MAGIC: u64 = 0x5452_eecb;
/// Version 2.6, in which results contain times and realisations. Nix 2.8 sends the latter to older clients too.
const VERSION: u64 = 0x0206;
const QUERY_PATH_INFOS: u64 = 2;
const BUILD_DERIVATION: u64 = 8;

/// The maximum size of a response in bytes. The longest parts are error messages and references; a path that refers
/// to 50,000 others takes that much.
pub const MAX_RESPONSE: usize = 4 << 20;

/// Length of a greeting in bytes.
pub const GREETING: usize = 16;

/// What a client sends first.
#[must_use]
pub fn greeting() -> Vec<u8> {
    [CLIENT_MAGIC, VERSION].into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Whether this is the greeting of a Nix that understands [`request`].
#[must_use]
pub fn is_greeting(bytes: &[u8]) -> bool {
    let mut from = Reader(bytes);
    from.number() == Some(SERVER_MAGIC) && from.number().is_some_and(|version| version >= VERSION)
}

/// How a build ended, from `build-result.hh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStatus {
    Built,
    /// The builder failed, or left something that Nix does not register.
    Failed,
    /// An output has another hash than the derivation says, refers to what it must not, or is missing.
    OutputRejected,
    TimedOut,
    /// The output differs from that of an earlier build.
    NotDeterministic,
    /// A failure that may be temporary, also that of a builder with network access.
    Other,
}

impl BuildStatus {
    fn of(number: u64) -> Self {
        match number {
            0..=2 => Self::Built,
            3 | 11 => Self::Failed,
            5 => Self::OutputRejected,
            8 => Self::TimedOut,
            12 => Self::NotDeterministic,
            _ => Self::Other,
        }
    }
}

/// The result of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildResult {
    pub status: BuildStatus,
    /// Nix's error message; empty if it was built.
    pub error: String,
    /// The registered outputs, each with the paths that it refers to, as absolute store paths.
    pub outputs: Vec<(String, Vec<String>)>,
}

/// A request: build `derivation`, whose inputs are all sources, then ask about its outputs. The limits are
/// in seconds; `silent` is the longest time without output.
#[must_use]
pub fn request(
    path: &StorePath,
    derivation: &Derivation,
    dir: &StoreDir,
    silent: u64,
    timeout: u64,
) -> Vec<u8> {
    let mut to = Vec::new();
    number(&mut to, BUILD_DERIVATION);
    string(&mut to, dir.absolute(path).as_bytes());
    number(&mut to, derivation.outputs.len() as u64);
    for (name, output) in &derivation.outputs {
        let (kind, hash) = output.fixed.as_ref().map(|f| (f.kind(), f.hex())).unwrap_or_default();
        for text in [name, &dir.absolute(&output.path), &kind, &hash] {
            string(&mut to, text.as_bytes());
        }
    }
    strings(&mut to, derivation.input_sources.iter().map(|source| dir.absolute(source)));
    string(&mut to, derivation.system.as_bytes());
    string(&mut to, derivation.builder.as_bytes());
    strings(&mut to, &derivation.args);
    number(&mut to, derivation.env.len() as u64);
    for (name, value) in &derivation.env {
        string(&mut to, name.as_bytes());
        string(&mut to, value);
    }
    // After the limits: no limit on the log, one build, and no check that it is deterministic.
    for value in [silent, timeout, 0, 0, 0] {
        number(&mut to, value);
    }
    number(&mut to, QUERY_PATH_INFOS);
    strings(&mut to, derivation.outputs.values().map(|output| dir.absolute(&output.path)));
    to
}

fn number(to: &mut Vec<u8>, value: u64) {
    to.extend(value.to_le_bytes());
}

fn string(to: &mut Vec<u8>, text: &[u8]) {
    number(to, text.len() as u64);
    to.extend(text);
    to.resize(to.len().next_multiple_of(8), 0);
}

fn strings<T: AsRef<[u8]>>(to: &mut Vec<u8>, all: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) {
    let all = all.into_iter();
    number(to, all.len() as u64);
    all.for_each(|text| string(to, text.as_ref()));
}

/// Reads the response to one [`request`]. Returns it with its length in bytes; `None` if it is incomplete.
#[must_use]
pub fn response(bytes: &[u8]) -> Option<(BuildResult, usize)> {
    let mut from = Reader(bytes);
    let status = BuildStatus::of(from.number()?);
    let error = from.string()?;
    // How often it was built, whether deterministically, and from when to when.
    for _ in 0..4 {
        from.number()?;
    }
    for _ in 0..from.number()? {
        from.string()?;
        from.string()?;
    }
    let mut outputs = Vec::new();
    loop {
        let path = from.string()?;
        if path.is_empty() {
            return Some((BuildResult { status, error, outputs }, bytes.len() - from.0.len()));
        }
        let _deriver = from.string()?;
        let mut references = Vec::new();
        for _ in 0..from.number()? {
            references.push(from.string()?);
        }
        // The sizes of a download and of the NAR, its hash, and how its path was computed.
        from.number()?;
        from.number()?;
        from.string()?;
        from.string()?;
        for _ in 0..from.number()? {
            let _signature = from.string()?;
        }
        outputs.push((path, references));
    }
}

/// The rest of a response.
struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let padded = length.checked_next_multiple_of(8)?;
        let (text, rest) = self.0.split_at_checked(padded)?;
        self.0 = rest;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "/nix/store/vsqpp200i7hamsm5v9sg4hp79s5765n9-x-1";

    /// A response of Nix 2.26, with these references of the only output.
    fn answer(status: u64, error: &str, references: &[&str]) -> Vec<u8> {
        let mut to = Vec::new();
        number(&mut to, status);
        string(&mut to, error.as_bytes());
        [1, 0, 0, 0, 1].into_iter().for_each(|value| number(&mut to, value));
        string(&mut to, b"sha256:00!out");
        string(&mut to, b"{}");
        if status == 0 {
            string(&mut to, OUT.as_bytes());
            string(&mut to, b"");
            strings(&mut to, references);
            [120, 120].into_iter().for_each(|value| number(&mut to, value));
            string(&mut to, b"sha256:00");
            string(&mut to, b"");
            strings(&mut to, ["key:signature"]);
        }
        string(&mut to, b"");
        to
    }

    #[test]
    fn a_response_says_how_the_build_ended_and_what_the_outputs_refer_to() {
        let (first, second) = (answer(0, "", &[OUT, "/nix/store/b"]), answer(8, "timed out", &[]));
        let (found, length) = response(&[&first[..], &second].concat()).unwrap();
        assert_eq!(length, first.len());
        assert_eq!(found.status, BuildStatus::Built);
        assert_eq!(found.outputs, [(OUT.to_owned(), vec![OUT.to_owned(), "/nix/store/b".into()])]);
        let (found, _) = response(&second).unwrap();
        assert_eq!((found.status, &*found.error), (BuildStatus::TimedOut, "timed out"));
        assert_eq!(found.outputs, []);
    }

    #[test]
    fn a_greeting_is_that_of_a_server_with_this_version_or_a_later_one() {
        let of = |magic: u64, version: u64| [magic.to_le_bytes(), version.to_le_bytes()].concat();
        assert!(is_greeting(&of(SERVER_MAGIC, 0x0206)) && is_greeting(&of(SERVER_MAGIC, 0x0207)));
        assert!(!is_greeting(&of(SERVER_MAGIC, 0x0205)) && !is_greeting(&greeting()));
        assert_eq!(greeting().len(), GREETING);
        assert!(!is_greeting(&of(SERVER_MAGIC, 0x0206)[..GREETING - 1]));
    }

    #[test]
    fn a_response_that_is_cut_or_lies_about_lengths_is_none() {
        let whole = answer(0, "", &["/nix/store/b"]);
        assert!((0..whole.len()).all(|end| response(&whole[..end]).is_none()));
        for at in (0..whole.len()).step_by(8) {
            let mut lies = whole.clone();
            lies[at..at + 8].fill(0xff);
            // It may be a number that does not matter, but it must neither crash nor take memory.
            drop(response(&lies));
        }
    }
}
