//! The Nix part of a manifest: which part of the source is built, and which caches may be used.
//!
//! Attributes, hosts, arguments and caches become arguments of Nix on every drone, and a host is part of a
//! URL. The checks accept only characters without a special meaning in these places.

use super::path::check_path;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::digest::Digest;

/// The directory of the source in a snapshot.
pub const SOURCE: &str = "source";
/// The directory of the locked inputs in a snapshot. Each has the name of its node in `flake.lock`.
pub const INPUTS: &str = "inputs";
/// The file that makes a source a flake.
pub const FLAKE: &str = "flake.nix";

/// The maximum number of attributes and hosts together.
const MAX_ROOTS: usize = 10_000;
/// The maximum number of arguments, of caches, and of keys of a cache.
const MAX_FEW: usize = 100;
/// The maximum length of an attribute, an argument or a URL, in bytes.
const MAX_TEXT: usize = 1000;
/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 100;
/// Number of digits of a Git commit with SHA-1.
const SHA1: usize = 40;
/// Length of an ed25519 public key in base64, including its padding.
const KEY_LENGTH: usize = 44;

/// Which part of a source is built by Nix, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NixSource {
    pub flake: bool,
    /// The file to evaluate, as a path below the source: `default.nix`, or `flake.nix` for a flake.
    pub file: String,
    /// The attributes to build, such as `hello` or `tools.x`; for a flake, such as
    /// `packages.x86_64-linux.hello`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// The hosts to build, by their names in `nixosConfigurations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Strings that are passed to the file's function. Empty for a flake.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    /// Binary caches whose packages are used instead of being built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<NixUpstream>,
    /// Whether evaluation may build derivations and read their outputs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub import_from_derivation: bool,
    /// The Git commit with exactly this source. `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When that commit was made, or the one that uncommitted changes are based on, in seconds since the Unix
    /// epoch. It becomes the `lastModified` of a flake. `None` in old snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
    /// Whether the lock file is newer than the commit, so that the flake has no `rev`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relocked: bool,
    /// Digest of the flake's lock file. `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
}

/// A binary cache whose packages may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NixUpstream {
    pub url: String,
    /// The public keys that the cache signs with, as `NAME:BASE64`.
    pub keys: Vec<String>,
}

impl NixSource {
    /// Checks that every text can be passed to Nix.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        check_path(&self.file).map_err(|why| format!("the file to evaluate is not usable: {why}"))?;
        if self.flake != (self.file == FLAKE) {
            return Err(format!("{FLAKE} is only valid for a flake"));
        }
        if let Some(commit) = &self.commit
            && !is_commit(commit)
        {
            return Err(format!("{} is not a Git commit", shown(commit)));
        }
        let roots = self.attributes.len() + self.hosts.len();
        if roots == 0 {
            return Err("it names no attribute and no host; there would be nothing to build".to_owned());
        }
        bounded(roots, MAX_ROOTS, "attributes and hosts")?;
        each(&self.attributes, is_attribute, "an attribute")?;
        each(&self.hosts, is_host, "the name of a host")?;
        bounded(self.arguments.len(), MAX_FEW, "arguments")?;
        if self.flake && !self.arguments.is_empty() {
            return Err("a flake takes no arguments".to_owned());
        }
        for (name, value) in &self.arguments {
            if !is_identifier(name) {
                return Err(format!("{} is not the name of an argument", shown(name)));
            }
            if value.len() > MAX_TEXT || value.chars().any(char::is_control) {
                return Err(format!("the argument {name} has a control character or over {MAX_TEXT} bytes"));
            }
        }
        bounded(self.upstreams.len(), MAX_FEW, "caches")?;
        let mut urls = BTreeSet::new();
        for NixUpstream { url, keys } in &self.upstreams {
            check_url(url).map_err(|why| format!("{} is not the address of a cache: {why}", shown(url)))?;
            if !urls.insert(url) {
                return Err(format!("the cache {url} occurs twice"));
            }
            if keys.is_empty() {
                return Err(format!("the cache {url} has no key; unsigned packages are never used"));
            }
            bounded(keys.len(), MAX_FEW, "keys of a cache")?;
            each(keys, is_public_key, "a public key, which is NAME:BASE64")?;
        }
        Ok(())
    }

    /// The commit that Nix reports to a flake as its own (`self.rev`). `None` unless the flake's files are
    /// exactly those of the commit. Nix 2.8 does not accept commits longer than those of SHA-1.
    #[must_use]
    pub fn rev(&self) -> Option<&str> {
        let is_own = self.flake && !self.relocked && self.modified.is_some();
        self.commit.as_deref().filter(|commit| is_own && commit.len() == SHA1)
    }

    /// The file to evaluate, relative to the snapshot's directory.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{SOURCE}/{}", self.file)
    }
}

