//! Reads from a flake's lock file what evaluation needs.

use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// Maximum size of a lock file in bytes.
const MOST_LOCK_BYTES: u64 = 16 << 20;

/// Characters besides letters and digits that Nix does not encode in a URL: in the path, and in the query.
const IN_PATH: &[u8] = b"-._~:@/";
const IN_QUERY: &[u8] = b"-._~:@/?";

/// Attributes of a Git input that its URL contains with the value `1`.
const GIT: [&str; 5] = ["shallow", "lfs", "submodules", "exportIgnore", "verifyCommit"];

/// The relevant content of a lock file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lock {
    /// The nodes that are locked by their hash.
    pub locked: BTreeSet<String>,
    /// Their URLs. Newer versions of Nix compare whole URLs with `allowed-uris` even if nothing is fetched.
    /// An allowed prefix counts only if it is the whole URL or is followed by `/`.
    pub addresses: BTreeSet<String>,
}

/// Reads the lock file of the source below `dir`; empty if there is none.
pub(super) fn lock(dir: &Path) -> io::Result<Lock> {
    let file = dir.join("source/flake.lock");
    let size = match fs::metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::default()),
        found => found?.len(),
    };
    if size > MOST_LOCK_BYTES {
        return Err(io::Error::other(format!("it has {size} bytes, more than {MOST_LOCK_BYTES}")));
    }
    let lock: Value = serde_json::from_slice(&fs::read(file)?)?;
    let mut found = Lock::default();
    for (name, node) in lock["nodes"].as_object().into_iter().flatten() {
        let Some(locked) = node["locked"].as_object().filter(|locked| locked.contains_key("narHash")) else {
            continue;
        };
        found.locked.insert(name.clone());
        let addresses = addresses(locked).into_iter();
        found
            .addresses
            .extend(addresses.filter(|address| address.bytes().all(|byte| byte.is_ascii_graphic())));
    }
    Ok(found)
}

/// The URLs of a locked input: without the locking attributes, and as newer versions write it.
fn addresses(locked: &Map<String, Value>) -> Vec<String> {
    let text = |key: &str| locked.get(key).and_then(Value::as_str);
    match (text("type"), text("owner"), text("repo"), text("url"), text("path")) {
        (Some(kind), Some(owner), Some(repo), ..) => vec![format!("{kind}:{owner}/{repo}")],
        (Some("path"), .., Some(path)) => {
            let others = |key: &str| !["type", "path", "dir"].contains(&key);
            let query = locked.iter().filter(|(key, _)| others(key));
            let query = query.map(|(key, value)| (key.clone(), written(value))).collect();
            vec![address("path", "", path, &query)]
        }
        (Some(kind @ ("git" | "hg")), _, _, Some(url), _) => {
            let short = if url.starts_with("git:") { url.to_owned() } else { format!("{kind}+{url}") };
            let whole = with_query(&short, |query| git_query(locked, query));
            // Newer versions fetch only that commit, unless the input says otherwise.
            let is_shallow = kind == "git" && !locked.contains_key("shallow");
            let shallow = whole.as_ref().filter(|_| is_shallow).and_then(|whole| {
                with_query(whole, |query| _ = query.insert("shallow".to_owned(), "1".to_owned()))
            });
            // Nix 2.8 compares the URL in the lock file.
            [url.to_owned(), short].into_iter().chain(shallow).chain(whole).collect()
        }
        (_, _, _, Some(url), _) => {
            let hash = text("narHash").map(str::to_owned);
            let whole = with_query(url, |query| query.extend(hash.map(|hash| ("narHash".to_owned(), hash))));
            [url.to_owned()].into_iter().chain(whole).collect()
        }
        _ => vec![],
    }
}

/// Adds the query parameters for a Git or Mercurial repository.
fn git_query(locked: &Map<String, Value>, query: &mut BTreeMap<String, String>) {
    let mut set = |key: &str, value: String| query.insert(key.to_owned(), value);
    for key in ["rev", "ref"] {
        if let Some(value) = locked.get(key) {
            set(key, written(value));
        }
    }
    for key in GIT {
        if locked.get(key) == Some(&Value::Bool(true)) {
            set(key, "1".to_owned());
        }
    }
    // A single key is given by attributes of its own.
    let mut key = |kind: Option<&Value>, key: &Value| {
        set("keytype", kind.map_or_else(|| "ssh-ed25519".to_owned(), written));
        set("publicKey", written(key));
    };
    let several = locked.get("publicKeys").and_then(Value::as_str);
    let several: Vec<Value> = several.and_then(|keys| serde_json::from_str(keys).ok()).unwrap_or_default();
    match (locked.get("publicKey"), &several[..]) {
        (Some(one), _) => key(locked.get("keytype"), one),
        (None, [one]) => key(one.get("type"), &one["key"]),
        (None, []) => {}
        (None, several) => _ = set("publicKeys", Value::from(several).to_string()),
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(is) => u8::from(*is).to_string(),
        other => other.to_string(),
    }
}

