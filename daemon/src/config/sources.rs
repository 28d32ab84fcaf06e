//! Where the settings of a program come from: its configuration file, the files of the directory
//! beside it, and environment variables. A later source overrides an earlier one.
//!
//! Each text is padded with spaces by the length of those before it. The places in all of them are
//! then different numbers, so that a mistake found after merging is reported in its own file.

use super::{ConfigError, OldForm, Renamed, error::position};
use serde::{Deserialize as _, de::DeserializeOwned};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer, ValueDeserializer},
};

/// The largest configuration that is read, with all its files.
const MAX_BYTES: u64 = 1024 * 1024;

/// What the program of a configuration adds to its files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Program {
    /// What its environment variables begin with, such as `SWARM_DRONE__`; none if empty.
    pub variables: &'static str,
    /// Its settings that had another name.
    pub renamed: &'static [&'static [Renamed]],
}

/// A setting that a source sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name with its section, such as `policy.lease`.
    pub name: String,
    /// Its value as TOML.
    pub value: String,
    /// The source: `FILE:LINE`, or a variable.
    pub from: String,
}

/// All texts that settings come from, in the order in which they override each other.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

#[derive(Debug)]
struct Source {
    /// The file, or the name of a variable.
    name: PathBuf,
    is_variable: bool,
    padded: String,
    base: usize,
}

impl Source {
    fn text(&self) -> &str {
        self.padded.get(self.base..).unwrap_or_default()
    }
}

/// The directory of the files that are read after `path`: `drone.conf.d` beside `drone.toml`.
#[must_use]
pub fn directory(path: &Path) -> PathBuf {
    path.with_extension("conf.d")
}

impl Sources {
    /// The only source is this text.
    pub(super) fn of_text(path: &Path, text: &str) -> Self {
        let mut sources = Self::default();
        sources.add(path.to_owned(), false, text);
        sources
    }

    /// Reads only the file at `path`.
    pub(super) fn read_one(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self::of_text(path, &read_text(path, &mut 0)?))
    }

    /// Reads the file at `path`, those of its directory by name, and the program's variables.
    pub(super) fn read(
        path: &Path,
        variables: &str,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut sources = Self::default();
        let mut total = 0;
        for path in std::iter::once(path.to_owned()).chain(pieces(&directory(path))?) {
            let text = read_text(&path, &mut total)?;
            sources.add(path, false, &text);
        }
        if variables.is_empty() {
            return Ok(sources);
        }
        let mut found: Vec<_> = environment
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(variables.as_bytes()))
            .collect();
        found.sort();
        for (name, value) in found {
            let (name, text) = assignment(name, value, variables)?;
            sources.add(name, true, &text);
        }
        Ok(sources)
    }

    fn add(&mut self, name: PathBuf, is_variable: bool, text: &str) {
        let base = self.0.last().map_or(0, |last| last.padded.len());
        self.0.push(Source { name, is_variable, padded: " ".repeat(base) + text, base });
    }

    /// The settings of all sources, and those that have an old name.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        renamed: &[&[Renamed]],
    ) -> Result<(T, Vec<OldForm>), ConfigError> {
        let (table, old) = self.merged(renamed)?;
        let parsed = T::deserialize(Deserializer::from(table));
        Ok((parsed.map_err(|error| self.wrong(0, &error))?, old))
    }

    /// Every setting that a source sets, by name.
    pub(super) fn origins(&self, renamed: &[&[Renamed]]) -> Result<Vec<Origin>, ConfigError> {
        let (table, _) = self.merged(renamed)?;
        let mut origins = Vec::new();
        self.list("", table.get_ref(), &mut origins);
        origins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(origins)
    }

    fn merged(&self, renamed: &[&[Renamed]]) -> Result<(Spanned<DeTable<'_>>, Vec<OldForm>), ConfigError> {
        let mut all = Spanned::new(0..0, DeTable::new());
        let mut found = Vec::new();
        for source in &self.0 {
            let table = DeTable::parse(&source.padded);
            let mut table = table.map_err(|error| self.wrong(source.base, &error))?;
            for renamed in renamed.iter().copied().flatten() {
                let replaced = renamed.replace(table.get_mut());
                found.extend(replaced.map_err(|m| {
                    let (source, at) = self.locate(m.at.start);
                    ConfigError::at(&source.name, source.text(), at, m.what)
                })?);
            }
            merge(all.get_mut(), table.into_inner());
        }
        found.sort_by_key(|found| found.at);
        let old = found.into_iter().map(|found| {
            let (source, at) = self.locate(found.at);
            OldForm {
                path: source.name.clone(),
                line: position(source.text(), at).0,
                name: found.name,
                old: found.old,
                new: found.new,
            }
        });
        Ok((all, old.collect()))
    }

    /// The source of a place, and the place in it.
    fn locate(&self, at: usize) -> (&Source, usize) {
        let source = self.0.iter().rev().find(|source| source.base <= at).unwrap_or(&self.0[0]);
        (source, at - source.base)
    }

    /// The TOML reader's error, which is in the source at `base` if it does not know the place.
    fn wrong(&self, base: usize, error: &toml::de::Error) -> ConfigError {
        let (source, at) = self.locate(error.span().map_or(base, |span| span.start));
        ConfigError::from_toml(&source.name, source.text(), at, error)
    }

    fn list(&self, within: &str, table: &DeTable<'_>, origins: &mut Vec<Origin>) {
        for (key, value) in table {
            self.list_value(format!("{within}{}", key.get_ref()), value, origins);
        }
    }

    fn list_value(&self, name: String, value: &Spanned<DeValue<'_>>, origins: &mut Vec<Origin>) {
        match value.get_ref() {
            DeValue::Table(table) => self.list(&format!("{name}."), table, origins),
            DeValue::Array(array) if is_of_tables(array) => {
                for (index, item) in array.iter().enumerate() {
                    self.list_value(format!("{name}.{index}"), item, origins);
                }
            }
            _ => {
                let (source, at) = self.locate(value.span().start);
                let from = match source.is_variable {
                    true => source.name.display().to_string(),
                    false => format!("{}:{}", source.name.display(), position(source.text(), at).0),
                };
                // A value that was parsed has a text, except for a number that no type holds.
                let text = toml::Value::deserialize(ValueDeserializer::from(value.clone()))
                    .map_or_else(|error| error.message().to_owned(), |value| value.to_string());
                origins.push(Origin { name, value: text, from });
            }
        }
    }
}

