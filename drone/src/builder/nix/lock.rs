//! What evaluation needs to know of a flake's lock file.

use std::{collections::BTreeSet, fs, io, path::Path};

/// Largest lock file that is read.
const MOST_LOCK_BYTES: u64 = 16 << 20;

/// What a lock file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lock {
    /// The nodes that are locked by their hash.
    pub locked: BTreeSet<String>,
    /// Their addresses, which newer versions compare with `allowed-uris` even if nothing is fetched.
    pub addresses: BTreeSet<String>,
}

/// Reads the lock file of the source below `dir`; an empty one if there is none.
pub(super) fn lock(dir: &Path) -> io::Result<Lock> {
    let file = dir.join("source/flake.lock");
    let size = match fs::metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::default()),
        found => found?.len(),
    };
    if size > MOST_LOCK_BYTES {
        return Err(io::Error::other(format!("it has {size} bytes, more than {MOST_LOCK_BYTES}")));
    }
    let lock: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
    let mut found = Lock::default();
    for (name, node) in lock["nodes"].as_object().into_iter().flatten() {
        let locked = &node["locked"];
        let text = |key: &str| locked[key].as_str();
        if text("narHash").is_none() {
            continue;
        }
        found.locked.insert(name.clone());
        let address = match (text("type"), text("owner"), text("repo"), text("url")) {
            (Some(kind), Some(owner), Some(repo), _) => format!("{kind}:{owner}/{repo}"),
            (Some("path"), ..) => match of_path(locked) {
                Some(address) => address,
                None => continue,
            },
            (Some("git" | "hg"), _, _, Some(url)) => format!("git+{url}"),
            (_, _, _, Some(url)) => url.to_owned(),
            _ => continue,
        };
        if address.bytes().all(|byte| byte.is_ascii_graphic()) {
            found.addresses.insert(address);
        }
    }
    Ok(found)
}

/// The whole address of a locked path, as nothing may follow a shorter one but a `/`.
fn of_path(locked: &serde_json::Value) -> Option<String> {
    let attributes = locked.as_object()?.iter().filter(|(key, _)| !matches!(key.as_str(), "type" | "path"));
    let query = attributes.map(|(key, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{key}={}", text.replace('+', "%2B").replace('=', "%3D"))
    });
    Some(format!("path:{}?{}", locked["path"].as_str()?, query.collect::<Vec<_>>().join("&")))
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
            "d": {"locked": {"lastModified": 7, "narHash": "sha256-a+/=", "path": "/y", "type": "path"}},
            "c": {"locked": {"narHash": "sha256-y", "type": "tarball", "url": "https://x/y.tar.gz"}}}}"#;
        fs::write(dir.path().join("source/flake.lock"), text).unwrap();
        let found = lock(dir.path()).unwrap();
        assert_eq!(found.locked, ["a", "c", "d"].map(String::from).into());
        let path = "path:/y?lastModified=7&narHash=sha256-a%2B/%3D";
        assert_eq!(found.addresses, ["github:o/r", "https://x/y.tar.gz", path].map(String::from).into());
    }
}