/// A URL with more query parameters, written as Nix does; `None` if it has no scheme.
fn with_query(url: &str, add: impl FnOnce(&mut BTreeMap<String, String>)) -> Option<String> {
    let (url, _fragment) = url.split_once('#').unwrap_or((url, ""));
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, place) = place.split_once(':')?;
    let (authority, path) = match place.strip_prefix("//") {
        Some(place) => {
            let at = place.find('/').unwrap_or(place.len());
            (format!("//{}", &place[..at]), &place[at..])
        }
        None => (String::new(), place),
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut query = pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
    add(&mut query);
    Some(address(scheme, &authority, &decoded(path), &query))
}

/// Formats a URL as Nix does.
fn address(scheme: &str, authority: &str, path: &str, query: &BTreeMap<String, String>) -> String {
    let pair =
        |(key, value): (&String, &String)| format!("{}={}", encoded(key, IN_QUERY), encoded(value, IN_QUERY));
    let query: Vec<String> = query.iter().map(pair).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}:{authority}{}{mark}{}", encoded(path, IN_PATH), query.join("&"))
}

fn encoded(text: &str, kept: &[u8]) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() || kept.contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_inputs_and_their_addresses_are_read_from_the_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(lock(dir.path()).unwrap(), Lock::default());
        fs::create_dir(dir.path().join("source")).unwrap();
        let text = r#"{"nodes": {"root": {"inputs": {"a": "a", "b": "b"}},
            "a": {"locked": {"narHash": "sha256-x", "type": "github", "owner": "o", "repo": "r"}},
            "b": {"locked": {"type": "path", "path": "/x"}},
            "c": {"locked": {"narHash": "sha256-y", "type": "tarball", "url": "https://x/y.tar.gz"}}}}"#;
        fs::write(dir.path().join("source/flake.lock"), text).unwrap();
        let found = lock(dir.path()).unwrap();
        assert_eq!(found.locked, ["a", "c"].map(String::from).into());
        let tarball = "https://x/y.tar.gz?narHash=sha256-y";
        assert_eq!(found.addresses, ["github:o/r", "https://x/y.tar.gz", tarball].map(String::from).into());
    }

    #[test]
    fn the_address_of_each_kind_of_input_is_written_as_nix_does() {
        let hash = "sha256-a+/=";
        for (attributes, whole) in [
            (
                r#""type": "path", "path": "/y+/x y", "lastModified": 7, "dir": "sub""#,
                "path:/y%2B/x%20y?lastModified=7&narHash=sha256-a%2B/%3D",
            ),
            (
                r#""type": "git", "url": "https://h/x", "ref": "refs/heads/main", "rev": "01ab", "revCount": 3,
                    "submodules": true, "shallow": false, "dir": "sub""#,
                "git+https://h/x?ref=refs/heads/main&rev=01ab&submodules=1",
            ),
            (
                r#""type": "git", "url": "ssh://git@h:22/a%20b?x=1", "rev": "01ab", "verifyCommit": true,
                    "publicKey": "k+", "keytype": "ssh-rsa""#,
                "git+ssh://git@h:22/a%20b?keytype=ssh-rsa&publicKey=k%2B&rev=01ab&verifyCommit=1&x=1",
            ),
            (r#""type": "git", "url": "git://h/x", "rev": "01ab""#, "git://h/x?rev=01ab"),
            (r#""type": "hg", "url": "https://h/x", "rev": "01ab""#, "hg+https://h/x?rev=01ab"),
            (
                r#""type": "tarball", "url": "https://h/x+1.tar.gz?a=b/c&z=%2F", "rev": "01ab", "lastModified": 7"#,
                "https://h/x%2B1.tar.gz?a=b/c&narHash=sha256-a%2B/%3D&z=/",
            ),
            (r#""type": "file", "url": "https://h/x.txt""#, "https://h/x.txt?narHash=sha256-a%2B/%3D"),
        ] {
            let locked: Value =
                serde_json::from_str(&format!(r#"{{{attributes}, "narHash": "{hash}"}}"#)).unwrap();
            let found = addresses(locked.as_object().unwrap());
            assert_eq!(found.last().map(String::as_str), Some(whole), "{attributes}");
        }
        let locked: Value =
            serde_json::from_str(r#"{"type": "git", "url": "https://h/x", "rev": "01"}"#).unwrap();
        let short = ["https://h/x", "git+https://h/x"];
        let whole = ["git+https://h/x?rev=01&shallow=1", "git+https://h/x?rev=01"];
        assert_eq!(addresses(locked.as_object().unwrap()), [short, whole].concat());
    }
}
