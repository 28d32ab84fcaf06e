//! Passwords of upstream caches, in the form of Nix's `netrc-file`.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Maximum size of the file in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// The logins for hosts. Has no `Debug`, so that no password is logged.
#[derive(Default)]
pub(super) struct Netrc(Vec<Entry>);

#[derive(Default)]
struct Entry {
    /// `None` for the entry `default`, which is for all hosts.
    host: Option<String>,
    login: String,
    password: String,
}

impl Netrc {
    /// Reads the file. A missing file has no entries.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => file.take(MAX_BYTES).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default().to_owned();
            match (word, entries.last_mut()) {
                ("machine", _) => entries.push(Entry { host: Some(value()), ..Entry::default() }),
                ("default", _) => entries.push(Entry::default()),
                ("login", Some(entry)) => entry.login = value(),
                ("password", Some(entry)) => entry.password = value(),
                _ => {}
            }
        }
        Self(entries)
    }

    /// Login and password for a host: those of the first entry for it.
    pub(super) fn login(&self, host: &str) -> Option<(&str, &str)> {
        let entry = self.0.iter().find(|entry| entry.host.as_deref().is_none_or(|named| named == host))?;
        Some((&entry.login, &entry.password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_for_a_host_counts_and_the_default_is_for_all_others() {
        let text = "machine cache.example login ada password s3cret\n\
                    machine cache.example login eve password other\n\
                    default login any password body\n";
        let netrc = Netrc::parse(text);
        assert_eq!(netrc.login("cache.example"), Some(("ada", "s3cret")));
        assert_eq!(netrc.login("other.example"), Some(("any", "body")));
        assert_eq!(Netrc::parse("login x password y machine").login("cache.example"), None);
    }

    #[test]
    fn a_missing_file_has_no_entries_and_an_unreadable_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Netrc::read(&dir.path().join("netrc")).is_ok_and(|netrc| netrc.0.is_empty()));
        assert!(Netrc::read(dir.path()).is_err());
    }
}
