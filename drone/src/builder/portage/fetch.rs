//! Recognises the failed download of a source file in the output of Portage and its fetcher: the file, the
//! URLs that were tried, and the errors. A failing mirror does not matter as long as another one has the
//! file, so only Portage's final message about a file counts.

use crate::builder::{failure::made, marks::Downloads};
use swarm_common::{
    state::{FailureCause, FailureClass, Phase},
    wire::drone::Failure,
};

/// Maximum number of URLs in a message.
const PLACES: usize = 8;

/// Text around the file name in the message that Portage gives up a file.
const LAST_WORDS: [(&str, &str); 5] = [
    ("!!! Couldn't download '", "'. Aborting."),
    ("Warning: No mirrors available for file '", "'"),
    ("!!! File ", " isn't fetched but unable to get it."),
    ("!!! File ", " isn't fully fetched, but unable to complete it"),
    ("!!! File ", " is incorrect size, but unable to retry."),
];

/// Fetchers' messages about a server that did not deliver the file.
const REFUSALS: [&str; 6] = [
    "unable to resolve",
    "Temporary failure in name resolution",
    "failed: ",
    "ERROR ",
    "curl: (",
    "ssl connect attempt failed",
];

#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// The URLs tried so far, each with its error.
    places: Vec<(String, Option<String>)>,
    /// Number of URLs beyond [`PLACES`].
    more: usize,
    /// The current download is a mirror's `layout.conf`. A mirror without this file uses the default layout.
    layout: bool,
    mismatch: Option<Mismatch>,
    given_up: Option<String>,
}

/// A file whose size or checksum differs from the Manifest.
#[derive(Debug, Default)]
struct Mismatch {
    file: String,
    reason: String,
    got: String,
    expected: String,
}

fn between<'l>(line: &'l str, before: &str, after: &str) -> Option<&'l str> {
    line.strip_prefix(before)?.strip_suffix(after)
}

impl Downloads for Fetch {
    fn see(&mut self, line: &str) {
        let line = line.trim();
        if let Some(place) = between(line, ">>> Downloading '", "'") {
            self.layout = place.ends_with("/layout.conf");
        }
        if self.layout || line.contains("'.layout.conf.") {
            return;
        }
        if let Some(place) = between(line, ">>> Downloading '", "'") {
            if self.places.len() < PLACES {
                self.places.push((place.to_owned(), None));
            } else {
                self.more += 1;
            }
        } else if let Some(file) = between(line, "!!! Fetched file: ", " VERIFY FAILED!")
            .or_else(|| between(line, "!!! Previously fetched file: '", "'"))
        {
            self.mismatch = Some(Mismatch { file: file.to_owned(), ..Mismatch::default() });
        } else if line == "!!! Digest verification failed:" {
            // The message is about an existing file, whose path is on the next line.
            self.mismatch = Some(Mismatch::default());
        } else if let Some(at) = line.strip_suffix(" has fetch restriction turned on.") {
            let package = at.trim_start_matches("!!! ");
            self.given_up = Some(format!("the sources of {package}, which must be downloaded manually"));
        } else if let Some(file) = LAST_WORDS.iter().find_map(|(before, after)| between(line, before, after))
        {
            self.given_up = Some(file.to_owned());
        } else if line.contains(" ;-) ...") && !line.ends_with("[ !! ]") {
            // The file has arrived, so earlier errors no longer matter.
            *self = Self::default();
        } else if let Some(text) = line.strip_prefix("!!! ") {
            self.detail(text);
        } else if let Some(words) = REFUSALS.iter().find_map(|words| line.find(words))
            && self.more == 0
            && let Some((_, error)) = self.places.last_mut()
        {
            *error = Some(line[words..].chars().take(120).collect());
        }
    }

    fn failure(&self, phase: Phase, errors: &str) -> Option<Failure> {
        let file = self.given_up.as_ref()?;
        let wrong = self.mismatch.as_ref().filter(|m| m.file.rsplit('/').next() == Some(file));
        let (cause, what) = match wrong {
            Some(m) => {
                let numbers = format!("{}: got {}, expected {}", m.reason, m.got, m.expected);
                (FailureCause::SourceMismatch, format!("{file} does not match the Manifest: {numbers}"))
            }
            None => (FailureCause::SourceMissing, format!("cannot fetch {file}")),
        };
        let mut failure = made(FailureClass::Infra, Some(cause), phase, &what);
        failure.message =
            made(FailureClass::Infra, None, phase, &format!("{what}{}\n{errors}", self.places())).message;
        Some(failure)
    }
}

