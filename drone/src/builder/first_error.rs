//! Finds the first error in the output of a build, which is the one shown to users.
//!
//! Compilers and build tools each have their own format. Lines that only report that something failed
//! (printed by make, ninja, or the builder according to its [`Marks`]) come after the error and count only if
//! there is nothing else. Lines that may be harmless, such as a missing file, count only right before such a
//! report.

use super::marks::Marks;
use std::borrow::Cow;

/// Maximum length of an error text in bytes.
pub(super) const TEXT_BYTES: usize = 4096;
/// Number of bytes of a line to examine. Compiler command lines can be longer.
const LOOKED_AT: usize = 1024;
/// Number of lines after an error to add to its text.
const LINES_AFTER: usize = 20;
/// Maximum length in bytes of a headline that spans several lines.
const HEADLINE_BYTES: usize = 300;
/// Maximum distance in lines between a doubtful line and the failure that it explains.
const NEAR: u64 = 4;

/// How specific a line is about the failure. The first line of the lowest rank is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// An error message from a tool.
    Error,
    /// A crashed program or a failed test.
    Trouble,
    /// The reason that the builder gives for a failure.
    Reason,
    /// A tool reports that one of its parts failed.
    Part,
    /// The builder reports that the build failed.
    End,
}

const ERRORS: [&str; 23] = [
    ": error: ",
    ": fatal error: ",
    ": Error: ",
    ": ERROR: ",
    ": error adding symbols: ",
    ": error while loading shared libraries: ",
    ": internal compiler error: ",
    "Project ERROR: ",
    "undefined reference to ",
    "undefined symbol: ",
    "multiple definition of ",
    "cannot find -l",
    "can not be used when making a",
    "*** No rule to make target",
    "*** missing separator",
    "No space left on device",
    "Disk quota exceeded",
    "Cannot allocate memory",
    "virtual memory exhausted",
    "memory exhausted",
    "out of memory allocating",
    "std::bad_alloc",
    "Killed signal terminated program",
];
const ERROR_STARTS: [&str; 10] = [
    "error: ",
    "error[",
    "Error: ",
    "ERROR: ",
    "fatal error: ",
    "configure: error: ",
    "CMake Error",
    "Can't locate ",
    "LLVM ERROR: ",
    "npm error ",
];
const TROUBLES: [&str; 6] = [
    ": command not found",
    "Segmentation fault",
    "Assertion `",
    "error: linking with `",
    "***Failed",
    "error: command '",
];
const TROUBLE_STARTS: [&str; 8] = [
    "FAIL: ",
    "E   ",
    "patch: **** ",
    "npm ERR! ",
    "SyntaxError: ",
    "ModuleNotFoundError: ",
    "ImportError: ",
    "error: failed to run custom build command",
];
/// Summaries of an error that was printed earlier.
const PARTS: [&str; 8] = [
    "error: could not compile `",
    "error: aborting due to ",
    "error: build failed",
    ": error: ld returned ",
    "Configuring incomplete, errors occurred",
    "ERROR: Failed building wheel",
    "error: subprocess-exited-with-error",
    "Hunk #",
];
/// Often harmless.
const DOUBTFUL: [&str; 5] =
    ["No such file or directory", "Permission denied", "fatal: ", "cannot find ", "cannot open "];
/// Never the error, even if another pattern matches.
const HARMLESS: [&str; 4] = [" warning: ", "(ignored)", "configure: error: in `", "configure: WARNING"];
const HARMLESS_STARTS: [&str; 7] =
    ["checking ", "-- ", "warning: ", "libtool: compile:", "libtool: link:", "note: ", "+ "];

/// Which of the following lines still belong to the headline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continuation {
    Nothing,
    Line,
    Paragraph,
}

#[derive(Debug)]
struct Found {
    rank: Rank,
    at: u64,
    text: String,
    lines: usize,
    rest: Continuation,
}

