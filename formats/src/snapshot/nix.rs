//! The Nix part of a manifest: what of the source is built, and what may be fetched.
//!
//! Attributes, hosts, arguments and caches become arguments of Nix on every drone, and a host is part
//! of a URL. The checks accept only characters that mean nothing else in these places.

use super::path::check_path;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::digest::Digest;

/// Directory of the source in a snapshot.
pub const SOURCE: &str = "source";
/// Directory of the locked inputs in a snapshot, each named like its node in `flake.lock`.
pub const INPUTS: &str = "inputs";
/// The file that makes a source a flake.
pub const FLAKE: &str = "flake.nix";

/// Maximum number of attributes and hosts together.
const MAX_ROOTS: usize = 10_000;
/// Maximum number of arguments, of caches, and of keys of a cache.
const MAX_FEW: usize = 100;
/// Maximum length of an attribute, of an argument and of a URL in bytes.
const MAX_TEXT: usize = 1000;
/// Maximum length of a name in bytes.
const MAX_NAME: usize = 100;
/// Digits of a Git commit with SHA-1.
const SHA1: usize = 40;
/// Length of an ed25519 public key in base64, including its padding.
const KEY_LENGTH: usize = 44;

/// What of a source is built by Nix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NixSource {
    /// Whether the source is a flake.
    pub flake: bool,
    /// The file to evaluate, below the source: `default.nix`; of a flake `flake.nix`.
    pub file: String,
    /// The attributes to build: `hello`, `tools.x`; of a flake `packages.x86_64-linux.hello`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// The hosts to build, by their names in `nixosConfigurations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Strings that are passed to the file's function; not of a flake.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    /// Binary caches whose packages are used instead of building them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<NixUpstream>,
    /// Whether evaluation may build derivations and read their outputs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub import_from_derivation: bool,
    /// The Git commit with exactly this source, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When that commit was made, or the one that uncommitted changes are based on, in seconds since 1970: a
    /// flake's `lastModified`. Old snapshots do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
    /// Whether the lock file is newer than the commit, so that the flake has no `rev`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relocked: bool,
    /// Digest of the flake's lock file, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
}

/// A binary cache that may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NixUpstream {
    /// Its address.
    pub url: String,
    /// The public keys that it signs with, as `NAME:BASE64`.
    pub keys: Vec<String>,
}

impl NixSource {
    /// Checks that every text can be handed to Nix.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        check_path(&self.file).map_err(|why| format!("the file to evaluate is not usable: {why}"))?;
        if self.flake != (self.file == FLAKE) {
            return Err(format!("{FLAKE} is the file of a flake, and of nothing else"));
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
                return Err(format!("the cache {url} is there twice"));
            }
            if keys.is_empty() {
                return Err(format!("the cache {url} has no key; unsigned packages are never used"));
            }
            bounded(keys.len(), MAX_FEW, "keys of a cache")?;
            each(keys, is_public_key, "a public key, which is NAME:BASE64")?;
        }
        Ok(())
    }

    /// The commit that Nix tells a flake as its own (`self.rev`): only that with exactly the flake's files. Nix 2.8
    /// knows no longer ones than SHA-1's.
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

/// Whether a path has its place in a Nix snapshot, next to the manifest.
pub(super) fn is_nix_path(path: &str) -> bool {
    match path.split_once('/') {
        Some((SOURCE, below)) => !below.is_empty(),
        Some((INPUTS, below)) => {
            below.split_once('/').is_some_and(|(name, rest)| is_input(name) && !rest.is_empty())
        }
        _ => false,
    }
}

/// Whether a text can be the name of an input, as a node of `flake.lock` and as a directory.
#[must_use]
pub fn is_input(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-+.".contains(&b);
    text.len() <= MAX_NAME && text.bytes().all(plain) && !text.is_empty() && !text.starts_with(['-', '.'])
}

/// Whether a text can be the name of a host, in an attribute path and in a URL.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.len() <= MAX_NAME && text.bytes().all(plain) && !text.is_empty() && !text.starts_with('-')
}

/// Whether a text is an attribute path: names separated by dots, which may be in quotes.
#[must_use]
pub fn is_attribute(text: &str) -> bool {
    if text.len() > MAX_TEXT {
        return false;
    }
    let mut rest = text;
    loop {
        // No `$`, which would begin an antiquotation, and no backslash.
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

/// Whether a text has the form of a public key.
fn is_public_key(text: &str) -> bool {
    let Some((name, key)) = text.split_once(':') else { return false };
    let digits = key.strip_suffix('=').unwrap_or_default();
    is_input(name)
        && key.len() == KEY_LENGTH
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// The orchestrator asks an upstream for references, so it must be reachable from everywhere.
const NO_SCHEME: &str = "it does not begin with https:// or http://";

/// Nix separates addresses by white space and reads settings of a store after a question mark.
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
        // Every drone can read a snapshot.
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
            return Err(format!("{} is there twice", shown(text)));
        }
    }
    Ok(())
}

fn shown(text: &str) -> String {
    format!("`{}`", text.chars().take(100).collect::<String>().escape_debug())
}

#[cfg(test)]
mod tests;
