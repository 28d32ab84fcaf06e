//! The valid metadata values of a package.
//!
//! A workstation's Portage reads some of the values from the index, and fails on the entry or the
//! whole index if one violates the Package Manager Specification. So each value is checked against
//! its grammar once, before the package is signed.
//!
//! Two values are needed only to install the package: without its ebuild, or with an environment that cannot
//! be unpacked, Portage fails after the download.

use super::{
    Limits, Metadata,
    compression::Compression,
    depend::{self, is_flag, is_slot, is_word},
    error::{GpkgError, printable},
};
use crate::archive::bounded::Inflated;
use std::{cell::Cell, io, rc::Rc};

/// The values of each package that an index has, by internal name.
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
/// The maximum total size in bytes of a package's values in the index. The largest desktop programs have 20
/// KiB.
const MOST_INDEXED: usize = 256 << 10;

/// The key of all variables and functions of the ebuild and its eclasses, compressed.
const ENVIRONMENT: &str = "environment.bz2";
/// The maximum size of the decompressed environment in bytes: several times what an ebuild needs that lists a
/// thousand crates and inherits the largest eclasses.
const MOST_ENVIRONMENT: u64 = 32 << 20;
/// The key of the user patches that were applied: for each its SHA-256 and its file name, both followed by a
/// NUL.
const PATCHES: &str = "user_patch.digests";

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
        ENVIRONMENT => 8 << 20,
        // One name per library.
        "PROVIDES" | "REQUIRES" => 128 << 10,
        // Some ebuilds list all crates or modules of a program.
        _ if key.ends_with(".ebuild") => 1 << 20,
        _ => MOST_BYTES,
    }
}

/// Checks all values, and that those exist without which the package cannot be installed.
///
/// # Errors
/// [`GpkgError::Value`], [`GpkgError::TooLarge`], [`GpkgError::Truncated`] or
/// [`GpkgError::Compressed`] for the first invalid value, [`GpkgError::Lacks`] for a missing one.
pub(super) fn check(metadata: &Metadata, limits: &Limits) -> Result<(), GpkgError> {
    let refuse = |key: &str, reason: String| GpkgError::Value { key: printable(key.as_bytes()), reason };
    for (key, value) in metadata.0.iter().filter(|(key, _)| *key != ENVIRONMENT) {
        let text = std::str::from_utf8(value).map_err(|_| refuse(key, "is not UTF-8".to_owned()))?;
        if key == PATCHES {
            check_patches(text).map_err(|reason| refuse(key, reason))?;
        } else if text.contains(|c: char| c.is_control() && !may_have(key, c)) {
            return Err(refuse(key, "has control characters".to_owned()));
        }
    }
    let eapi = metadata.line("EAPI");
    let Some(eapi) = EAPIS.iter().position(|known| *known == eapi) else {
        return Err(refuse("EAPI", format!("is `{}`; 0 to 9 are known", printable(eapi.as_bytes()))));
    };
    // The position in a list of ten.
    let eapi = eapi as u8;
    for key in metadata.0.keys() {
        check_value(key, &metadata.line(key), eapi).map_err(|reason| refuse(key, reason))?;
    }
    let indexed: usize = INDEXED.iter().filter_map(|key| metadata.0.get(*key)).map(Vec::len).sum();
    if indexed > MOST_INDEXED {
        let (place, what) = ("the index entry".to_owned(), "the size of its values in bytes");
        return Err(GpkgError::TooLarge { place, what, limit: MOST_INDEXED as u64 });
    }
    let needed = |key: String| metadata.0.get(&key).ok_or(GpkgError::Lacks { key });
    needed(format!("{}.ebuild", metadata.line("PF")))?;
    check_environment(needed(ENVIRONMENT.to_owned())?, limits)
}

/// Whether a value may contain this control character. An ebuild is a script that is never printed, so it may
/// contain all that the Package Manager Specification and Bash allow.
fn may_have(key: &str, control: char) -> bool {
    matches!(control, '\n' | '\t') || (key.ends_with(".ebuild") && !matches!(control, '\0' | '\r'))
}

