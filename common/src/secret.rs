//! Tokens and credentials: text that must not appear in a log, an error or on a screen by accident. `Debug`
//! prints no content and there is no `Display`; code that needs the text calls [`Secret::expose`], which is
//! easy to find in review.
//!
//! `config::secret` reads secrets from files, so that `swarm-core` stays free of I/O.

use std::fmt;

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret. Surrounding whitespace, such as a trailing newline, is removed.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The secret text, for sending or storing it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the secret is valid in an HTTP header: visible ASCII, at most 512 characters.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        !self.0.is_empty() && self.0.len() <= 512 && self.0.bytes().all(|b| b.is_ascii_graphic())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new(" hunter2\n");
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_not_well_formed() {
        for bad in ["", "a b", "a\nb", "ä", &"x".repeat(513)] {
            assert!(!Secret::new(bad).is_well_formed(), "{bad:?}");
        }
        assert!(Secret::new("Zm9v-_=.~+/").is_well_formed());
    }
}
