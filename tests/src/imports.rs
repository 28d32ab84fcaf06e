//! Which module of the core imports which. A circle means that none of its modules can be understood,
//! or moved, without all others.

use std::collections::{BTreeMap, BTreeSet};

/// The modules in circles, given the files of a crate with their paths from its `src`. Tests may import
/// what they like.
#[must_use]
pub fn in_circles(files: &[(String, String)]) -> BTreeSet<String> {
    let root = files.iter().find(|(path, _)| path == "lib.rs").map_or("", |(_, text)| text);
    let exported = exports(root);
    let mut imports: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files.iter().filter(|(path, _)| path != "lib.rs" && !path.contains("tests")) {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        let names = named(text).into_iter().map(|name| exported.get(&name).cloned().unwrap_or(name));
        imports.entry(module).or_default().extend(names.filter(|name| name != module));
    }
    let is_in_circle = |module: &str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![module]);
        while let Some(at) = open.pop() {
            open.extend(
                imports
                    .get(at)
                    .into_iter()
                    .flatten()
                    .filter(|to| reached.insert(to.as_str()))
                    .map(String::as_str),
            );
        }
        reached.contains(module)
    };
    imports.keys().filter(|module| is_in_circle(module)).map(|module| (*module).to_owned()).collect()
}

/// The module of each item that the root exports.
fn exports(root: &str) -> BTreeMap<String, String> {
    let lines = root.lines().filter_map(|line| line.strip_prefix("pub use ")?.split_once("::"));
    let items = lines.flat_map(|(module, items)| words(items).map(|item| (item, module.to_owned())));
    items.collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).map(str::to_owned)
}

/// What stands behind `crate::` outside comments and tests: modules, and items that the root exports.
fn named(text: &str) -> Vec<String> {
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: Vec<&str> = product.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(words(rest).next());
            continue;
        };
        // The first word of each part, without what is in braces of its own.
        let (mut depth, mut parts) = (1_u32, String::new());
        for c in group.chars() {
            depth = match c {
                '{' => depth + 1,
                '}' => depth - 1,
                _ => depth,
            };
            match depth {
                0 => break,
                1 => parts.push(c),
                _ => {}
            }
        }
        names.extend(parts.split(',').filter_map(|part| words(part).next()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources;

    #[test]
    fn no_modules_of_the_core_import_each_other_in_a_circle() {
        let sources = sources().into_iter();
        let core = sources
            .filter_map(|(path, text)| Some((path.strip_prefix("orchestrator/core/src/")?.to_owned(), text)));
        let found = in_circles(&core.collect::<Vec<_>>());
        assert!(found.is_empty(), "these import each other in circles: {found:?}");
    }

    #[test]
    fn a_circle_is_found_through_groups_exports_and_deeper_files() {
        let files = [
            ("lib.rs", "pub mod a;\npub use c::{C, D};\n"),
            ("a.rs", "use crate::{\n    b::{self, x},\n    e,\n};\n"),
            ("b/mod.rs", "pub mod deep;\n// crate::e\n"),
            ("b/deep.rs", "use crate::C;\n"),
            ("c.rs", "fn f() { crate::a::g() }\n"),
            ("e.rs", "use std::fmt;\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(in_circles(&files).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
