//! Tar headers (512 bytes), accepted only if every reader interprets them alike.
//!
//! Python's tarfile parses numbers with `int(text, 8)`, which accepts signs and underscores, and silently
//! ends the archive on failure. GNU tar stops at the first non-digit. So a number must either consist of
//! digits, optionally preceded by blanks and followed by blanks or NULs, or be in GNU's base-256.

use super::TarError;

pub(super) const BLOCK: usize = 512;

/// The maximum uid and gid. The next value means "do not change".
const MAX_ID: u64 = u32::MAX as u64 - 1;
/// The accepted range of times, in seconds before and after 1970. 33 bits reach to 2242.
const MAX_TIME: i64 = 1 << 33;

/// Checks that all readers interpret each field alike, and that the checksum is correct.
pub(super) fn check(header: &[u8; BLOCK]) -> Result<(), TarError> {
    if octal(&header[148..156])? != checksum(header) {
        return Err(TarError::Malformed("a header with a wrong checksum"));
    }
    if !matches!(&header[257..265], b"ustar\x0000" | b"ustar  \0") {
        return Err(TarError::Malformed("a header in neither the POSIX nor the GNU format"));
    }
    for field in [100..108, 124..136, 329..337, 337..345] {
        number(&header[field])?;
    }
    check_id(number(&header[108..116])?)?;
    check_id(number(&header[116..124])?)?;
    check_time(time(&header[136..148])?)
}

pub(super) fn check_id(id: u64) -> Result<(), TarError> {
    if id > MAX_ID { Err(TarError::Malformed("an owner that no system has")) } else { Ok(()) }
}

pub(super) fn check_time(time: i64) -> Result<(), TarError> {
    if time.unsigned_abs() > MAX_TIME as u64 {
        return Err(TarError::Malformed("a time that no file system has"));
    }
    Ok(())
}

/// The sum of all bytes, counting the checksum field as blanks.
fn checksum(header: &[u8; BLOCK]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&b| u64::from(b)).sum::<u64>();
    sum(header) - sum(&header[148..156]) + 8 * u64::from(b' ')
}

/// Whether the header is exactly what every ustar writer produces for a regular file.
pub(super) fn is_plain(header: &[u8; BLOCK]) -> bool {
    let octal = |field: &[u8], end: &[u8]| {
        field.strip_suffix(end).is_some_and(|digits| digits.iter().all(|b| matches!(b, b'0'..=b'7')))
    };
    let nothing = |field: &[u8]| field.iter().all(|&b| b == 0);
    let padded = |field: &[u8]| nothing(&field[text(field).len()..]);
    let numbers = [100..108, 108..116, 116..124, 124..136, 136..148].map(|at| octal(&header[at], b"\0"));
    let devices = [329..337, 337..345].map(|at| nothing(&header[at.clone()]) || octal(&header[at], b"\0"));
    numbers.iter().chain(&devices).all(|&plain| plain)
        && octal(&header[148..156], b"\0 ")
        && header[156] == b'0'
        && &header[257..265] == b"ustar\x0000"
        && [0..100, 265..297, 297..329].into_iter().all(|at| padded(&header[at]))
        && nothing(&header[157..257])
        && nothing(&header[345..])
}

/// The bytes before the first NUL.
pub(super) fn text(field: &[u8]) -> Vec<u8> {
    field.split(|&b| b == 0).next().unwrap_or_default().to_vec()
}

/// `prefix/name` of a ustar header, or the name alone in formats without a prefix.
pub(super) fn plain_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&header[..100]);
    let prefix = text(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix, name].join(&b'/') } else { name }
}

const MALFORMED: TarError = TarError::Malformed("a header with a malformed number");

/// Parses a non-negative number.
pub(super) fn number(field: &[u8]) -> Result<u64, TarError> {
    match field.split_first() {
        Some((0x80, digits)) => base256(digits, 0),
        _ => octal(field),
    }
}

/// Parses a time, in seconds since the Unix epoch, negative before it.
pub(super) fn time(field: &[u8]) -> Result<i64, TarError> {
    let read = match field.split_first() {
        // Two's complement over all bytes but the first.
        Some((0xff, digits)) => return Ok(base256(digits, 0xff)? as i64),
        _ => number(field)?,
    };
    i64::try_from(read).map_err(|_| MALFORMED)
}

/// Parses a big-endian number. The bytes before the last eight must be `filler`.
fn base256(digits: &[u8], filler: u8) -> Result<u64, TarError> {
    let (head, tail) = digits.split_at(digits.len().saturating_sub(8));
    let value = tail.iter().fold(if filler == 0 { 0 } else { u64::MAX }, |sum, &b| (sum << 8) | u64::from(b));
    let fits = (value >> 63 == 0) == (filler == 0);
    if fits && head.iter().all(|&b| b == filler) { Ok(value) } else { Err(MALFORMED) }
}

fn octal(field: &[u8]) -> Result<u64, TarError> {
    let blanks = field.iter().take_while(|&&b| b == b' ').count();
    let (digits, end) = match field[blanks..].iter().position(|b| !matches!(b, b'0'..=b'7')) {
        Some(at) => field[blanks..].split_at(at),
        None => (&field[blanks..], &[][..]),
    };
    let ends = end.iter().all(|b| matches!(b, b' ' | 0));
    // An empty number is 0 only if all bytes are NUL. GNU tar does not accept blanks.
    if !ends || (digits.is_empty() && field.iter().any(|&b| b != 0)) {
        return Err(MALFORMED);
    }
    Ok(digits.iter().fold(0, |sum, &b| sum << 3 | u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_python_and_gnu_tar_read_them_or_not_at_all() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b" 644 \0\0\0", Some(0o644)),
            (b"77777777", Some(0o77_777_777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", None),
            (b"\x30\x30\x300644\0x", None),
            (b"0000648\0", None),
            (b"+000644\0", None),
            (b"0_00644\0", None),
            (b"-000644\0", None),
            (b"000\x00644\0", None),
            (b"12 34\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\x81\0\0\0\0\0\x01\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field).ok(), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn times_before_1970_are_read_as_python_reads_them() {
        for (field, expected) in [
            (b"14711222333\0", Some(0o14_711_222_333)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\0", Some(-512)),
            (b"\xff\0\xff\xff\xff\xff\xff\xff\xff\xff\xfe\0", None),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xfe\0", None),
        ] {
            assert_eq!(time(field).ok(), expected, "{}", field.escape_ascii());
        }
    }
}
