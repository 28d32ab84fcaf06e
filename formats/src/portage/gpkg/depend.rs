//! The dependency syntax of binary packages. It has no USE conditionals, because they are evaluated when the
//! package is built.
//!
//! Source: Package Manager Specification (EAPI 9), chapter 8, except where Portage 3.0.83
//! (`portage.dep.use_reduce` and `Atom`) is less strict.

use swarm_common::cpv::Cpv;

/// The maximum nesting of brackets. The Gentoo tree reaches six.
const MOST_DEPTH: usize = 64;

/// Checks the structure of dependencies, and each word that is not an operator with `is_word`.
///
/// # Errors
/// What is wrong, phrased to follow the name of the key.
pub(super) fn check(text: &str, is_word: impl Fn(&str) -> bool) -> Result<(), String> {
    let mut depth = 0;
    // `||` must be followed by a bracket, and a bracket must not be empty.
    let (mut wants_bracket, mut opened) = (false, false);
    for word in text.split_whitespace() {
        match word {
            "(" => {
                depth += 1;
                if depth > MOST_DEPTH {
                    return Err(format!("has more than {MOST_DEPTH} brackets within one another"));
                }
            }
            ")" if opened || wants_bracket => return Err("has an empty group".to_owned()),
            ")" if depth == 0 => return Err("has a `)` without a `(`".to_owned()),
            ")" => depth -= 1,
            _ if wants_bracket => return Err("has a `||` without a `(`".to_owned()),
            "||" => {}
            conditional if conditional.ends_with('?') => {
                return Err(format!("has a USE conditional, `{}`", shown(word)));
            }
            _ if !is_word(word) => return Err(format!("has `{}`, which is no dependency", shown(word))),
            _ => {}
        }
        (wants_bracket, opened) = (word == "||", word == "(");
    }
    match (depth, wants_bracket) {
        (0, false) => Ok(()),
        (0, true) => Err("has a `||` without a `(`".to_owned()),
        _ => Err("has a `(` without a `)`".to_owned()),
    }
}

fn shown(word: &str) -> String {
    word.chars().take(80).collect::<String>().escape_debug().to_string()
}

/// Whether a word is a package atom, such as `!!>=dev-libs/a-1.2:0/3=[x,-y(+)]`.
pub(super) fn is_atom(word: &str, eapi: u8) -> bool {
    let unblocked = match word.strip_prefix("!!") {
        Some(rest) if eapi >= 2 => rest,
        Some(_) => return false,
        None => word.strip_prefix('!').unwrap_or(word),
    };
    let (rest, uses) = match unblocked.split_once('[') {
        Some((rest, uses)) => (rest, Some(uses)),
        None => (unblocked, None),
    };
    let (package, slot) = match rest.split_once(':') {
        Some((package, slot)) => (package, Some(slot)),
        None => (rest, None),
    };
    is_package(package)
        && slot.is_none_or(|slot| eapi >= 1 && is_slot_dependency(slot, eapi))
        && uses.is_none_or(|uses| eapi >= 2 && are_use_dependencies(uses, eapi))
}

/// A name, or an operator with a name and a version.
fn is_package(text: &str) -> bool {
    let bare = text.trim_start_matches(['<', '>', '=', '~']);
    match &text[..text.len() - bare.len()] {
        "" => is_name(bare),
        "=" => is_version(bare.strip_suffix('*').unwrap_or(bare)),
        "~" | "<" | "<=" | ">" | ">=" => is_version(bare),
        _ => false,
    }
}

/// `category/name`, where the name does not end like a version.
fn is_name(text: &str) -> bool {
    // If the text is a valid name, it still is one with any version appended.
    let with_version = format!("{text}-0");
    with_version.parse::<Cpv>().is_ok_and(|cpv| cpv.cp() == text) && text.parse::<Cpv>().is_err()
}

/// `category/name-version`, where the name does not itself end like a version.
fn is_version(text: &str) -> bool {
    text.parse::<Cpv>().is_ok_and(|cpv| cpv.cp().parse::<Cpv>().is_err())
}

/// Whether the text after the colon of an atom is a valid slot dependency.
fn is_slot_dependency(text: &str, eapi: u8) -> bool {
    if eapi < 5 {
        return is_slot_name(text);
    }
    match text {
        "=" | "*" => true,
        _ => is_slot(text.strip_suffix('=').unwrap_or(text), eapi),
    }
}

/// Whether the text is `slot` or, since EAPI 5, `slot/sub-slot`.
pub(super) fn is_slot(text: &str, eapi: u8) -> bool {
    match text.split_once('/') {
        Some((slot, sub)) => eapi >= 5 && is_slot_name(slot) && is_slot_name(sub),
        None => is_slot_name(text),
    }
}

