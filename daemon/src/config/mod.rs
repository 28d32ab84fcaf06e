//! Reading TOML configuration files. [`load`] parses a file into a type and reports every mistake
//! with its position and a remedy; [`read`] reads the files and variables of a program, and
//! [`origins`] says which of them sets what. [`Span`] and [`Size`] are settings with a unit;
//! [`secret`] reads tokens from separate files; [`changes`] reports what a reload changed.
//!
//! No setting is defined here: the types, with `#[serde(deny_unknown_fields)]`, belong to the programs.

pub mod changes;
mod error;
mod renamed;
pub mod secret;
mod sources;
mod units;

pub use error::{ConfigError, nearest};
pub use renamed::{OldForm, Renamed, Unit};
pub use sources::{Origin, Program, directory};
pub use units::{Size, Span, UnitError};

use serde::de::DeserializeOwned;
use sources::Sources;
use std::path::Path;

/// Reads the configuration file at `path`, and nothing else.
///
/// # Errors
/// The file cannot be read, is not valid TOML, or does not match `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    Sources::read_one(path)?.parse(&[]).map(|(config, _)| config)
}

/// Reads a program's configuration: the file at `path`, those of its [`directory`], and environment
/// variables. Settings may have their old names; also returns those that have.
///
/// # Errors
/// As [`load`]; or a setting has its old and its new name.
pub fn read<T: DeserializeOwned>(path: &Path, program: Program) -> Result<(T, Vec<OldForm>), ConfigError> {
    Sources::read(path, program.variables, std::env::vars_os())?.parse(program.renamed)
}

/// Every setting that a program's configuration sets, with its origin.
///
/// # Errors
/// As [`read`], except that the settings are not checked.
pub fn origins(path: &Path, program: Program) -> Result<Vec<Origin>, ConfigError> {
    Sources::read(path, program.variables, std::env::vars_os())?.origins(program.renamed)
}

/// The settings that a program's configuration sets, one a line, each with its origin as a comment.
/// Addresses may contain secrets, so `url` is not shown.
///
/// # Errors
/// As [`origins`].
pub fn show(path: &Path, program: Program) -> Result<String, ConfigError> {
    let line = |Origin { name, value, from }: Origin| {
        let is_secret = name == "url" || name.ends_with(".url");
        let value = if is_secret { "\"(not shown)\"" } else { &value };
        format!("{name} = {value}  # {from}\n")
    };
    Ok(origins(path, program)?.into_iter().map(line).collect())
}

/// Parses a configuration from `text`; `path` is only used in errors.
///
/// # Errors
/// See [`load`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    Sources::of_text(path, text).parse(&[]).map(|(config, _)| config)
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
        let error = refusal(text);
        assert!(error.starts_with("drone.toml:5:1: "), "{error}");
        assert!(error.contains("unknown key `build_timout_ms`"), "{error}");
        assert!(error.contains("did you mean `build_timeout_ms`?"), "{error}");
    }

    #[test]
    fn an_unknown_key_like_no_other_lists_the_known_ones() {
        let error = refusal("listen = \"x\"\ncolour = 1\n");
        assert!(error.starts_with("drone.toml:2:1: unknown key `colour`"), "{error}");
        assert!(error.contains("expected one of: `listen`, `build`"), "{error}");
    }

    #[test]
    fn a_wrong_type_says_where_and_what_was_expected() {
        let error = refusal("listen = \"x\"\n[build]\njobs = \"two\"\n");
        assert!(error.starts_with("drone.toml:3:8: "), "{error}");
        assert!(error.contains("u32"), "{error}");
    }

    #[test]
    fn a_missing_key_and_broken_toml_are_told() {
        assert!(refusal("[build]\n").contains("missing key `listen`"));
        let error = refusal("listen = \"x\n");
        assert!(error.starts_with("drone.toml:1:"), "{error}");
    }

    #[test]
    fn a_missing_file_says_how_to_go_on() {
        let error = load::<Outer>(Path::new("/nowhere/x.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/x.toml"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn bytes_that_are_not_text_are_told_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.toml");
        std::fs::write(&path, b"listen = \"x\"\n# \xff\n").unwrap();
        let error = load::<Outer>(&path).unwrap_err().to_string();
        assert!(error.contains("bad.toml:2: "), "{error}");
    }
}
