//! Sonames: the names of shared libraries that packages provide and require, as recorded by
//! Portage.

use std::collections::BTreeSet;

/// Pairs of a multilib category, such as `x86_64`, and a soname.
pub type Sonames = BTreeSet<(String, String)>;

/// Parses a REQUIRES or PROVIDES value: `x86_32: libc.so.6 x86_64: libc.so.6 libm.so.6`.
#[must_use]
pub fn parse(text: &str) -> Sonames {
    let mut category = "";
    let mut found = Sonames::new();
    for word in text.split_whitespace() {
        match word.strip_suffix(':') {
            Some(name) => category = name,
            None => _ = found.insert((category.to_owned(), word.to_owned())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sonames_are_told_apart_by_their_category() {
        let soname = |category: &str, soname: &str| (category.to_owned(), soname.to_owned());
        let found = parse("x86_32: libc.so.6 x86_64: libc.so.6 libm.so.6");
        let want =
            [soname("x86_32", "libc.so.6"), soname("x86_64", "libc.so.6"), soname("x86_64", "libm.so.6")];
        assert_eq!(found, Sonames::from(want));
        assert!(parse("").is_empty());
    }
}