fn is_slot_name(text: &str) -> bool {
    is_word(text, |b| b.is_ascii_alphanumeric() || b == b'_', b"+_.-")
}

/// Whether the text in the brackets of an atom, with the closing one, is a valid list of USE dependencies.
fn are_use_dependencies(text: &str, eapi: u8) -> bool {
    let Some(list) = text.strip_suffix(']') else { return false };
    // Either all mentions of a flag have the same default, or none has one.
    let mut defaults: Vec<(&str, &str)> = Vec::new();
    list.split(',').all(|word| {
        let bare = word.strip_prefix('-').unwrap_or(word);
        let (flag, default) = match bare.find('(') {
            Some(at) => bare.split_at(at),
            None => (bare, ""),
        };
        let sound = is_flag(flag) && (default.is_empty() || (eapi >= 4 && matches!(default, "(+)" | "(-)")));
        let same = defaults.iter().filter(|(other, _)| *other == flag).all(|(_, other)| *other == default);
        if sound && same {
            defaults.push((flag, default));
        }
        sound && same
    })
}

pub(super) fn is_flag(text: &str) -> bool {
    is_word(text, |b| b.is_ascii_alphanumeric(), b"+_@-")
}

/// Whether the text consists of letters, digits and `others`, and its first byte satisfies `first`.
pub(super) fn is_word(text: &str, first: impl Fn(u8) -> bool, others: &[u8]) -> bool {
    let (Some(&begin), rest) = (text.as_bytes().first(), text.bytes()) else { return false };
    let mut rest = rest;
    first(begin) && rest.all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoms_are_those_of_their_eapi() {
        let long = format!("a/{}", "b".repeat(300));
        for (word, since) in [
            ("dev-libs/a", Some(0)),
            (">=dev-libs/a-1.2_rc3-r1", Some(0)),
            ("=dev-libs/a-1.2*", Some(0)),
            ("!dev-libs/a", Some(0)),
            ("!!<dev-libs/a-2", Some(2)),
            ("dev-libs/a:2", Some(1)),
            ("dev-libs/a:2/3.4", Some(5)),
            ("dev-libs/a:2/3.4=", Some(5)),
            ("dev-libs/a:=", Some(5)),
            ("dev-libs/a:*", Some(5)),
            ("dev-libs/a[x,-y]", Some(2)),
            ("dev-libs/a:0[x(+),-y(-)]", Some(4)),
            ("dev-libs/a-1-2xy", Some(0)),
            ("dev-libs/a:2*", None),
            ("dev-libs/a:", None),
            ("dev-libs/a:/=", None),
            ("dev-libs/a::gentoo", None),
            ("dev-libs/a[x?]", None),
            ("dev-libs/a[!x=]", None),
            ("dev-libs/a[x(+),x(-)]", None),
            ("dev-libs/a[x(+),x]", None),
            ("dev-libs/a[]", None),
            ("dev-libs/a[x", None),
            ("dev-libs/a[x]y", None),
            ("dev-libs/a-1", None),
            (">=dev-libs/a", None),
            (">=dev-libs/a-1-2", None),
            ("~dev-libs/a-1*", None),
            ("==dev-libs/a-1", None),
            ("=>dev-libs/a-1", None),
            ("!!!dev-libs/a", None),
            ("a", None),
            ("a/b/c", None),
            ("-a/b", None),
            (long.as_str(), None),
        ] {
            let first = (0..=9).find(|&eapi| is_atom(word, eapi));
            assert_eq!(first, since, "{word}");
            assert!(first.is_none_or(|first| (first..=9).all(|eapi| is_atom(word, eapi))), "{word}");
        }
    }

    #[test]
    fn groups_are_balanced_and_never_empty() {
        let deep = |n| format!("{}a {}", "( ".repeat(n), ") ".repeat(n));
        for (text, sound) in [
            (String::new(), true),
            ("a || ( b ( c d ) ) ( e )".to_owned(), true),
            (deep(MOST_DEPTH), true),
            (deep(MOST_DEPTH + 1), false),
            ("( a".to_owned(), false),
            ("a )".to_owned(), false),
            ("|| a".to_owned(), false),
            ("|| ||  ( a )".to_owned(), false),
            ("( a || )".to_owned(), false),
            ("a ||".to_owned(), false),
            ("( )".to_owned(), false),
            ("x? ( a )".to_owned(), false),
            ("(a )".to_owned(), false),
        ] {
            assert_eq!(check(&text, |word| word.len() == 1).is_ok(), sound, "{text}");
        }
    }
}
