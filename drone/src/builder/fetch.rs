//! A source file that could not be had, read from what Portage and its fetcher print: which
//! file, where it was looked for, and what was wrong with it. A mirror that fails is nothing
//! while another gives the file, so only Portage's last word on a file counts.

use super::failure::made;
use swarm_common::{
    state::{FailureCause, FailureClass, Phase},
    wire::drone::Failure,
};

/// The most places that are told of.
const PLACES: usize = 8;

/// What Portage says before the name of a file that it gives up, and after it.
const LAST_WORDS: [(&str, &str); 5] = [
    ("!!! Couldn't download '", "'. Aborting."),
    ("Warning: No mirrors available for file '", "'"),
    ("!!! File ", " isn't fetched but unable to get it."),
    ("!!! File ", " isn't fully fetched, but unable to complete it"),
    ("!!! File ", " is incorrect size, but unable to retry."),
];

/// What fetchers say of one place that did not give the file.
const REFUSALS: [&str; 6] = [
    "unable to resolve",
    "Temporary failure in name resolution",
    "failed: ",
    "ERROR ",
    "curl: (",
    "ssl connect attempt failed",
];

/// What was seen of fetching so far.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// Where the file was looked for, and what came of it there.
    places: Vec<(String, Option<String>)>,
    /// How many more there were.
    more: usize,
    /// What is fetched now is how a mirror is laid out. One that does not say is as usual.
    layout: bool,
    mismatch: Option<Mismatch>,
    given_up: Option<String>,
}

/// A file that is not the one that the Manifest names.
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

impl Fetch {
    /// Looks at one line.
    pub fn see(&mut self, line: &str) {
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
            // Of a file that was there before; its path comes next.
            self.mismatch = Some(Mismatch::default());
        } else if let Some(at) = line.strip_suffix(" has fetch restriction turned on.") {
            let package = at.trim_start_matches("!!! ");
            self.given_up = Some(format!("the sources of {package}, which a person has to download"));
        } else if let Some(file) = LAST_WORDS.iter().find_map(|(before, after)| between(line, before, after))
        {
            self.given_up = Some(file.to_owned());
        } else if line.contains(" ;-) ...") && !line.ends_with("[ !! ]") {
            // The file is there: what failed before is over.
            *self = Self::default();
        } else if let Some(text) = line.strip_prefix("!!! ") {
            self.detail(text);
        } else if let Some(words) = REFUSALS.iter().find_map(|words| line.find(words))
            && self.more == 0
            && let Some((_, said)) = self.places.last_mut()
        {
            *said = Some(line[words..].chars().take(120).collect());
        }
    }

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

    /// The failure that it comes to, if a file was given up. `said` is all that was printed
    /// of it.
    pub fn failure(&self, phase: Phase, said: &str) -> Option<Failure> {
        let file = self.given_up.as_ref()?;
        let wrong = self.mismatch.as_ref().filter(|m| m.file.rsplit('/').next() == Some(file));
        let (cause, what) = match wrong {
            Some(m) => {
                let numbers = format!("{}: got {}, expected {}", m.reason, m.got, m.expected);
                (
                    FailureCause::SourceMismatch,
                    format!("{file} is not the file that the Manifest names: {numbers}"),
                )
            }
            None => (FailureCause::SourceMissing, format!("{file} cannot be fetched")),
        };
        let mut failure = made(FailureClass::Infra, Some(cause), phase, &what);
        failure.message =
            made(FailureClass::Infra, None, phase, &format!("{what}{}\n{said}", self.places())).message;
        Some(failure)
    }

    /// Where it was looked for, in words.
    fn places(&self) -> String {
        let told = self.places.iter().map(|(place, said)| match said {
            Some(said) => format!("{place} ({said})"),
            None => place.clone(),
        });
        let told: Vec<String> = told.collect();
        match (told.is_empty(), self.more) {
            (true, _) => "; no mirror was tried".to_owned(),
            (false, 0) => format!("; tried {}", told.join(", ")),
            (false, more) => format!("; tried {} and {more} more", told.join(", ")),
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
            "rolled-1.0.tar.gz is not the file that the Manifest names: Filesize does not match recorded \
             size: got 1034, expected 998; tried https://mirror.example/distfiles/ab/rolled-1.0.tar.gz \
             (ERROR 404: Not Found.), https://upstream.example/rolled-1.0.tar.gz"
        );
        // Another drone asks its mirrors in another order, and it is the same failure.
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
            ["x-1.tar.xz cannot be fetched", "unable to resolve host address", "failed: Connection refused"]
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
