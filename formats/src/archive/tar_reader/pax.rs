//! Extended headers (POSIX.1-2001): records about the entry that follows.

use super::{
    TarError,
    header::{check_id, check_time},
};
use std::collections::BTreeSet;

/// Key prefix of extended attributes.
pub const XATTR: &[u8] = b"SCHILY.xattr.";

#[derive(Default)]
pub(super) struct Pax {
    pub(super) seen: bool,
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    /// Parses records of the form `LENGTH KEY=VALUE\n`, where the decimal length includes itself.
    pub(super) fn parse(mut rest: &[u8]) -> Result<Self, TarError> {
        let malformed = || TarError::Malformed("a malformed extended header");
        let decimal = |bytes: &[u8]| {
            let plain = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(bytes).ok().filter(|_| plain)?.parse::<u64>().ok()
        };
        // Fractions of a second are dropped.
        let seconds = |bytes: &[u8]| {
            let (negative, bytes) = match bytes.strip_prefix(b"-") {
                Some(bytes) => (true, bytes),
                None => (false, bytes),
            };
            let whole = match bytes.iter().position(|&b| b == b'.') {
                Some(dot) if bytes[dot + 1..].iter().all(u8::is_ascii_digit) => &bytes[..dot],
                Some(_) => return None,
                None => bytes,
            };
            let whole = i64::try_from(decimal(whole)?).ok()?;
            Some(if negative { -whole } else { whole })
        };
        let mut pax = Self { seen: true, ..Self::default() };
        // If a key has two values, the `tar` crate takes the first and other readers the last.
        let mut keys = BTreeSet::new();
        while !rest.is_empty() {
            let blank = rest.iter().position(|&b| b == b' ').ok_or_else(malformed)?;
            let length = decimal(&rest[..blank]).and_then(|n| usize::try_from(n).ok());
            let length = length.filter(|&n| n > blank + 1 && n <= rest.len()).ok_or_else(malformed)?;
            let record = rest[blank + 1..length].strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|&b| b == b'=').filter(|&at| at > 0).ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if !keys.insert(key) {
                return Err(TarError::Malformed("an extended header with two values for a key"));
            }
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => pax.size = Some(decimal(value).ok_or_else(malformed)?),
                b"uid" => pax.uid = Some(decimal(value).ok_or_else(malformed)?),
                b"gid" => pax.gid = Some(decimal(value).ok_or_else(malformed)?),
                b"mtime" => pax.mtime = Some(seconds(value).ok_or_else(malformed)?),
                b"atime" | b"ctime" => _ = seconds(value).ok_or_else(malformed)?,
                // The record declares the encoding of names.
                b"hdrcharset" => return Err(TarError::Malformed("names in an encoding of their own")),
                _ if key.starts_with(XATTR) => pax.xattrs.push((key[XATTR.len()..].to_vec(), value.to_vec())),
                _ if key.starts_with(b"GNU.sparse") => {
                    return Err(TarError::Malformed("a sparse file"));
                }
                _ => {}
            }
            rest = &rest[length..];
        }
        if pax.size.is_some_and(|size| size > i64::MAX as u64) {
            return Err(malformed());
        }
        pax.uid.into_iter().chain(pax.gid).try_for_each(check_id)?;
        pax.mtime.map_or(Ok(()), check_time)?;
        Ok(pax)
    }
}
