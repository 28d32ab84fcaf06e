//! Listings of archives: `HASH.ls` of a binary cache, JSON from which Nix clients learn the content of a
//! store path without fetching it.

use serde_json::Value;
use std::{collections::VecDeque, fmt::Write as _, rc::Rc};
use swarm_formats::nix::nar::{NarEvent, NarKind};

/// Maximum size of a listing in bytes. A larger one is not published; clients then fetch the archive.
const MAX_BYTES: usize = 32 << 20;

/// Writes the listing of an archive, event by event.
#[derive(Debug)]
pub struct Listing {
    /// `None` once it has become too large.
    text: Option<String>,
    /// For each open directory, whether an entry was written.
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

/// A JSON string. Names that are not UTF-8 cannot be represented exactly.
fn json(bytes: &[u8]) -> String {
    Value::from(String::from_utf8_lossy(bytes)).to_string()
}

/// Maximum number of links followed, as in the kernel.
const LINKS: usize = 40;
const STORE: &str = "/nix/store/";

/// Where `name` in the store path `top` leads after following all links, also from one store path to another.
/// `listing` returns the listing of a path by its base name. A link into a path without a listing is assumed
/// to be valid. `None` if nothing is there, or if that is unknown.
#[must_use]
pub fn resolve(top: &str, name: &str, mut listing: impl FnMut(&str) -> Option<Rc<Value>>) -> Option<String> {
    let (mut asked, mut links) = (name.split('/'), 0);
    let mut linked: VecDeque<String> = [top.to_owned()].into();
    let mut at: Vec<String> = Vec::new();
    while let Some(part) = linked.pop_front().or_else(|| asked.next().map(str::to_owned)) {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(part),
        }
        let (path, inner) = at.split_first()?;
        let Some(known) = listing(path) else {
            if asked.next().is_some() {
                return None;
            }
            at.extend(linked);
            break;
        };
        let below = |node, name: &String| Value::get(node, "entries")?.get(name);
        let node = inner.iter().try_fold(known.get("root")?, below)?;
        let Some(target) = node.get("target") else { continue };
        links += 1;
        if links > LINKS {
            return None;
        }
        let target = target.as_str()?;
        let parts = match target.strip_prefix(STORE) {
            Some(absolute) => {
                at.clear();
                absolute
            }
            None if target.starts_with('/') => return None,
            None => {
                at.pop();
                target
            }
        };
        for part in parts.rsplit('/') {
            linked.push_front(part.to_owned());
        }
    }
    (!at.is_empty()).then(|| format!("{STORE}{}", at.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;
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
        assert_eq!(root["kernel \"5\"\n"]["target"], "bin/prog");
    }

    #[test]
    fn links_are_followed_from_one_store_path_to_the_next() {
        let link = |target: &str| json!({ "type": "symlink", "target": target });
        let directory = |entries: Value| json!({ "type": "directory", "entries": entries });
        let file = json!({ "type": "regular", "size": 0 });
        let known: BTreeMap<&str, Rc<Value>> = [
            (
                "1-system",
                directory(json!({
                    "kernel": link("/nix/store/3-linux/bzImage"),
                    "sw": link("/nix/store/2-path"),
                    "etc": link("/nix/store/4-etc/etc"),
                    "around": link("around"),
                    "outside": link("/etc/passwd"),
                    "file": file,
                })),
            ),
            (
                "2-path",
                directory(json!({
                    "bin": directory(json!({
                        "dbus-daemon": link("../libexec/./dbus-daemon"),
                        "sh": link("/nix/store/2-path/../5-bash/bin/bash"),
                    })),
                    "libexec": directory(json!({ "dbus-daemon": file })),
                })),
            ),
        ]
        .map(|(path, root)| (path, Rc::new(json!({ "version": 1, "root": root }))))
        .into();
        let mut asked = Vec::new();
        for (name, leads_to) in [
            ("file", Some("1-system/file")),
            ("kernel", Some("3-linux/bzImage")),
            ("sw", Some("2-path")),
            ("sw/bin/dbus-daemon", Some("2-path/libexec/dbus-daemon")),
            ("sw/bin/sh", Some("5-bash/bin/bash")),
            ("none", None),
            ("sw/bin/none", None),
            ("file/below", None),
            ("around", None),
            ("outside", None),
            // The content of an unknown path is not known.
            ("etc/systemd/system", None),
        ] {
            let found = resolve("1-system", name, |path| {
                asked.push(path.to_owned());
                known.get(path).cloned()
            });
            assert_eq!(found, leads_to.map(|path| format!("/nix/store/{path}")), "{name}");
        }
        assert!(asked.len() < 100, "{asked:?}");
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
