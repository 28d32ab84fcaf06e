//! Valid metadata values of a package.
//!
//! A workstation's Portage reads some of the values from the index, and fails on the entry or the
//! whole index if one violates the Package Manager Specification. So each value is checked against
//! its grammar once, before the package is signed.

use super::{
    Metadata,
    depend::{self, is_flag, is_slot, is_word},
    error::{GpkgError, printable},
};

/// The values that an index has of each package, by internal name.
pub(crate) const INDEXED: [&str; 21] = [
    "BDEPEND",
    "BUILD_ID",
    "BUILD_TIME",
    "CHOST",
    "DEFINED_PHASES",
    "DEPEND",
    "EAPI",
    "IDEPEND",
    "IUSE",
    "KEYWORDS",
    "LICENSE",
    "PDEPEND",
    "PROPERTIES",
    "PROVIDES",
    "RDEPEND",
    "REQUIRES",
    "RESTRICT",
    "SLOT",
    "USE",
    "USER_PATCHES",
    "repository",
];

/// Maximum size of a value in bytes, unless [`most_bytes`] says otherwise. The longest values in
/// the Gentoo tree are dependencies of 20 KiB.
const MOST_BYTES: u64 = 64 << 10;
/// Maximum total size in bytes of one package's values in the index. The largest desktop programs
/// have 20 KiB.
const MOST_INDEXED: usize = 256 << 10;

/// The EAPIs that Portage 3.0.83 supports.
const EAPIS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

const PHASES: [&str; 15] = [
    "pretend",
    "setup",
    "unpack",
    "prepare",
    "configure",
    "compile",
    "test",
    "install",
    "preinst",
    "postinst",
    "prerm",
    "postrm",
    "config",
    "info",
    "nofetch",
];

/// Whether a metadata key is valid.
pub(super) fn is_key(key: &str) -> bool {
    key.len() <= 255 && is_word(key, |b| b.is_ascii_alphanumeric() || b == b'_', b"+_.-")
}

/// Maximum size of a value in bytes.
pub(super) fn most_bytes(key: &str) -> u64 {
    match key {
        // One line per program and library, with its path and everything it needs.
        "NEEDED" | "NEEDED.ELF.2" => 8 << 20,
        // One line per installed file.
        "CONTENTS" => 16 << 20,
        // All variables and functions of the ebuild and its eclasses.
        "environment.bz2" => 8 << 20,
        // One name per library.
        "PROVIDES" | "REQUIRES" => 128 << 10,
        // Ebuilds that list the crates or modules of a program.
        _ if key.ends_with(".ebuild") => 1 << 20,
        _ => MOST_BYTES,
    }
}

/// Checks all values.
///
/// # Errors
/// [`GpkgError::Value`] or [`GpkgError::TooLarge`] for the first invalid value.
pub(super) fn check(metadata: &Metadata) -> Result<(), GpkgError> {
    let refuse = |key: &str, reason: String| GpkgError::Value { key: printable(key.as_bytes()), reason };
    for (key, value) in metadata.0.iter().filter(|(key, _)| *key != "environment.bz2") {
        let text = std::str::from_utf8(value).map_err(|_| refuse(key, "is not UTF-8".to_owned()))?;
        if text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
            return Err(refuse(key, "has control characters".to_owned()));
        }
    }
    let eapi = metadata.line("EAPI");
    let Some(eapi) = EAPIS.iter().position(|known| *known == eapi) else {
        return Err(refuse("EAPI", format!("is `{}`; 0 to 9 are known", printable(eapi.as_bytes()))));
    };
    // An index into a list of ten.
    let eapi = eapi as u8;
    for key in metadata.0.keys() {
        check_value(key, &metadata.line(key), eapi).map_err(|reason| refuse(key, reason))?;
    }
    let indexed: usize = INDEXED.iter().filter_map(|key| metadata.0.get(*key)).map(Vec::len).sum();
    if indexed > MOST_INDEXED {
        let (place, what) = ("the index entry".to_owned(), "the size of its values in bytes");
        return Err(GpkgError::TooLarge { place, what, limit: MOST_INDEXED as u64 });
    }
    Ok(())
}

