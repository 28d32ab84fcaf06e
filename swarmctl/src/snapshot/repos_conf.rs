//! Reads the bundle's `repos.conf`: the repositories and their settings. Locations and sync settings are specific
//! to a machine. Settings that determine which ebuild is built become part of the snapshot.

use super::{shell::Place, tree::files_at};
use crate::failure::Failure;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};
use swarm_formats::snapshot::{REPOSITORY_SETTINGS, is_repository_setting};

/// The contents of `repos.conf`.
#[derive(Debug, Default)]
pub(super) struct ReposConf {
    pub(super) main: Option<String>,
    pub(super) repositories: BTreeMap<String, Entry>,
    /// The settings of `[DEFAULT]`, which apply to every repository without a value of its own.
    defaults: BTreeMap<String, String>,
}

/// The section of one repository.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) location: Option<PathBuf>,
    pub(super) settings: BTreeMap<String, String>,
}

impl ReposConf {
    /// Reads the file, or all files of the directory, if it exists.
    pub(super) fn read(bundle: &Path) -> Result<Self, Failure> {
        let mut conf = Self::default();
        for file in files_at(&bundle.join("etc/portage/repos.conf"))? {
            let name: Rc<str> = file.strip_prefix(bundle).unwrap_or(&file).display().to_string().into();
            let text =
                fs::read_to_string(&file).map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?;
            conf.add(&name, &text)?;
        }
        Ok(conf)
    }

    fn add(&mut self, file: &Rc<str>, text: &str) -> Result<(), Failure> {
        let mut section = None;
        for (line, text) in text.lines().enumerate().map(|(i, line)| (i + 1, line)) {
            let at = Place { file: Rc::clone(file), line };
            let trimmed = text.trim();
            // An indented line continues the previous value. None of the settings used here has more than one
            // line.
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || text.starts_with([' ', '\t']) {
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = Some(name.to_owned());
                if name != "DEFAULT" {
                    self.repositories.entry(name.to_owned()).or_default();
                }
                continue;
            }
            let assigned = trimmed.find(['=', ':']).map(|i| (trimmed[..i].trim(), trimmed[i + 1..].trim()));
            let (Some((key, value)), Some(section)) = (assigned, &section) else {
                return Err(Failure::Failed(format!("{at}: expected [NAME] or KEY = VALUE")));
            };
            let value = value.replace("%(EPREFIX)s", "").replace("%(EROOT)s", "");
            match (section.as_str(), key) {
                ("DEFAULT", "main-repo") => self.main = Some(value),
                ("DEFAULT", "location") => {}
                (name, "location") => self.entry(name).location = Some(value.into()),
                (name, key) if REPOSITORY_SETTINGS.contains(&key) => {
                    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                    if !is_repository_setting(key, &value) {
                        let value = value.escape_debug();
                        return Err(Failure::Failed(format!("{at}: invalid value `{value}` for {key}")));
                    }
                    let settings = match name {
                        "DEFAULT" => &mut self.defaults,
                        name => &mut self.entry(name).settings,
                    };
                    settings.insert(key.to_owned(), value);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// The locations of the repositories, which are used if the user names none.
    pub(super) fn locations(&self) -> Vec<PathBuf> {
        self.repositories.values().filter_map(|entry| entry.location.clone()).collect()
    }

    /// The settings of one repository, including defaults.
    pub(super) fn settings(&self, name: &str) -> BTreeMap<String, String> {
        let mut settings = self.defaults.clone();
        settings.extend(self.repositories.get(name).map(|entry| entry.settings.clone()).unwrap_or_default());
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Result<ReposConf, Failure> {
        let mut conf = ReposConf::default();
        conf.add(&"repos.conf".into(), text).map(|()| conf)
    }

    #[test]
    fn places_and_what_decides_between_repositories_are_taken() {
        let read = conf(
            "# mine\n[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = %(EPREFIX)s/var/db/repos/gentoo\n\
             sync-type: git\nsync-uri = https://x/[y]\n[local]\nlocation=/srv/local\npriority: 50\nmasters =  gentoo\tguru\n",
        )
        .unwrap();
        assert_eq!(read.main.as_deref(), Some("gentoo"));
        assert_eq!(read.locations(), [PathBuf::from("/var/db/repos/gentoo"), "/srv/local".into()]);
        assert!(read.settings("gentoo").is_empty());
        let local = read.settings("local");
        assert_eq!((local["priority"].as_str(), local["masters"].as_str()), ("50", "gentoo guru"));
    }

    #[test]
    fn defaults_hold_for_every_repository_without_a_value_of_its_own() {
        let read = conf(
            "[local]\npriority = 50\n[DEFAULT]\nmain-repo = gentoo\npriority = 7\neclass-overrides = local\n\
             location = /x\n[gentoo]\n",
        )
        .unwrap();
        let of = |name: &str, key: &str| read.settings(name)[key].clone();
        assert_eq!((of("local", "priority"), of("gentoo", "priority")), ("50".into(), "7".into()));
        for name in ["local", "gentoo", "passed by hand"] {
            assert_eq!(of(name, "eclass-overrides"), "local");
        }
        assert!(read.locations().is_empty());
        assert!(conf("[DEFAULT]\npriority = high\n").unwrap_err().to_string().contains("invalid value"));
    }

    #[test]
    fn what_is_no_setting_is_told_with_its_line() {
        for (text, want) in [
            ("[a]\npriority = high\n", "repos.conf:2: invalid value `high` for priority"),
            ("location = /x\n", "repos.conf:1: expected [NAME]"),
            ("[a]\nlocation\n", "repos.conf:2: expected"),
        ] {
            let error = conf(text).unwrap_err().to_string();
            assert!(error.contains(want), "{want}: {error}");
        }
    }
}
