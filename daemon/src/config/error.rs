//! Errors in configuration files, with messages that say what to do.
//!
//! The TOML reader and serde report a byte range and a message. The range becomes `file:line:column`, the
//! message names the setting with the wrong value, and serde's list of expected fields becomes a suggestion.
//! The expected format (``unknown field `x`, expected one of `a`, `b` ``) is that of
//! `serde::de::Error::unknown_field`. A message in another format is shown unchanged.

use std::{
    io,
    path::{Path, PathBuf},
};
use swarm_common::exit::{EXIT_CONFIG, EXIT_IO};
use toml::de::{DeTable, DeValue};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot read the file: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: cannot write the file: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// The file is far too large for a configuration file.
    #[error("{}: {bytes} bytes are too many for a configuration file; check the path", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{}:{line}: not valid UTF-8; save the file as UTF-8", path.display())]
    NotText {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A key or value is wrong.
    #[error("{}:{line}:{column}: {what}", path.display())]
    Invalid {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
        /// What is wrong and what to do.
        what: String,
    },
    /// An environment variable that sets something is unusable.
    #[error("the environment variable {}: {what}", name.display())]
    Variable {
        /// Its name.
        name: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A secret file is insecure or unusable.
    #[error("{}: {what}", path.display())]
    Secret {
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
}

impl ConfigError {
    /// The exit code of a program that cannot start because of this error. A file that cannot be read may be
    /// on a disk that is not mounted yet, so a restart may help. Wrong content needs a person.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. } | Self::Unwritable { .. } => EXIT_IO,
            Self::TooLarge { .. }
            | Self::NotText { .. }
            | Self::Invalid { .. }
            | Self::Variable { .. }
            | Self::Secret { .. } => EXIT_CONFIG,
        }
    }
}

impl ConfigError {
    /// Converts the TOML reader's error at the byte `at` of the file.
    pub(super) fn from_toml(path: &Path, text: &str, at: usize, error: &toml::de::Error) -> Self {
        let what = explain(error.message());
        match setting(text, at) {
            Some(setting) => Self::at(path, text, at, format!("{setting}: {what}")),
            None => Self::at(path, text, at, what),
        }
    }

    /// The error for `what` being wrong at byte `at` of the file.
    pub(super) fn at(path: &Path, text: &str, at: usize, what: String) -> Self {
        let (line, column) = position(text, at);
        Self::Invalid { path: path.to_owned(), line, column, what }
    }
}

/// The setting whose value contains byte `at`, such as `` `lease` of `[policy]` ``.
fn setting(text: &str, at: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut keys = Vec::new();
    if !descend(table.get_ref(), at, &mut keys) {
        return None;
    }
    let key = keys.pop()?;
    Some(if keys.is_empty() { format!("`{key}`") } else { format!("`{key}` of `[{}]`", keys.join(".")) })
}

/// Collects in `keys` the path to the value that contains byte `at`.
fn descend<'t>(table: &'t DeTable<'_>, at: usize, keys: &mut Vec<&'t str>) -> bool {
    table.iter().any(|(key, value)| {
        keys.push(key.get_ref());
        let found = match value.get_ref() {
            DeValue::Table(table) => descend(table, at, keys),
            DeValue::Array(array) if array.iter().any(|item| item.get_ref().is_table()) => {
                let mut tables = array.iter().filter_map(|item| item.get_ref().as_table());
                tables.any(|table| descend(table, at, keys))
            }
            _ => value.span().contains(&at),
        };
        if !found {
            keys.pop();
        }
        found
    })
}

/// Line and column of byte `at`, both counted from 1.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// Rewords serde's messages about unknown fields. Other messages are returned unchanged.
fn explain(message: &str) -> String {
    let message = message.trim_end();
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("missing key {rest}; add it");
    }
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.replace('\n', "; ");
    };
    let Some((key, expected)) = rest.split_once('`') else {
        return message.to_owned();
    };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    match nearest(key, &known) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown key `{key}`; no keys are allowed here, remove it"),
        None => {
            let list: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
            format!("unknown key `{key}`; expected one of: {}", list.join(", "))
        }
    }
}

/// The candidate most similar to `word`. `None` if none is similar enough.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Short words may differ in one letter. Jaro-Winkler similarity favours a common prefix in long words.
    let like = |candidate: &str| {
        let letters = strsim::damerau_levenshtein(word, candidate);
        strsim::jaro_winkler(word, candidate) > 0.8 || (letters == 1 && word.len() > 1)
    };
    candidates
        .iter()
        .copied()
        .filter(|candidate| like(candidate))
        .min_by_key(|candidate| strsim::damerau_levenshtein(word, candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_another_word_does_not() {
        let known = ["oak", "birch", "listen", "build_timeout_ms"];
        assert_eq!(nearest("oka", &known), Some("oak"));
        assert_eq!(nearest("brich", &known), Some("birch"));
        assert_eq!(nearest("build_timeout", &known), Some("build_timeout_ms"));
        for other in ["colour", "x", "", "pine"] {
            assert_eq!(nearest(other, &known), None, "{other}");
        }
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let text = "a = 1\nb = { \"\u{fc}\u{fc}\" = 2, x = 1 }\n";
        let at = text.find('x').unwrap();
        assert_eq!(position(text, at), (2, 17));
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, text.len() + 5), (3, 1), "past the end is the end");
    }
}