/// Whether a path is allowed in a Nix snapshot besides the manifest.
pub(super) fn is_nix_path(path: &str) -> bool {
    match path.split_once('/') {
        Some((SOURCE, below)) => !below.is_empty(),
        Some((INPUTS, below)) => {
            below.split_once('/').is_some_and(|(name, rest)| is_input(name) && !rest.is_empty())
        }
        _ => false,
    }
}

/// Whether the text can be the name of an input, both as a node of `flake.lock` and as a directory.
#[must_use]
pub fn is_input(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-+.".contains(&b);
    text.len() <= MAX_NAME && text.bytes().all(plain) && !text.is_empty() && !text.starts_with(['-', '.'])
}

/// Whether the text can be the name of a host, both in an attribute path and in a URL.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.len() <= MAX_NAME && text.bytes().all(plain) && !text.is_empty() && !text.starts_with('-')
}

/// Whether the text is an attribute path: names separated by dots, which may be quoted.
#[must_use]
pub fn is_attribute(text: &str) -> bool {
    if text.len() > MAX_TEXT {
        return false;
    }
    let mut rest = text;
    loop {
        // No `$`, which could begin an interpolation, and no backslash.
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (name, after) = match quoted {
            Some((name, after)) => (is_attribute_name(name, b"_-'+./@: "), after),
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (is_attribute_name(&rest[..end], b"_-'+"), &rest[end..])
            }
        };
        match after.strip_prefix('.') {
            _ if !name => return false,
            Some(next) => rest = next,
            None => return after.is_empty(),
        }
    }
}

fn is_commit(text: &str) -> bool {
    // SHA-1 or SHA-256.
    [SHA1, 64].contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_attribute_name(name: &str, others: &[u8]) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || others.contains(&b);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain)
}

fn is_identifier(text: &str) -> bool {
    is_attribute_name(text, b"_-'") && !text.starts_with(|c: char| c.is_ascii_digit() || c == '\'')
}

/// Whether the text has the form of a public key, `NAME:BASE64`.
fn is_public_key(text: &str) -> bool {
    let Some((name, key)) = text.split_once(':') else { return false };
    let digits = key.strip_suffix('=').unwrap_or_default();
    is_input(name)
        && key.len() == KEY_LENGTH
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// The error for other schemes. The orchestrator asks an upstream cache for references, so the cache must be
/// reachable from every machine.
const NO_SCHEME: &str = "it does not begin with https:// or http://";

/// Checks a URL. Nix separates addresses by white space, and reads settings of a store after a question mark.
fn check_url(url: &str) -> Result<(), &'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(NO_SCHEME);
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:[]%+,=@".contains(&b);
    if url.len() > MAX_TEXT || !rest.bytes().all(plain) {
        return Err("it is too long or has a character that is not allowed there");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    match scheme {
        // Every drone can read a snapshot, so it must not contain a password.
        "http" | "https" if authority.contains('@') => {
            Err("it has a password; use `netrc-file` on the drones")
        }
        "http" | "https" if authority.is_empty() => Err("it names no machine"),
        "http" | "https" => Ok(()),
        _ => Err(NO_SCHEME),
    }
}

fn bounded(count: usize, limit: usize, what: &str) -> Result<(), String> {
    if count > limit { Err(format!("it has more than {limit} {what}")) } else { Ok(()) }
}

fn each(texts: &[String], is_sound: fn(&str) -> bool, what: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for text in texts {
        if !is_sound(text) {
            return Err(format!("{} is not {what}", shown(text)));
        }
        if !seen.insert(text) {
            return Err(format!("{} occurs twice", shown(text)));
        }
    }
    Ok(())
}

fn shown(text: &str) -> String {
    format!("`{}`", text.chars().take(100).collect::<String>().escape_debug())
}

#[cfg(test)]
mod tests;
