//! A pull parser for archives from untrusted sources.

use super::{
    MAGIC, MAX_NAME, MAX_TARGET, NAME_LENGTH, NarError, NarEvent, NarKind, NarLimits, NarSummary, References,
    TARGET_LENGTH, check_name, check_target, source::Source,
};
use std::io::{self, Read};

/// The maximum length of a keyword, in bytes.
const MAX_WORD: usize = 16;

/// Parses an archive event by event. After a [`NarKind::File`] event its contents can be read through
/// [`Read`]. [`NarReader::next_event`] skips what was not read.
pub struct NarReader<R> {
    source: Source<R>,
    limits: NarLimits,
    entries: u64,
    /// The name of the previous entry in each open directory.
    open: Vec<Vec<u8>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Within a directory, before an entry or the end.
    Directory,
    /// Within a file, with `left` bytes of its contents unread.
    File {
        size: u64,
        left: u64,
    },
    /// After the end of the root node.
    Over,
    Failed,
}

impl<R: Read> NarReader<R> {
    /// Starts reading an archive.
    pub fn new(inner: R, limits: NarLimits) -> Self {
        Self::scanning(inner, limits, References::default())
    }

    /// Starts reading an archive that is also scanned for references.
    pub fn scanning(inner: R, limits: NarLimits, references: References) -> Self {
        let source = Source::new(inner, &limits, references);
        Self { source, limits, entries: 0, open: Vec::new(), state: State::Start }
    }

    /// The next event. `None` at the end of the archive, which is also the end of the source.
    ///
    /// # Errors
    /// The source fails or ends early, or the archive is malformed or too large. Every later call then fails
    /// as well.
    pub fn next_event(&mut self) -> Result<Option<NarEvent>, NarError> {
        let event = self.event();
        if event.is_err() {
            self.state = State::Failed;
        }
        event
    }

    /// Reads the rest, and returns hash, size and references of the whole archive.
    ///
    /// # Errors
    /// As [`NarReader::next_event`].
    pub fn finish(mut self) -> Result<NarSummary, NarError> {
        while self.next_event()?.is_some() {}
        Ok(self.source.finish())
    }

    fn event(&mut self) -> Result<Option<NarEvent>, NarError> {
        if let State::File { size, left } = self.state {
            self.source.skip(left)?;
            self.source.padding(size)?;
            self.expect(")")?;
            self.end_node()?;
        }
        match self.state {
            State::Start => {
                self.expect(MAGIC)?;
                self.node(Vec::new()).map(Some)
            }
            State::Directory => match self.word()?.as_slice() {
                b"entry" => {
                    self.expect("(")?;
                    self.expect("name")?;
                    let name = self.source.string(MAX_NAME, NAME_LENGTH)?;
                    if let Some(previous) = self.open.last_mut() {
                        check_name(&name, previous).map_err(|reason| self.source.malformed(reason))?;
                        previous.clone_from(&name);
                    }
                    self.expect("node")?;
                    self.node(name).map(Some)
                }
                b")" => {
                    self.open.pop();
                    self.end_node()?;
                    Ok(Some(NarEvent::Leave))
                }
                _ => Err(self.expected("entry")),
            },
            State::Over if self.source.peek()?.is_empty() => Ok(None),
            State::Over => Err(self.source.malformed("trailing data")),
            State::File { .. } | State::Failed => Err(self.source.malformed("reading it failed before")),
        }
    }

    fn node(&mut self, name: Vec<u8>) -> Result<NarEvent, NarError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let limit = self.limits.entries;
            return Err(NarError::TooLarge { what: "the number of its entries", limit });
        }
        self.expect("(")?;
        self.expect("type")?;
        let kind = match self.word()?.as_slice() {
            b"regular" => {
                let executable = match self.word()?.as_slice() {
                    b"executable" => {
                        self.expect("")?;
                        self.expect("contents")?;
                        true
                    }
                    b"contents" => false,
                    _ => return Err(self.expected("contents")),
                };
                let size = self.source.length()?;
                self.state = State::File { size, left: size };
                NarKind::File { executable, size, offset: self.source.at() }
            }
            b"symlink" => {
                self.expect("target")?;
                let target = self.source.string(MAX_TARGET, TARGET_LENGTH)?;
                check_target(&target).map_err(|reason| self.source.malformed(reason))?;
                self.expect(")")?;
                self.end_node()?;
                NarKind::Symlink { target }
            }
            b"directory" => {
                if self.open.len() == self.limits.depth {
                    let limit = self.limits.depth as u64;
                    return Err(NarError::TooLarge { what: "the depth of its directories", limit });
                }
                self.open.push(Vec::new());
                self.state = State::Directory;
                NarKind::Directory
            }
            _ => {
                return Err(self
                    .source
                    .malformed("the type of a node must be regular, symlink or directory"));
            }
        };
        Ok(NarEvent::Node { name, kind })
    }

    /// Closes the entry that the node belongs to, unless the node is the root.
    fn end_node(&mut self) -> Result<(), NarError> {
        self.state = State::Over;
        if !self.open.is_empty() {
            self.expect(")")?;
            self.state = State::Directory;
        }
        Ok(())
    }

    fn word(&mut self) -> Result<Vec<u8>, NarError> {
        self.source.string(MAX_WORD, "an unknown keyword")
    }

    fn expect(&mut self, word: &'static str) -> Result<(), NarError> {
        if self.word()? == word.as_bytes() { Ok(()) } else { Err(self.expected(word)) }
    }

    fn expected(&self, expected: &'static str) -> NarError {
        NarError::Expected { at: self.source.at(), expected }
    }
}

impl<R: Read> Read for NarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let State::File { size, left } = self.state else { return Ok(0) };
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        match self.source.read_some(&mut buffer[..want]) {
            Ok(n) => {
                self.state = State::File { size, left: left - n as u64 };
                Ok(n)
            }
            Err(error) => {
                self.state = State::Failed;
                Err(error.into_io())
            }
        }
    }
}