impl Found {
    fn new(rank: Rank, at: u64, headline: &str) -> Self {
        let headline = clip(headline, TEXT_BYTES / 2);
        let rest = match headline {
            text if text.starts_with("CMake Error") && text.ends_with(':') => Continuation::Paragraph,
            text if text.ends_with(':') => Continuation::Line,
            _ => Continuation::Nothing,
        };
        Self { rank, at, text: format!("{headline}\n"), lines: 1, rest }
    }

    fn add(&mut self, line: &str, bare: &str) {
        let goes_on = match self.rest {
            Continuation::Nothing => false,
            Continuation::Line => !bare.is_empty(),
            // The text after the paragraph is not indented.
            Continuation::Paragraph => line.starts_with(' ') && !bare.is_empty(),
        };
        if goes_on && self.text.len() + bare.len() < HEADLINE_BYTES {
            self.text.pop();
            self.text.push_str(&format!(" {bare}\n"));
        } else if !bare.is_empty() && self.lines <= LINES_AFTER && self.text.len() + line.len() < TEXT_BYTES {
            self.text.push_str(line);
            self.text.push('\n');
            self.lines += 1;
        }
        self.rest = match self.rest {
            Continuation::Line if bare.is_empty() => Continuation::Line,
            Continuation::Paragraph if goes_on => Continuation::Paragraph,
            _ => Continuation::Nothing,
        };
    }
}

/// Searches the output of one step for its first error.
#[derive(Debug)]
pub(super) struct FirstError {
    marks: &'static Marks,
    found: Option<Found>,
    doubtful: Option<Found>,
    /// The last line that could explain a failure reported by the next line.
    before: Option<String>,
    /// Indentation of the traceback that is currently printed.
    traceback: Option<usize>,
    /// The next line contains the builder's reason for a failure.
    reasons: bool,
    line: u64,
}

impl FirstError {
    /// Searches the output of a kind of builder.
    pub fn new(marks: &'static Marks) -> Self {
        Self { marks, found: None, doubtful: None, before: None, traceback: None, reasons: false, line: 0 }
    }

    /// Processes one line, without escape sequences.
    pub fn see(&mut self, line: &str) {
        self.line += 1;
        for found in [&mut self.found, &mut self.doubtful].into_iter().flatten() {
            found.add(line, self.marks.bare(line));
        }
        // Nothing can outrank the first error.
        if line.trim().is_empty() || self.found.as_ref().is_some_and(|found| found.rank == Rank::Error) {
            return;
        }
        let line = clip(line, LOOKED_AT);
        let (bare, at) = (self.marks.bare(line), self.line);
        let is_reason = std::mem::replace(&mut self.reasons, (self.marks.is_verdict)(bare));
        if self.reasons || HARMLESS.iter().chain(self.marks.harmless).any(|text| line.contains(text)) {
            return;
        }
        let (rank, headline) = match self.rank(line, bare, is_reason) {
            Some(Rank::Part) if is_of_make(bare) => {
                // If the failed program printed a reason, it is in an earlier line.
                (Some(Rank::Part), self.before.take().unwrap_or_else(|| bare.to_owned()))
            }
            rank => (rank, bare.to_owned()),
        };
        match rank {
            Some(rank) if self.found.as_ref().is_none_or(|found| rank < found.rank) => {
                self.found = Some(Found::new(rank, at, &headline));
            }
            None if DOUBTFUL.iter().any(|text| line.contains(text))
                && self.doubtful.as_ref().is_none_or(|doubtful| doubtful.at + NEAR < at) =>
            {
                self.doubtful = Some(Found::new(Rank::Trouble, at, bare));
            }
            _ => {}
        }
        if !is_of_make(bare) && !is_progress(bare) {
            self.before = Some(clip(bare, HEADLINE_BYTES).to_owned());
        }
    }

    /// The error and the lines after it; `None` if there was no error.
    pub fn text(&self) -> Option<&str> {
        let Some(found) = &self.found else { return self.doubtful.as_ref().map(|d| d.text.as_str()) };
        let cause = self.doubtful.as_ref().filter(|doubtful| {
            // A doubtful line after the report is a consequence.
            found.rank >= Rank::Reason && (doubtful.at..=doubtful.at + NEAR).contains(&found.at)
        });
        Some(cause.unwrap_or(found).text.as_str())
    }

