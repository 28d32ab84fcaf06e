//! Input in pieces of uneven sizes, as from a socket.

use std::io::{self, Read};

/// Reads from memory one to thirteen bytes at a time.
pub struct Pieces<'a> {
    rest: &'a [u8],
    last: usize,
}

impl<'a> Pieces<'a> {
    pub fn of(rest: &'a [u8]) -> Self {
        Self { rest, last: 0 }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.last = (self.last + 5) % 13;
        let want = buffer.len().min(self.last + 1);
        self.rest.read(&mut buffer[..want])
    }
}
