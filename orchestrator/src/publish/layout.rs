//! Which paths below a binary package host are there for clients.

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Servable {
    /// `Packages`; revalidated at every use.
    Index,
    /// `Packages.gz`; raw gzip, without a `Content-Encoding`.
    CompressedIndex,
    /// A package file. Its bytes never change under its path.
    Package,
}

/// What `path` (decoded, relative, without a leading slash) names, if it may be served.
/// Everything else is to be answered with 404, never 403: Portage tries `Packages` only
/// after a 404.
#[must_use]
pub fn servable(path: &str) -> Option<Servable> {
    match path {
        "Packages" => return Some(Servable::Index),
        "Packages.gz" => return Some(Servable::CompressedIndex),
        _ => {}
    }
    is_package_path(path).then_some(Servable::Package)
}

/// `category/name/file` or `category/file`, in plain characters, with a package's suffix.
#[must_use]
pub fn is_package_path(path: &str) -> bool {
    let plain_char = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b);
    let plain_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain_char);
    let depth = path.split('/').count();
    let suffix = [".gpkg.tar", ".xpak", ".tbz2"].iter().any(|suffix| path.ends_with(suffix));
    (depth == 2 || depth == 3)
        && suffix
        && path.len() <= 512
        && path.split('/').all(plain_part)
        && !path.starts_with("generations/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_and_packages_are_served_and_nothing_else() {
        assert_eq!(servable("Packages"), Some(Servable::Index));
        assert_eq!(servable("Packages.gz"), Some(Servable::CompressedIndex));
        for path in
            ["dev-libs/icu/icu-75.1-2.gpkg.tar", "dev-libs/icu-75.1.tbz2", "x11-libs/gtk+/gtk+-3-1.xpak"]
        {
            assert_eq!(servable(path), Some(Servable::Package), "{path}");
        }
        for path in [
            "",
            "/Packages",
            "packages",
            "Packages.new",
            "generations/3/Packages",
            "generations/3/x.gpkg.tar",
            "../secret.gpkg.tar",
            "a/../b.gpkg.tar",
            "a//b.gpkg.tar",
            "a/b/c/d.gpkg.tar",
            "a.gpkg.tar",
            "a/.b.gpkg.tar",
            "a/b/.gpkg.tar",
            "a/b/c",
            "a/b c.gpkg.tar",
            "a/b\0.gpkg.tar",
            "a\\b/c.gpkg.tar",
            "%2e%2e/b.gpkg.tar",
        ] {
            assert_eq!(servable(path), None, "{path}");
        }
    }
}
