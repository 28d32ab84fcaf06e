//! The distance between two versions with respect to build times.

/// 0 if at most the revision differs; 1 if the first difference is after the second number, 2 if it is in the
/// second number, 3 if it is in the first.
pub(super) fn distance(a: &str, b: &str) -> u8 {
    let (a, b) = (without_revision(a), without_revision(b));
    if a == b {
        return 0;
    }
    let (mut a, mut b) = (numbers(a), numbers(b));
    match (a.next() == b.next(), a.next() == b.next()) {
        (false, _) => 3,
        (true, false) => 2,
        (true, true) => 1,
    }
}

fn without_revision(version: &str) -> &str {
    version.rsplit_once("-r").map_or(version, |(base, _)| base)
}

fn numbers(version: &str) -> impl Iterator<Item = &str> {
    version.split(['.', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_that_differs_decides() {
        for (a, b, expected) in [
            ("1.2.3", "1.2.3-r4", 0),
            ("1.2.3", "1.2.4", 1),
            ("1.2.3_rc1", "1.2.3", 1),
            ("1.2", "1.3.9", 2),
            ("9", "10", 3),
            ("1", "1.0", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