/// Checks pairs of a SHA-256 and the name of a patch. Portage prints the names during installation.
fn check_patches(text: &str) -> Result<(), String> {
    let is_hash = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let is_name = |word: &str| {
        let stem = word.strip_suffix(".patch").or_else(|| word.strip_suffix(".diff"));
        stem.is_some_and(|stem| !stem.is_empty()) && !word.contains(|c: char| c == '/' || c.is_control())
    };
    let whole = text.strip_suffix('\0').ok_or("does not end with a NUL")?;
    let words: Vec<&str> = whole.split('\0').collect();
    let sound = |pair: &[&str]| matches!(pair, [hash, name] if is_hash(hash) && is_name(name));
    match words.chunks(2).find(|pair| !sound(pair)) {
        Some(pair) => {
            Err(format!("has `{}`, which is not the digest of a patch", printable(pair.join(" ").as_bytes())))
        }
        None => Ok(()),
    }
}

/// Decompresses the environment within limits and discards it.
fn check_environment(value: &[u8], limits: &Limits) -> Result<(), GpkgError> {
    let refuse = |error| GpkgError::reading(ENVIRONMENT, error);
    if value.is_empty() {
        // The decoder would accept this as zero streams.
        return Err(GpkgError::Truncated { place: ENVIRONMENT.to_owned() });
    }
    // The value is in memory as a whole, so all of it counts as read.
    let (decoder, read) = (Compression::Bzip2.decoder(value).map_err(refuse)?, Rc::<Cell<u64>>::default());
    let mut inflated = Inflated::new(decoder, Rc::clone(&read), MOST_ENVIRONMENT, limits.ratio);
    read.set(value.len() as u64);
    io::copy(&mut inflated, &mut io::sink()).map_err(refuse)?;
    Ok(())
}

/// Checks one value, whose whitespace was replaced by blanks.
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
            // This suffices for any clock, disk or counter, and is within the range of every reader's
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

/// Whether the word is the name of a license, a property or a restriction.
fn is_name(word: &str) -> bool {
    is_word(word, |b| b.is_ascii_alphanumeric() || b == b'_', b"+_.-")
}

/// Whether the word is a keyword, such as `amd64`, `~arm64` or `-*`.
fn is_keyword(word: &str) -> bool {
    let name = word.strip_prefix(['~', '-']).unwrap_or(word);
    word == "-*" || is_word(name, |b| b.is_ascii_alphanumeric() || b == b'_', b"_-")
}

/// Whether the word is an IUSE flag with a default.
fn has_default(word: &str) -> bool {
    word.strip_prefix(['+', '-']).is_some_and(is_flag)
}

