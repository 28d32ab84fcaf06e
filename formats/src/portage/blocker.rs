//! Blockers in dependency strings (`!app/other`, `!!<app/other-2:0`): packages that cannot be
//! installed together with the package that lists them.
//!
//! Source: the Package Manager Specification (EAPI 8), sections 3.3 (comparing versions) and
//! 8.3 (atoms).

use std::cmp::Ordering;
use swarm_common::cpv::Cpv;

/// Whether a dependency string blocks the package `cpv` in `slot`. The string must have no USE
/// conditionals, as in binary packages. USE requirements of a blocker are ignored.
#[must_use]
pub fn blocks(dependencies: &str, cpv: &Cpv, slot: &str) -> bool {
    let blockers = dependencies.split_whitespace().filter_map(|word| word.strip_prefix('!'));
    blockers.map(|atom| atom.trim_start_matches('!')).any(|atom| matches(atom, cpv, slot))
}

fn matches(atom: &str, cpv: &Cpv, slot: &str) -> bool {
    let atom = atom.split(['[']).next().unwrap_or_default();
    let (atom, required_slot) = atom.split_once(':').unwrap_or((atom, ""));
    let required_slot = required_slot.split(['/', '=', '*', ':']).next().unwrap_or_default();
    if !required_slot.is_empty() && required_slot != slot {
        return false;
    }
    let name = atom.trim_start_matches(['<', '>', '=', '~']);
    let operator = &atom[..atom.len() - name.len()];
    if operator.is_empty() {
        return name == cpv.cp();
    }
    let Some(version) = name.strip_prefix(cpv.cp()).and_then(|rest| rest.strip_prefix('-')) else {
        return false;
    };
    let base = |version: &str| version.split("-r").next().unwrap_or_default().to_owned();
    if let Some(prefix) = version.strip_suffix('*') {
        let rest = cpv.version().strip_prefix(prefix.trim_end_matches('.'));
        return rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
    }
    let order = compare(cpv.version(), version);
    match operator {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        "=" => order.is_eq(),
        ">=" => order.is_ge(),
        ">" => order.is_gt(),
        "~" => compare(&base(cpv.version()), &base(version)).is_eq(),
        _ => false,
    }
}

/// Compares two versions such as `1.2.3b_rc1-r4`.
fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Version::of(a), Version::of(b));
    let numbers = || {
        let pairs = a.numbers.iter().zip(&b.numbers).enumerate();
        let differ = pairs.map(|(n, (a, b))| component(n, a, b)).find(|order| order.is_ne());
        differ.unwrap_or(a.numbers.len().cmp(&b.numbers.len()))
    };
    let suffixes = || {
        let longest = a.suffixes.len().max(b.suffixes.len());
        let mut orders = (0..longest).map(|n| {
            let ((kind, number), (other, beside)) = (a.suffix(n), b.suffix(n));
            kind.cmp(&other).then_with(|| integer(number, beside))
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    numbers()
        .then_with(|| a.letter.cmp(&b.letter))
        .then_with(suffixes)
        .then_with(|| integer(a.revision, b.revision))
}

/// Where a version without a further suffix is sorted among the suffixes.
const END: u8 = 4;

struct Version<'v> {
    numbers: Vec<&'v str>,
    letter: Option<char>,
    suffixes: Vec<(u8, &'v str)>,
    revision: &'v str,
}

impl<'v> Version<'v> {
    fn of(text: &'v str) -> Self {
        let (base, revision) = text.rsplit_once("-r").unwrap_or((text, ""));
        let mut parts = base.split('_');
        let numbers = parts.next().unwrap_or_default();
        let letter = numbers.chars().last().filter(char::is_ascii_lowercase);
        let suffix = |part: &'v str| {
            let kinds = ["alpha", "beta", "pre", "rc", "", "p"].iter().enumerate();
            let known = kinds.filter(|(_, kind)| !kind.is_empty()).find_map(|(n, kind)| {
                let number = part.strip_prefix(kind)?;
                number.bytes().all(|b| b.is_ascii_digit()).then_some((n as u8, number))
            });
            known.unwrap_or((END, part))
        };
        Self {
            numbers: numbers.trim_end_matches(|c: char| c.is_ascii_lowercase()).split('.').collect(),
            letter,
            suffixes: parts.map(suffix).collect(),
            revision,
        }
    }

    fn suffix(&self, n: usize) -> (u8, &'v str) {
        self.suffixes.get(n).copied().unwrap_or((END, ""))
    }
}

/// Compares two components of versions. After the first one, a component with a leading zero is compared as a
/// decimal fraction.
fn component(n: usize, a: &str, b: &str) -> Ordering {
    if n > 0 && (a.starts_with('0') || b.starts_with('0')) {
        return a.trim_end_matches('0').cmp(b.trim_end_matches('0'));
    }
    integer(a, b)
}

/// Compares numbers of any length. An empty string counts as 0.
fn integer(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_order_of_the_specification() {
        let ascending = [
            "0.9",
            "1",
            "1.0_alpha",
            "1.0_alpha2",
            "1.0_beta",
            "1.0_pre1",
            "1.0_rc1",
            "1.0_rc1_p1",
            "1.0",
            "1.0-r1",
            "1.0-r10",
            "1.0_p1",
            "1.0b",
            "1.01",
            "1.1",
            "1.1.0",
            "1.2",
            "1.10",
            "2",
            "20260101",
            "123456789012345678901234567890",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.0-r0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn a_blocker_counts_for_the_versions_and_the_slot_that_it_names() {
        let cpv: Cpv = "mail-mta/postbox-2.1-r3".parse().unwrap();
        for (dependencies, expected) in [
            ("dev-libs/a !mail-mta/postbox", true),
            ("!!mail-mta/postbox:0", true),
            ("!mail-mta/postbox:1", false),
            ("!mail-mta/postbox:0/7=", true),
            ("!<mail-mta/postbox-2.2", true),
            ("!<mail-mta/postbox-2.1", false),
            ("!<=mail-mta/postbox-2.1-r3[dot]", true),
            ("!=mail-mta/postbox-2*", true),
            ("!=mail-mta/postbox-2.1*:0::gentoo", true),
            ("!=mail-mta/postbox-2.10*", false),
            ("!~mail-mta/postbox-2.1", true),
            ("!>mail-mta/postbox-2.1-r3", false),
            ("mail-mta/postbox", false),
            ("!mail-mta/postboxes !mail-mta/post", false),
        ] {
            assert_eq!(blocks(dependencies, &cpv, "0"), expected, "{dependencies}");
        }
    }
}
