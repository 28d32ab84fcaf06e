//! Listings of archives: `HASH.ls` of a binary cache, the JSON that Nix's clients read to look into
//! a store path without fetching it.

use serde_json::Value;
use std::fmt::Write as _;
use swarm_formats::nix::nar::{NarEvent, NarKind};

/// Largest listing in bytes. A path with more has none; clients then fetch the archive.
const MAX_BYTES: usize = 32 << 20;

/// Writes the listing of an archive, event by event.
#[derive(Debug)]
pub struct Listing {
    /// `None` once it is too large.
    text: Option<String>,
    /// For each open directory, whether it has an entry.
    open: Vec<bool>,
}

impl Default for Listing {
    fn default() -> Self {
        Self { text: Some("{\"version\":1,\"root\":".to_owned()), open: Vec::new() }
    }
}

impl Listing {
    /// Adds the next event of the archive.
    pub fn add(&mut self, event: &NarEvent) {
        let Some(text) = &mut self.text else { return };
        match event {
            NarEvent::Leave => {
                self.open.pop();
                text.push_str("}}");
            }
            NarEvent::Node { name, kind } => {
                if let Some(has_entry) = self.open.last_mut() {
                    if std::mem::replace(has_entry, true) {
                        text.push(',');
                    }
                    text.push_str(&json(name));
                    text.push(':');
                }
                match kind {
                    NarKind::Directory => {
                        text.push_str("{\"type\":\"directory\",\"entries\":{");
                        self.open.push(false);
                    }
                    NarKind::File { executable, size, offset } => {
                        let executable = if *executable { ",\"executable\":true" } else { "" };
                        // Writing to a string does not fail.
                        let _ = write!(
                            text,
                            "{{\"type\":\"regular\",\"size\":{size}{executable},\"narOffset\":{offset}}}"
                        );
                    }
                    NarKind::Symlink { target } => {
                        let _ = write!(text, "{{\"type\":\"symlink\",\"target\":{}}}", json(target));
                    }
                }
            }
        }
        if text.len() > MAX_BYTES {
            self.text = None;
        }
    }

    /// The listing; `None` if it is too large.
    #[must_use]
    pub fn finish(self) -> Option<String> {
        self.text.map(|text| text + "}")
    }
}

/// A JSON string. Names that are not UTF-8 cannot be exact in JSON.
fn json(bytes: &[u8]) -> String {
    Value::from(String::from_utf8_lossy(bytes)).to_string()
}

/// The target of the link `name` at the top of a listing.
#[must_use]
pub fn link(listing: &Value, name: &str) -> Option<String> {
    let entry = listing.get("root")?.get("entries")?.get(name)?;
    entry.get("target")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_formats::nix::nar::{NarLimits, NarReader, NarWriter};

    fn listing(nar: &[u8]) -> Value {
        let mut reader = NarReader::new(nar, NarLimits::default());
        let mut listing = Listing::default();
        while let Some(event) = reader.next_event().unwrap() {
            listing.add(&event);
        }
        serde_json::from_str(&listing.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_tree_is_listed_with_sizes_targets_and_offsets() {
        let mut nar = NarWriter::new(Vec::new());
        nar.directory(b"").unwrap();
        nar.directory(b"bin").unwrap();
        nar.file(b"prog", true, 5, &b"hello"[..]).unwrap();
        nar.leave().unwrap();
        nar.directory(b"empty").unwrap();
        nar.leave().unwrap();
        nar.symlink(b"kernel \"5\"\n", b"bin/prog").unwrap();
        nar.leave().unwrap();
        let (bytes, _) = nar.finish().unwrap();
        let listing = listing(&bytes);
        let root = &listing["root"]["entries"];
        let prog = &root["bin"]["entries"]["prog"];
        let offset = usize::try_from(prog["narOffset"].as_u64().unwrap()).unwrap();
        assert_eq!(&bytes[offset..offset + 5], b"hello");
        assert_eq!((prog["size"].as_u64(), prog["executable"].as_bool()), (Some(5), Some(true)));
        assert_eq!(root["empty"]["entries"], serde_json::json!({}));
        assert_eq!(link(&listing, "kernel \"5\"\n").as_deref(), Some("bin/prog"));
        assert_eq!(link(&listing, "bin"), None);
    }

    #[test]
    fn a_file_alone_is_its_own_root() {
        let mut nar = NarWriter::new(Vec::new());
        nar.file(b"", false, 0, &b""[..]).unwrap();
        let listing = listing(&nar.finish().unwrap().0);
        assert_eq!((&listing["version"], &listing["root"]["type"]), (&1.into(), &"regular".into()));
        assert!(listing["root"].get("executable").is_none());
    }
}