/// Checks sonames such as `x86_32: libc.so.6 x86_64: libc.so.6 libm.so.6`. Categories must be unique and not
/// empty.
fn check_sonames(value: &str) -> Result<(), String> {
    let mut categories: Vec<&str> = Vec::new();
    let mut words = value.split(' ').filter(|word| !word.is_empty()).peekable();
    if words.peek().is_some_and(|first| !first.ends_with(':')) {
        return Err("begins with a soname without a category".to_owned());
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

/// The maximum number of multilib categories in one package. Two are usual, three on mips.
const MOST_CATEGORIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn package(key: &str, value: &[u8]) -> Metadata {
        let plain = [("EAPI", "8\n"), ("SLOT", "0\n"), ("PF", "a-1\n"), ("a-1.ebuild", "EAPI=8\n")];
        let mut metadata = Metadata(plain.map(|(k, v)| (k.to_owned(), v.into())).into());
        let environment = Compression::Bzip2.encode(b"declare -x A=\"1\"\n").unwrap();
        metadata.0.insert(ENVIRONMENT.to_owned(), environment);
        metadata.0.insert(key.to_owned(), value.to_vec());
        metadata
    }

    #[test]
    fn each_value_is_held_against_its_grammar() {
        let long = vec![b'1'; 16];
        let environment = Compression::Bzip2.encode(b"A=1\n").unwrap();
        let zeros = Compression::Bzip2.encode(&vec![0; 4 << 20]).unwrap();
        let patch = format!("{}\0a.patch\0", "ab".repeat(32));
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
            ("a-1.ebuild", b"a\x0c\x1b[31m", None),
            ("a-1.ebuild", b"a\0", Some("control characters")),
            ("a-1.ebuild", b"a\r\n", Some("control characters")),
            ("PF", b"a-2", Some("no `a-2.ebuild`")),
            ("PF", b"", Some("no `.ebuild`")),
            (ENVIRONMENT, b"BZh9\0\xff", Some("cannot be decompressed")),
            (ENVIRONMENT, b"declare -x A=1", Some("cannot be decompressed")),
            (ENVIRONMENT, b"", Some("ends too early")),
            (ENVIRONMENT, &zeros, Some("ratio")),
            (ENVIRONMENT, &[&environment[..], &environment].concat(), None),
            (ENVIRONMENT, &[&environment[..], b"x"].concat(), Some("environment.bz2")),
            (PATCHES, patch.as_bytes(), None),
            (PATCHES, patch.repeat(2).as_bytes(), None),
            (PATCHES, patch.replace("a.patch", "\u{f6} b.diff").as_bytes(), None),
            (PATCHES, b"", Some("a NUL")),
            (PATCHES, b"\0", Some("is not the digest of a patch")),
            (PATCHES, patch.trim_end_matches('\0').as_bytes(), Some("a NUL")),
            (PATCHES, patch.replace('\0', "\n").as_bytes(), Some("a NUL")),
            (PATCHES, &patch.as_bytes()[64..], Some("is not the digest of a patch")),
            (PATCHES, &patch.as_bytes()[..65], Some("is not the digest of a patch")),
            (PATCHES, patch.replace('a', "g").as_bytes(), Some("is not the digest of a patch")),
            (PATCHES, patch.replace("a.patch", "a/b.patch").as_bytes(), Some("is not the digest of a patch")),
            (
                PATCHES,
                patch.replace("a.patch", "a\x1b.patch").as_bytes(),
                Some("is not the digest of a patch"),
            ),
            (PATCHES, patch.replace("a.patch", ".patch").as_bytes(), Some("is not the digest of a patch")),
            (PATCHES, patch.replace("a.patch", "a.txt").as_bytes(), Some("is not the digest of a patch")),
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
            ("PROVIDES", b"a.so", Some("without a category")),
            ("REQUIRES", b"x86_64: x86_32: a.so", Some("without a soname")),
            ("REQUIRES", b"x86_64: a.so x86_64: b.so", Some("twice")),
            ("repository", b"gentoo", None),
            ("repository", b"a/b", Some("no name of a repository")),
            ("CHOST", b"x86_64-pc-linux-gnu", None),
            ("CHOST", b"x86 64", Some("no machine")),
        ] {
            let found = check(&package(key, value), &Limits::default()).map_err(|error| error.to_string());
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
                assert_eq!(
                    check(&metadata, &Limits::default()).is_ok(),
                    eapi >= since,
                    "EAPI {eapi} {key} {value}"
                );
            }
        }
    }

    #[test]
    fn what_the_index_takes_of_a_package_is_bounded() {
        let mut metadata = package("LICENSE", "MIT ".repeat(16 << 10).as_bytes());
        for key in ["RESTRICT", "PROPERTIES", "USE"] {
            assert!(check(&metadata, &Limits::default()).is_ok(), "{key}");
            metadata.0.insert(key.to_owned(), "x ".repeat(32 << 10).into());
        }
        let error = check(&metadata, &Limits::default()).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("262144")), ("too-large", true), "{error}");
    }
}
