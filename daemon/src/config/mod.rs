//! Reads TOML configuration files. [`load`] parses a file into a type and reports every mistake with its
//! position and a remedy; [`read`] also accepts old forms of settings. [`Span`] and [`Size`] are settings
//! with a unit, [`secret`] reads tokens from separate files, and [`changes`] reports what a reload changed.
//!
//! No setting is defined here: the types, with `#[serde(deny_unknown_fields)]`, belong to the programs.

pub mod changes;
mod error;
mod renamed;
pub mod secret;
mod units;

pub use error::{ConfigError, nearest};
pub use renamed::{OldForm, Renamed, Unit};
pub use units::{Size, Span, UnitError};

use serde::de::DeserializeOwned;
use std::{fs, path::Path};
use toml::de::DeTable;

/// The maximum size of a configuration file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads the configuration file at `path`.
///
/// # Errors
/// The file cannot be read, is not valid TOML, or does not match `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    read(path, &[]).map(|(config, _)| config)
}

/// Reads a configuration file whose settings may have their old names. Also returns the settings that do, in
/// the order of the file.
///
/// # Errors
/// As [`load`], or a setting has both its old and its new name.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    renamed: &[&[Renamed]],
) -> Result<(T, Vec<OldForm>), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes: size });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let before = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        ConfigError::NotText { path: path.to_owned(), line }
    })?;
    parse_renamed(path, &text, renamed)
}

/// Parses a configuration from `text`; `path` is only used in errors.
///
/// # Errors
/// See [`load`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    parse_renamed(path, text, &[]).map(|(config, _)| config)
}

fn parse_renamed<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    renamed: &[&[Renamed]],
) -> Result<(T, Vec<OldForm>), ConfigError> {
    let wrong = |error: toml::de::Error| ConfigError::from_toml(path, text, &error);
    let mut table = DeTable::parse(text).map_err(wrong)?;
    let mut found = Vec::new();
    for renamed in renamed.iter().copied().flatten() {
        let replaced = renamed.replace(table.get_mut());
        found.extend(replaced.map_err(|m| ConfigError::at(path, text, m.at.start, m.what))?);
    }
    found.sort_by_key(|found| found.at);
    let old = found.into_iter().map(|found| OldForm {
        path: path.to_owned(),
        line: error::position(text, found.at).0,
        name: found.name,
        old: found.old,
        new: found.new,
    });
    let old = old.collect();
    Ok((T::deserialize(toml::de::Deserializer::from(table)).map_err(wrong)?, old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the shape matters")]
    struct Outer {
        listen: String,
        #[serde(default)]
        build: Inner,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the shape matters")]
    struct Inner {
        jobs: Option<u32>,
        build_timeout_ms: Option<u64>,
        silence_timeout_ms: Option<u64>,
    }

    fn refusal(text: &str) -> String {
        parse::<Outer>(&PathBuf::from("drone.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        let text = "listen = \"x\"\n\n[build]\njobs = 2\nbuild_timout_ms = 5\n";
        let said = refusal(text);
        assert!(said.starts_with("drone.toml:5:1: "), "{said}");
        assert!(said.contains("unknown key `build_timout_ms`"), "{said}");
        assert!(said.contains("did you mean `build_timeout_ms`?"), "{said}");
    }

    #[test]
    fn an_unknown_key_like_no_other_lists_the_known_ones() {
        let said = refusal("listen = \"x\"\ncolour = 1\n");
        assert!(said.starts_with("drone.toml:2:1: unknown key `colour`"), "{said}");
        assert!(said.contains("expected one of: `listen`, `build`"), "{said}");
    }

    #[test]
    fn a_wrong_type_says_where_and_what_was_expected() {
        let said = refusal("listen = \"x\"\n[build]\njobs = \"two\"\n");
        assert!(said.starts_with("drone.toml:3:8: "), "{said}");
        assert!(said.contains("u32"), "{said}");
    }

    #[test]
    fn a_missing_key_and_broken_toml_are_told() {
        assert!(refusal("[build]\n").contains("missing key `listen`"));
        let said = refusal("listen = \"x\n");
        assert!(said.starts_with("drone.toml:1:"), "{said}");
    }

    #[test]
    fn a_missing_file_says_how_to_go_on() {
        let said = load::<Outer>(Path::new("/nowhere/x.toml")).unwrap_err().to_string();
        assert!(said.contains("/nowhere/x.toml"), "{said}");
        assert!(said.contains("No such file"), "{said}");
    }

    #[test]
    fn bytes_that_are_not_text_are_told_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.toml");
        std::fs::write(&path, b"listen = \"x\"\n# \xff\n").unwrap();
        let said = load::<Outer>(&path).unwrap_err().to_string();
        assert!(said.contains("bad.toml:2: "), "{said}");
    }
}
