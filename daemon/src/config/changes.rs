//! Finds the differences between two versions of a configuration file, so that a reload can report which
//! settings were applied and which need a restart.

use super::{ConfigError, Program, read};
use std::{collections::BTreeSet, path::Path};
use toml::{Table, Value};

/// The settings as written in the configuration.
#[derive(Debug, Clone, Default)]
pub struct RawConfig(Table);

impl RawConfig {
    /// Reads the configuration. A setting with its old name counts as the new one.
    ///
    /// # Errors
    /// A file cannot be read or is not valid TOML, or a setting has both names.
    pub fn load(path: &Path, program: Program) -> Result<Self, ConfigError> {
        read(path, program).map(|(table, _)| Self(table))
    }

    /// The names of the settings that differ in `newer`, such as `log.level`.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        compare("", &self.0, &newer.0, &mut names);
        names
    }
}

fn compare(within: &str, old: &Table, new: &Table, names: &mut BTreeSet<String>) {
    let empty = Table::new();
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let name = format!("{within}{key}");
        match (old.get(key), new.get(key)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => {
                compare(&format!("{name}."), old, new, names)
            }
            (Some(Value::Table(table)), None) | (None, Some(Value::Table(table))) => {
                compare(&format!("{name}."), table, &empty, names);
            }
            (old, new) if old == new => {}
            _ => drop(names.insert(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_appeared_or_went_is_named_with_its_section() {
        let written = |text: &str| RawConfig(text.parse().unwrap());
        let old = written("listen = \"a\"\n[log]\nlevel = \"info\"\ndir = \"/x\"\n[gone]\nx = 1\n");
        let new =
            written("listen = \"a\"\n[log]\nlevel = \"debug\"\ndir = \"/x\"\n[policy]\nlease = \"5s\"\n");
        let names: Vec<_> = old.changes(&new).into_iter().collect();
        assert_eq!(names, ["gone.x", "log.level", "policy.lease"]);
        assert!(new.changes(&new).is_empty());
    }
}