/// Adds `later` to `all`: tables are merged, entries of `[[…]]` are appended, other values replaced.
fn merge<'i>(all: &mut DeTable<'i>, later: DeTable<'i>) {
    for (key, mut value) in later {
        match (all.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_mut()) {
            (Some(DeValue::Table(all)), DeValue::Table(later)) => merge(all, std::mem::take(later)),
            (Some(DeValue::Array(all)), DeValue::Array(later))
                if is_of_tables(all) && is_of_tables(later) =>
            {
                std::mem::replace(later, DeArray::new()).into_iter().for_each(|item| all.push(item));
            }
            _ => drop(all.insert(key, value)),
        }
    }
}

fn is_of_tables(array: &DeArray<'_>) -> bool {
    array.iter().next().is_some() && array.iter().all(|item| item.get_ref().is_table())
}

/// The files of a directory that are read, by name; none if it does not exist.
fn pieces(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(unreadable)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        // Editors keep hidden files beside the one that they edit.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_text(path: &Path, total: &mut u64) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    *total += fs::metadata(path).map_err(unreadable)?.len();
    if *total > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes: *total });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|e| {
        let before = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        ConfigError::NotText { path: path.to_owned(), line }
    })
}

/// A variable as a line of a configuration file: `SWARM_DRONE__BUILDER__SLOTS=2` is
/// `builder.slots = 2`. A value that is not TOML is a text.
fn assignment(name: OsString, value: OsString, variables: &str) -> Result<(PathBuf, String), ConfigError> {
    let path = PathBuf::from(&name);
    let wrong = |what: &str| ConfigError::Variable { name: path.clone(), what: what.to_owned() };
    let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else {
        return Err(wrong("it is not valid UTF-8"));
    };
    let keys = name.strip_prefix(variables).unwrap_or_default().to_ascii_lowercase().replace("__", ".");
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !keys.split('.').all(is_key) {
        return Err(wrong("it does not name a setting, such as SECTION__SETTING"));
    }
    let value = match toml::de::DeValue::parse(&value) {
        Ok(_) => value,
        Err(_) => toml::Value::String(value).to_string(),
    };
    Ok((path, format!("{keys} = {value}")))
}

#[cfg(test)]
mod tests;
