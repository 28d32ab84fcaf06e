//! Parses the expiry time of a certificate, which the TLS library checks on clients but does not
//! expose. The few fields before it are skipped. The encoding is DER (X.690); the fields and the
//! two time formats are defined in RFC 5280, section 4.1.

use jiff::Timestamp;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate expires; `None` if the bytes are not a certificate.
pub(super) fn last_moment(der: &[u8]) -> Option<Timestamp> {
    let (mut certificate, _) = take(der, SEQUENCE)?;
    let (mut signed, _) = take(certificate, SEQUENCE)?;
    if let Some((_, rest)) = take(signed, VERSION) {
        signed = rest;
    }
    for field in [INTEGER, SEQUENCE, SEQUENCE] {
        // Serial number, signature algorithm, issuer.
        (_, signed) = take(signed, field)?;
    }
    (certificate, _) = take(signed, SEQUENCE)?;
    let (_, end) = take(certificate, UTC_TIME).or_else(|| take(certificate, GENERALIZED_TIME))?;
    let text = match take(end, UTC_TIME) {
        // Two-digit years: 1950 to 2049.
        Some((text, _)) => {
            let text = std::str::from_utf8(text).ok()?;
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
            format!("{century}{text}")
        }
        None => std::str::from_utf8(take(end, GENERALIZED_TIME)?.0).ok()?.to_owned(),
    };
    // YYYYMMDDHHMMSSZ, as RFC 5280 requires.
    let (day, time) = text.split_at_checked(8)?;
    format!("{day}T{time}").parse().ok()
}

/// If the first element has this tag, returns its content and the bytes that follow it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn certificate(end_tag: u8, end: &str) -> Vec<u8> {
        let times = [element(UTC_TIME, b"200101000000Z"), element(end_tag, end.as_bytes())].concat();
        let fields = [
            element(VERSION, &element(INTEGER, &[2])),
            element(INTEGER, &[1]),
            element(SEQUENCE, b""),
            element(SEQUENCE, b"issuer"),
            element(SEQUENCE, &times),
        ];
        element(SEQUENCE, &element(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn both_ways_of_writing_a_time_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "361121094500Z", "2036-11-21T09:45:00Z"),
            (UTC_TIME, "991231235959Z", "1999-12-31T23:59:59Z"),
            (GENERALIZED_TIME, "20560102030405Z", "2056-01-02T03:04:05Z"),
        ] {
            assert_eq!(last_moment(&certificate(tag, text)), Some(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_time_and_does_no_harm() {
        let whole = certificate(UTC_TIME, "361121094500Z");
        for end in 0..whole.len() {
            assert_eq!(last_moment(&whole[..end]), None, "cut at {end}");
        }
        for bad in ["", "36", "3\u{e4}1121094500Z", "361321094500Z"] {
            assert_eq!(last_moment(&certificate(UTC_TIME, bad)), None, "{bad}");
        }
    }
}