/// Checks one value, with whitespace replaced by blanks.
fn check_value(key: &str, value: &str, eapi: u8) -> Result<(), String> {
    let all = |is: &dyn Fn(&str) -> bool, what: &str| match value.split(' ').find(|word| !is(word)) {
        Some(word) if !value.is_empty() => {
            Err(format!("has `{}`, which is no {what}", printable(word.as_bytes())))
        }
        _ => Ok(()),
    };
    let one = |is: bool, what: &str| match is {
        true => Ok(()),
        false => Err(format!("is `{}`, which is no {what}", printable(value.as_bytes()))),
    };
    match key {
        "BDEPEND" | "DEPEND" | "IDEPEND" | "PDEPEND" | "RDEPEND" => {
            depend::check(value, |word| depend::is_atom(word, eapi))
        }
        "LICENSE" | "PROPERTIES" | "RESTRICT" => depend::check(value, is_name),
        "SLOT" => one(is_slot(value, eapi), "slot"),
        "BUILD_ID" | "BUILD_TIME" | "SIZE" | "COUNTER" => {
            // More than any clock, disk or counter needs, and within the range of any reader's
            // integers.
            let digits = value.len() <= 15 && value.bytes().all(|b| b.is_ascii_digit());
            one(!value.is_empty() && digits, "number")
        }
        "KEYWORDS" => all(&is_keyword, "keyword"),
        "USE" => all(&is_flag, "USE flag"),
        "IUSE" => all(&|word| is_flag(word) || (eapi >= 1 && has_default(word)), "USE flag"),
        "DEFINED_PHASES" => all(&|word| PHASES.contains(&word) || value == "-", "phase"),
        "PROVIDES" | "REQUIRES" => check_sonames(value),
        "CHOST" => one(is_word(value, |b| b.is_ascii_alphanumeric(), b"_.-"), "machine"),
        "repository" => {
            one(is_word(value, |b| b.is_ascii_alphanumeric() || b == b'_', b"_-"), "name of a repository")
        }
        _ => Ok(()),
    }
}

/// A license, a property or a restriction.
fn is_name(word: &str) -> bool {
    is_word(word, |b| b.is_ascii_alphanumeric() || b == b'_', b"+_.-")
}

/// Such as `amd64`, `~arm64` or `-*`.
fn is_keyword(word: &str) -> bool {
    let name = word.strip_prefix(['~', '-']).unwrap_or(word);
    word == "-*" || is_word(name, |b| b.is_ascii_alphanumeric() || b == b'_', b"_-")
}

/// An IUSE flag with a default.
fn has_default(word: &str) -> bool {
    word.strip_prefix(['+', '-']).is_some_and(is_flag)
}

/// `x86_32: libc.so.6 x86_64: libc.so.6 libm.so.6`: categories are unique and not empty.
fn check_sonames(value: &str) -> Result<(), String> {
    let mut categories: Vec<&str> = Vec::new();
    let mut words = value.split(' ').filter(|word| !word.is_empty()).peekable();
    if words.peek().is_some_and(|first| !first.ends_with(':')) {
        return Err("begins with a soname that is of no category".to_owned());
    }
    while let Some(word) = words.next() {
        let Some(category) = word.strip_suffix(':') else { continue };
        if words.peek().is_none_or(|next| next.ends_with(':')) {
            return Err(format!("has the category `{}` without a soname", printable(category.as_bytes())));
        }
        if categories.contains(&category) {
            return Err(format!("has the category `{}` twice", printable(category.as_bytes())));
        }
        if categories.len() == MOST_CATEGORIES {
            return Err(format!("has more than {MOST_CATEGORIES} categories"));
        }
        categories.push(category);
    }
    Ok(())
}