    fn rank(&mut self, line: &str, bare: &str, is_reason: bool) -> Option<Rank> {
        let indent = line.len() - line.trim_start().len();
        if bare.starts_with("Traceback (most recent call last)") {
            self.traceback = Some(indent);
            return None;
        }
        if let Some(of) = self.traceback {
            if indent > of {
                return None;
            }
            self.traceback = None;
            return Some(Rank::Error);
        }
        if is_reason {
            return Some(if (self.marks.says_nothing)(bare) { Rank::End } else { Rank::Reason });
        }
        if HARMLESS_STARTS.iter().any(|start| bare.starts_with(start)) {
            return None;
        }
        let has = |any: &[&str]| any.iter().any(|text| bare.contains(text));
        let starts = |any: &[&str]| any.iter().any(|start| bare.starts_with(start));
        if has(&PARTS) || is_of_make(bare) {
            return (!bare.starts_with("Hunk #") || bare.contains(" FAILED")).then_some(Rank::Part);
        }
        let own_trouble = self.marks.is_trouble;
        if has(&TROUBLES) || starts(&TROUBLE_STARTS) || is_absent(bare) || own_trouble(bare) || is_test(bare)
        {
            return Some(Rank::Trouble);
        }
        let is_error = has(&ERRORS) || starts(&ERROR_STARTS) || is_of_go(bare) || is_panic(bare);
        if is_error || starts(self.marks.error_starts) {
            return Some(Rank::Error);
        }
        starts(self.marks.end_starts).then_some(Rank::End)
    }
}

/// Whether make or ninja reports that a command failed.
fn is_of_make(line: &str) -> bool {
    let of_make = line.split_once("*** [").is_some_and(|(before, _)| {
        ["make", "gmake", "ninja", "scons"].iter().any(|tool| before.contains(tool))
    });
    of_make || line.starts_with("ninja: build stopped") || line.starts_with("make: Target ")
}

/// Whether the line only reports progress.
fn is_progress(line: &str) -> bool {
    line.starts_with(['[', '!']) || line.starts_with("FAILED: ") || line.contains("ing directory '")
}

/// Whether a shell reports a missing program: `sh: 1: tool: not found`.
fn is_absent(line: &str) -> bool {
    let Some(before) = line.strip_suffix(": not found") else { return false };
    before.split(": ").any(|part| part.bytes().all(|b| b.is_ascii_digit()) || part.starts_with("line "))
}

/// Whether pytest or meson reports a failed test.
fn is_test(line: &str) -> bool {
    let of_pytest = line.strip_prefix("FAILED ").is_some_and(|rest| rest.contains("::"));
    let numbered = line.split([' ', '/']).next().is_some_and(|n| n.parse::<u32>().is_ok());
    of_pytest || (numbered && line.contains('/') && line.contains(" FAIL "))
}

/// Whether this is an error of the Go compiler: `./main.go:5:2: undefined: tool`.
fn is_of_go(line: &str) -> bool {
    let Some((_, rest)) = line.split_once(".go:") else { return false };
    rest.split(':').take(2).all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        && rest.contains(": ")
}

/// Whether this is a Rust panic: `thread 'main' panicked at src/main.rs:5:2:`.
fn is_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains(" panicked at ")
}

/// The first `bytes` bytes of `text`, cut at a character boundary.
pub(super) fn clip(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The line as a terminal would show it: without escape sequences, control characters and overwritten
/// text.
pub(super) fn plain(line: &str) -> Cow<'_, str> {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or(line);
    if !line.contains(|c: char| c.is_control() && c != '\t') {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // A title or a link ends with BEL, or with ESC and a backslash.
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\\') {},
                Some('(' | ')') => _ = chars.next(),
                _ => {}
            },
            '\u{9b}' => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