impl Fetch {
    fn detail(&mut self, text: &str) {
        let Some(mismatch) = &mut self.mismatch else { return };
        if let Some(reason) = text.strip_prefix("Reason: ") {
            mismatch.reason = reason.trim().to_owned();
        } else if let Some(got) = text.strip_prefix("Got: ") {
            mismatch.got = got.trim().to_owned();
        } else if let Some(expected) = text.strip_prefix("Expected: ") {
            mismatch.expected = expected.trim().to_owned();
            if self.given_up.is_none() && mismatch.file.starts_with('/') {
                self.given_up = mismatch.file.rsplit('/').next().map(str::to_owned);
            }
        } else if mismatch.file.is_empty() {
            mismatch.file = text.trim().to_owned();
        }
    }

    /// The list of tried URLs, for a message.
    fn places(&self) -> String {
        let tried = self.places.iter().map(|(place, error)| match error {
            Some(error) => format!("{place} ({error})"),
            None => place.clone(),
        });
        let tried: Vec<String> = tried.collect();
        match (tried.is_empty(), self.more) {
            (true, _) => "; no mirror was tried".to_owned(),
            (false, 0) => format!("; tried {}", tried.join(", ")),
            (false, more) => format!("; tried {} and {more} more", tried.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(log: &str) -> Option<Failure> {
        let mut fetch = Fetch::default();
        log.lines().for_each(|line| fetch.see(line));
        fetch.failure(Phase::Fetching, "")
    }

    const REROLLED: &str = "
>>> Downloading 'https://mirror.example/distfiles/ab/rolled-1.0.tar.gz'
--2026-08-01 12:00:01--  https://mirror.example/distfiles/ab/rolled-1.0.tar.gz
2026-08-01 12:00:02 ERROR 404: Not Found.
>>> Downloading 'https://upstream.example/rolled-1.0.tar.gz'
!!! Fetched file: rolled-1.0.tar.gz VERIFY FAILED!
!!! Reason: Filesize does not match recorded size
!!! Got:      1034
!!! Expected: 998
Refetching... File renamed to '/d/rolled-1.0.tar.gz._checksum_failure_.x1'
!!! Couldn't download 'rolled-1.0.tar.gz'. Aborting.
 * Fetch failed for 'app-misc/rolled-1.0', Log file:
";

    #[test]
    fn a_file_that_was_replaced_is_told_with_its_numbers_and_places() {
        let failure = failure(REROLLED).unwrap();
        assert_eq!(failure.cause, Some(FailureCause::SourceMismatch));
        assert_eq!(
            failure.message,
            "rolled-1.0.tar.gz does not match the Manifest: Filesize does not match recorded \
             size: got 1034, expected 998; tried https://mirror.example/distfiles/ab/rolled-1.0.tar.gz \
             (ERROR 404: Not Found.), https://upstream.example/rolled-1.0.tar.gz"
        );
        // Another drone tries mirrors in another order, but it is the same failure.
        assert!(!failure.signature.contains("example"), "{}", failure.signature);
    }

    #[test]
    fn a_file_that_nobody_has_is_told_with_what_each_place_said() {
        let failure = failure(
            ">>> Downloading 'http://a.example/x-1.tar.xz'\nwget: unable to resolve host address ‘a.example’\n\
             >>> Downloading 'http://b.example/x-1.tar.xz'\nConnecting to b.example|192.0.2.1|:80... failed: Connection refused.\n\
             !!! Couldn't download 'x-1.tar.xz'. Aborting.",
        );
        let failure = failure.unwrap();
        assert_eq!((failure.cause, failure.class), (Some(FailureCause::SourceMissing), FailureClass::Infra));
        for part in
            ["cannot fetch x-1.tar.xz", "unable to resolve host address", "failed: Connection refused"]
        {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }

    #[test]
    fn a_mirror_that_fails_is_nothing_while_another_gives_the_file() {
        let second = "!!! Fetched file: x-1.tar.xz VERIFY FAILED!\n!!! Reason: Failed on BLAKE2B verification\n\
             !!! Got:      aa\n!!! Expected: bb\n>>> Downloading 'http://b/x-1.tar.xz'\n \
             * x-1.tar.xz BLAKE2B SHA512 size ;-) ...                       [ ok ]\n>>> Unpacking source...";
        assert_eq!(failure(second), None);
    }

    #[test]
    fn a_wrong_file_that_lies_there_already_is_a_mismatch() {
        let failure = failure(
            "!!! Digest verification failed:\n!!! /var/cache/distfiles/x-1.tar.xz\n\
             !!! Reason: Failed on BLAKE2B verification\n!!! Got: aa\n!!! Expected: bb",
        );
        assert_eq!(failure.unwrap().cause, Some(FailureCause::SourceMismatch));
    }
}