/// Maximum number of multilib categories in one package; usual are two, on mips three.
const MOST_CATEGORIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn package(key: &str, value: &[u8]) -> Metadata {
        let plain =
            [("EAPI", "8\n"), ("SLOT", "0\n"), ("PF", "a-1\n")].map(|(k, v)| (k.to_owned(), v.into()));
        let mut metadata = Metadata(plain.into());
        metadata.0.insert(key.to_owned(), value.to_vec());
        metadata
    }

    #[test]
    fn each_value_is_held_against_its_grammar() {
        let long = vec![b'1'; 16];
        for (key, value, said) in [
            ("EAPI", &b"9\n"[..], None),
            ("EAPI", b"99", Some("0 to 9 are known")),
            ("EAPI", b"", Some("0 to 9 are known")),
            ("EAPI", b"8-x", Some("0 to 9 are known")),
            ("DESCRIPTION", "a stone, gr\u{f6}\u{df}er\n\tthan others\n".as_bytes(), None),
            ("DESCRIPTION", b"a\0b", Some("control characters")),
            ("DESCRIPTION", b"a\x1b[31m", Some("control characters")),
            ("DESCRIPTION", "a\u{9b}31m".as_bytes(), Some("control characters")),
            ("DESCRIPTION", b"a\x7fb", Some("control characters")),
            ("DESCRIPTION", b"a\rb", Some("control characters")),
            ("DESCRIPTION", b"\xff", Some("not UTF-8")),
            ("CFLAGS", b"\xc3", Some("not UTF-8")),
            ("environment.bz2", b"BZh9\0\xff", None),
            ("BUILD_TIME", b"yesterday", Some("no number")),
            ("BUILD_TIME", b"-1", Some("no number")),
            ("BUILD_ID", b"1", None),
            ("SIZE", b"12 13", Some("no number")),
            ("SIZE", &long, Some("no number")),
            ("SIZE", b"", Some("no number")),
            ("SLOT", b"0/1.2", None),
            ("SLOT", b"0/", Some("no slot")),
            ("SLOT", b"0/1/2", Some("no slot")),
            ("SLOT", b"-0", Some("no slot")),
            ("RDEPEND", b"dev-libs/a:0/1= || ( dev-libs/b !!<dev-libs/c-2[x] )", None),
            ("RDEPEND", b"dev-libs/a || ( dev-libs/b", Some("`(` without a `)`")),
            ("DEPEND", b"dev-libs/a )", Some("`)` without a `(`")),
            ("PDEPEND", b"x? ( dev-libs/a )", Some("USE conditional")),
            ("IDEPEND", b"libfoo", Some("no dependency")),
            ("LICENSE", b"|| ( GPL-2+ MIT )", None),
            ("LICENSE", b"( GPL-2", Some("`(` without a `)`")),
            ("LICENSE", b"@FREE", Some("no dependency")),
            ("RESTRICT", b"test bindist", None),
            ("PROPERTIES", b"live )", Some("`)` without a `(`")),
            ("KEYWORDS", b"amd64 ~arm64 -* -x86 ~amd64-linux", None),
            ("KEYWORDS", b"amd64 ~", Some("no keyword")),
            ("KEYWORDS", b"", None),
            ("USE", b"abi_x86_64 python_targets_python3_12 a@b", None),
            ("USE", b"-a", Some("no USE flag")),
            ("IUSE", b"+a -b c", None),
            ("IUSE", b"++a", Some("no USE flag")),
            ("DEFINED_PHASES", b"-", None),
            ("DEFINED_PHASES", b"compile install", None),
            ("DEFINED_PHASES", b"src_compile", Some("no phase")),
            ("DEFINED_PHASES", b"- install", Some("no phase")),
            ("PROVIDES", b"x86_32: a.so b.so x86_64: a.so", None),
            ("PROVIDES", b"a.so", Some("of no category")),
            ("REQUIRES", b"x86_64: x86_32: a.so", Some("without a soname")),
            ("REQUIRES", b"x86_64: a.so x86_64: b.so", Some("twice")),
            ("repository", b"gentoo", None),
            ("repository", b"a/b", Some("no name of a repository")),
            ("CHOST", b"x86_64-pc-linux-gnu", None),
            ("CHOST", b"x86 64", Some("no machine")),
        ] {
            let found = check(&package(key, value)).map_err(|error| error.to_string());
            let shown = value.escape_ascii();
            match said {
                None => assert_eq!(found, Ok(()), "{key} {shown}"),
                Some(said) => {
                    assert!(found.clone().is_err_and(|e| e.contains(said)), "{key} {shown} {found:?}")
                }
            }
        }
    }

    #[test]
    fn what_an_eapi_does_not_know_is_refused_in_its_packages() {
        for (key, value, since) in [
            ("SLOT", "0/1", 5),
            ("IUSE", "+a", 1),
            ("RDEPEND", "dev-libs/a:0", 1),
            ("RDEPEND", "!!dev-libs/a", 2),
        ] {
            for eapi in 0..=9 {
                let mut metadata = package(key, value.as_bytes());
                metadata.0.insert("EAPI".to_owned(), eapi.to_string().into());
                assert_eq!(check(&metadata).is_ok(), eapi >= since, "EAPI {eapi} {key} {value}");
            }
        }
    }

    #[test]
    fn what_the_index_takes_of_a_package_is_bounded() {
        let mut metadata = package("LICENSE", "MIT ".repeat(16 << 10).as_bytes());
        for key in ["RESTRICT", "PROPERTIES", "USE"] {
            assert!(check(&metadata).is_ok(), "{key}");
            metadata.0.insert(key.to_owned(), "x ".repeat(32 << 10).into());
        }
        let error = check(&metadata).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("262144")), ("too-large", true), "{error}");
    }
}
