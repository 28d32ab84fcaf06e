//! Valid paths and link targets of a snapshot.
//!
//! A path is relative, normalised and UTF-8. The target of a link may begin with `..` components, at most as
//! many as the link is deep, and must not have `..` elsewhere. So a target never climbs out of a link that it
//! passes through, and no chain of links leads outside, provided that no entry is *below* a link (which the
//! reader ensures).

/// The maximum length of a path, in bytes.
pub(super) const MAX_PATH: usize = 1024;

/// Checks that `path` is a clean relative path.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() || path.len() > MAX_PATH {
        return Err(format!("a path has 1 to {MAX_PATH} bytes"));
    }
    if path.bytes().any(|b| b.is_ascii_control()) {
        return Err("a path has no control characters".to_owned());
    }
    for part in path.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return Err("a path is relative, without empty parts, `.` and `..`".to_owned());
        }
        if part.len() > 255 {
            return Err("a part of a path has at most 255 bytes".to_owned());
        }
    }
    Ok(())
}

/// Checks that the link at `path` may point to `target`. Both must stay within the root of `path`.
pub(super) fn check_link(path: &str, target: &str) -> Result<(), String> {
    if target.starts_with('/') {
        return Err(format!("the link's target `{}` is absolute", target.escape_debug()));
    }
    if target.is_empty() || target.len() > MAX_PATH || target.bytes().any(|b| b.is_ascii_control()) {
        return Err("the link's target is not usable".to_owned());
    }
    let climbs = target.split('/').take_while(|part| *part == "..").count();
    if climbs > path.matches('/').count() {
        return Err(format!("the link's target `{}` lies outside", target.escape_debug()));
    }
    if target.split('/').skip(climbs).any(|part| part == "..") {
        return Err(format!("the link's target `{}` has `..` after a name", target.escape_debug()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_relative_paths_pass() {
        for good in ["world", "repos/x/a b", "etc/portage/ü", "a/..b", "a/...", "a/.hidden"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        let long = "a/".repeat(600) + "a";
        let wide = "a".repeat(256);
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\nb", "a\0", &long, &wide] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_stay_inside_however_they_are_chained() {
        for (path, target) in [("a/b/l", "../../c"), ("a/l", "x/y"), ("l", "x"), ("a/l", "..")] {
            assert!(check_link(path, target).is_ok(), "{path} -> {target}");
        }
        for (path, target) in [
            ("l", "/etc"),
            ("l", ".."),
            ("a/l", "../../x"),
            ("a/b/l", "s/../../.."),
            ("l", ""),
            ("l", "a\nb"),
        ] {
            assert!(check_link(path, target).is_err(), "{path} -> {target}");
        }
    }
}
