//! Cleans a build's log for the terminal. The bytes are untrusted: colours are dropped, other
//! control characters are made visible, and invalid UTF-8 is replaced. Chunks may end anywhere,
//! even within a character or an escape sequence.

use super::text::push_clean;

/// Cleans a log chunk by chunk.
#[derive(Debug, Default)]
pub struct LogCleaner {
    /// The first bytes of an incomplete character.
    cut: Vec<u8>,
    escape: Escape,
    /// Whether the last character was a carriage return, which is dropped before a newline.
    returned: bool,
}

/// State of the parser within an escape sequence.
#[derive(Debug, Default)]
enum Escape {
    #[default]
    None,
    /// ESC, `[` and the parameters so far.
    Begun(String),
}

/// The maximum length of a colour sequence, in characters.
const MAX_ESCAPE: usize = 32;

impl LogCleaner {
    /// Cleans the next bytes.
    pub fn clean(&mut self, bytes: &[u8]) -> String {
        self.cut.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.cut);
        let mut out = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                self.push(&mut out, c);
            }
            let rest = chunk.invalid();
            let at_end = std::ptr::eq(rest.as_ptr_range().end, bytes.as_ptr_range().end);
            if at_end && !rest.is_empty() && could_go_on(rest) {
                self.cut = rest.to_vec();
            } else if !rest.is_empty() {
                self.push(&mut out, char::REPLACEMENT_CHARACTER);
            }
        }
        out
    }

    /// Ends the log. Returns what was held back.
    pub fn finish(mut self) -> String {
        let mut out = String::new();
        self.give_up(&mut out);
        if !self.cut.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        out
    }

    fn push(&mut self, out: &mut String, c: char) {
        if let Escape::Begun(sequence) = &mut self.escape {
            let opens = sequence.len() == 1 && c == '[';
            let goes_on = sequence.len() > 1 && (c.is_ascii_digit() || c == ';' || c == ':');
            if (opens || goes_on) && sequence.len() < MAX_ESCAPE {
                sequence.push(c);
                return;
            }
            // `m` sets a colour and `K` clears the rest of a line: both are dropped.
            if sequence.len() > 1 && (c == 'm' || c == 'K') {
                self.escape = Escape::None;
                return;
            }
            self.give_up(out);
        }
        if std::mem::take(&mut self.returned) && c != '\n' {
            // Progress meters rewrite their line. Here each state gets its own line.
            out.push('\n');
        }
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => self.returned = true,
            '\u{1b}' => self.escape = Escape::Begun(c.to_string()),
            c => push_clean(out, c),
        }
    }

    /// Prints the sequence visibly, because it is not a colour.
    fn give_up(&mut self, out: &mut String) {
        if let Escape::Begun(sequence) = std::mem::take(&mut self.escape) {
            for c in sequence.chars() {
                push_clean(out, c);
            }
        }
    }
}

/// Whether more bytes could complete an incomplete character.
fn could_go_on(bytes: &[u8]) -> bool {
    bytes.len() < 4 && std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(bytes: &[u8], size: usize) -> String {
        let mut cleaner = LogCleaner::default();
        let mut out: String = bytes.chunks(size).map(|piece| cleaner.clean(piece)).collect();
        out.push_str(&cleaner.finish());
        out
    }

    #[test]
    fn a_log_is_the_same_however_it_is_cut() {
        let log = "\x1b[32;01m * \x1b[0mbuilding \u{fc}\u{2713}\x1b[2J\x1b]0;title\x07\r\n10%\r20%\n\tok\u{202e}\x1b[1".as_bytes();
        let log = [log, b"\xff\xe2\x82"].concat();
        let want =
            " * building ü✓\\u{1b}[2J\\u{1b}]0;title\\u{7}\n10%\n20%\n\tok\\u{202e}\\u{1b}[1\u{fffd}\u{fffd}";
        for size in 1..=log.len() {
            assert_eq!(cleaned(&log, size), want, "in pieces of {size}");
        }
    }

    #[test]
    fn an_escape_without_end_is_not_collected_for_ever() {
        let log = format!("\x1b[{}", "1;".repeat(1000));
        assert!(cleaned(log.as_bytes(), 7).starts_with("\\u{1b}[1;1;"));
    }
}
