//! Checks which modules of a crate import which others. Modules that import each other in a circle can only
//! be understood or moved together.
//!
//! Sibling modules are compared, each together with everything below it: the top-level modules of a crate,
//! and the direct children of every module. A module and its own children may import each other.

use std::collections::{BTreeMap, BTreeSet};

/// A module as the list of names from the root of its crate, or a path as written in the source.
type Path = Vec<String>;

/// Maximum number of imports to follow to the imported item.
const MOST_STEPS: usize = 8;

/// What the source of a module refers to.
#[derive(Debug, Default)]
struct Module {
    /// Its imports, by their local names.
    names: BTreeMap<String, Path>,
    /// All paths that begin with `crate`, `self` or `super`.
    paths: Vec<Path>,
}

/// For each module, which of its children import which siblings.
type Imports = BTreeMap<Path, BTreeMap<String, BTreeSet<String>>>;

/// The imports between the modules of a crate. `files` are its files with paths relative to `src`. Imports by
/// tests are ignored.
fn imports(files: &[(String, String)]) -> Imports {
    let modules: BTreeMap<Path, Module> =
        files.iter().filter_map(|(path, text)| Some((module(path)?, read(text)))).collect();
    let mut imports = Imports::new();
    for (at, module) in &modules {
        for path in &module.paths {
            let to = resolve(&modules, at, path, MOST_STEPS);
            let shared = at.iter().zip(&to).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (at.get(shared), to.get(shared)) {
                let beside = imports.entry(at[..shared].to_vec()).or_default();
                beside.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    imports
}

/// The imports that form circles, each as `importer -> imported`.
#[must_use]
pub fn circles(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (parent, imports) in &imports(files) {
        let name =
            |module: &str| parent.iter().map(String::as_str).chain([module]).collect::<Vec<_>>().join("::");
        for (from, to) in imports.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
            if reaches(imports, to, from) {
                found.push(format!("{} -> {}", name(from), name(to)));
            }
        }
    }
    found
}

/// Violations of the rule that a crate's top-level modules are these `rooms` and that each imports only from
/// earlier ones.
#[must_use]
pub fn out_of_order(files: &[(String, String)], rooms: &[&str]) -> Vec<String> {
    let modules: BTreeSet<String> =
        files.iter().filter_map(|(path, _)| module(path)?.first().cloned()).collect();
    let rank = |name: &str| rooms.iter().position(|room| *room == name);
    let missing = modules.iter().filter(|name| rank(name).is_none()).map(|name| format!("{name} is missing"));
    let gone =
        rooms.iter().filter(|room| !modules.contains(**room)).map(|room| format!("{room} is no module"));
    let top = imports(files).remove(&Path::new()).unwrap_or_default();
    let arrows = top.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)));
    let upward =
        arrows.filter(|(from, to)| rank(from) < rank(to)).map(|(from, to)| format!("{from} -> {to}"));
    missing.chain(gone).chain(upward).collect()
}

/// The files of a crate that import from the top-level module `room`, except those of the module itself.
#[must_use]
pub fn importers(files: &[(String, String)], room: &str) -> BTreeSet<String> {
    let of_room =
        |path: &Path| matches!(&path[..], [first, second, ..] if first == "crate" && second == room);
    let others = files
        .iter()
        .filter(|(path, _)| module(path).is_some_and(|at| at.first().is_none_or(|top| top != room)));
    others.filter(|(_, text)| read(text).paths.iter().any(of_room)).map(|(path, _)| path.clone()).collect()
}

/// The module of a file; `None` for tests, and for programs beside the library.
fn module(path: &str) -> Option<Path> {
    let mut names: Path = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if names.iter().any(|name| name.ends_with("tests")) || names[0] == "bin" {
        return None;
    }
    let last = names.last()?;
    if last == "mod" || (names.len() == 1 && (last == "lib" || last == "main")) {
        names.pop();
    }
    Some(names)
}

fn read(text: &str) -> Module {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: Vec<&str> = product.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let words: Vec<&str> = code
        .split_inclusive(|c: char| !is_of_word(c))
        .flat_map(|piece| {
            let word = piece.trim_end_matches(|c: char| !is_of_word(c));
            [word, piece[word.len()..].trim()]
        })
        .filter(|word| !word.is_empty())
        .collect();
    let mut module = Module::default();
    let mut at = 0;
    while let Some(&word) = words.get(at) {
        let is_use = word == "use";
        let begins = matches!(word, "crate" | "super" | "self")
            && words.get(at + 1) == Some(&":")
            && at.checked_sub(1).is_none_or(|before| words[before] != ":");
        if !is_use && !begins {
            at += 1;
            continue;
        }
        let mut paths = Vec::new();
        at = expand(&words, at + usize::from(is_use), &[], &mut paths);
        for (name, path) in paths {
            if path.first().is_some_and(|first| matches!(first.as_str(), "crate" | "super" | "self")) {
                module.paths.push(path.clone());
            }
            if is_use {
                module.names.insert(name, path);
            }
        }
    }
    module
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads the path that begins at a word, including groups, as a continuation of `before`. Returns the
/// position after it.
fn expand(words: &[&str], mut at: usize, before: &[String], out: &mut Vec<(String, Path)>) -> usize {
    let mut path = before.to_vec();
    loop {
        match words.get(at) {
            Some(&"{") => {
                at += 1;
                while words.get(at).is_some_and(|&word| word != "}") {
                    at = expand(words, at, &path, out);
                    at += usize::from(words.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(word) if word.starts_with(is_of_word) => {
                if *word != "self" || path.is_empty() {
                    path.push((*word).to_owned());
                }
                at += 1;
            }
            Some(_) => at += 1,
            None => return at,
        }
        if words.get(at..at + 2) == Some(&[":", ":"]) {
            at += 2;
            continue;
        }
        let renamed = words.get(at) == Some(&"as");
        let name =
            if renamed { words.get(at + 1).map(|&name| name.to_owned()) } else { path.last().cloned() };
        out.push((name.unwrap_or_default(), path));
        return at + if renamed { 2 } else { 0 };
    }
}

/// The module that a path in the module `at` refers to.
fn resolve(modules: &BTreeMap<Path, Module>, at: &Path, path: &Path, steps: usize) -> Path {
    let mut here = at.clone();
    for (n, name) in path.iter().enumerate() {
        match name.as_str() {
            "crate" => here.clear(),
            "super" => drop(here.pop()),
            "self" => {}
            name => {
                let below: Path = here.iter().cloned().chain([name.to_owned()]).collect();
                if modules.contains_key(&below) {
                    here = below;
                    continue;
                }
                let import = modules.get(&here).and_then(|module| module.names.get(name));
                return match import.filter(|import| steps > 0 && (n > 0 || *import != path)) {
                    Some(import) => resolve(modules, &here, import, steps - 1),
                    None => here,
                };
            }
        }
    }
    here
}

fn reaches(imports: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        let next = imports.get(at).into_iter().flatten().map(String::as_str);
        open.extend(next.filter(|&next| seen.insert(next)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{sources, top};
    use std::fs;

    /// The files of each crate.
    fn crates() -> BTreeMap<String, Vec<(String, String)>> {
        let mut crates: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (path, text) in sources() {
            if let Some((name, file)) = path.split_once("/src/") {
                crates.entry(name.to_owned()).or_default().push((file.to_owned(), text));
            }
        }
        crates
    }

    #[test]
    fn each_room_imports_only_from_those_before_it_in_the_architecture() {
        let page = fs::read_to_string(top().join("docs/ARCHITECTURE.md")).unwrap();
        let (crates, mut found, mut named) = (crates(), Vec::new(), 0);
        for item in page.split("\n- ").filter_map(|item| item.strip_prefix("`")) {
            let Some((name, rooms)) = item.split_once("/` rooms:") else { continue };
            let end = rooms.find("\n\n").unwrap_or(rooms.len());
            let rooms: Vec<&str> = rooms[..end].split('`').skip(1).step_by(2).collect();
            let breaches = out_of_order(&crates[name], &rooms);
            found.extend(breaches.into_iter().map(|breach| format!("{name}: {breach}")));
            named += 1;
        }
        assert_eq!(named, 3, "the page lists the rooms of the core, the orchestrator and the drone");
        assert!(found.is_empty(), "the page is not true:\n{}", found.join("\n"));
    }

    /// Rules produce facts. Only views and what answers a request make sentences of them, so that rewording
    /// one changes neither a decision nor the journal.
    #[test]
    fn no_rule_makes_sentences() {
        let answers = ["assign/claim.rs", "decide/calendar.rs", "decide/drone.rs", "explain.rs", "fence.rs"];
        let found = importers(&crates()["orchestrator/core"], "text");
        let (views, rules): (Vec<_>, Vec<_>) = found.iter().partition(|file| file.starts_with("view/"));
        assert!(views.len() > 8, "{views:?}");
        assert_eq!(rules, answers);
    }

    #[test]
    fn a_file_that_imports_from_a_module_is_found() {
        let files = [
            ("text/a.rs", "use crate::text::b;"),
            ("one.rs", "use crate::{other, text::{self, span}};"),
            ("two/mod.rs", "fn f() { crate::text::span() }"),
            (
                "three.rs",
                "//! [`crate::text`]\nuse crate::texts;\n#[cfg(test)]\nmod tests {\nuse crate::text;\n}",
            ),
        ];
        let files: Vec<_> = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        assert_eq!(importers(&files, "text").into_iter().collect::<Vec<_>>(), ["one.rs", "two/mod.rs"]);
    }

    #[test]
    fn an_upward_import_an_unknown_room_and_a_missing_one_are_found() {
        let files = [("lib.rs", "mod a;"), ("a.rs", "use crate::b::x;"), ("b.rs", ""), ("c.rs", "")];
        let files: Vec<_> = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        assert_eq!(out_of_order(&files, &["b", "a", "c"]), [""; 0]);
        assert_eq!(out_of_order(&files, &["a", "b", "d"]), ["c is missing", "d is no module", "a -> b"]);
    }

    #[test]
    fn no_module_of_a_crate_imports_what_imports_it() {
        let crates = crates();
        assert!(crates.len() > 6, "{:?}", crates.keys());
        let found: Vec<String> = crates
            .iter()
            .flat_map(|(name, files)| circles(files).into_iter().map(move |arrow| format!("{name}: {arrow}")))
            .collect();
        assert!(found.is_empty(), "these form circles:\n{}", found.join("\n"));
    }

    /// The modules that each Python module imports, at its beginning or within a function.
    fn of_python(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let imported = |line: &str| match &words(line)[..] {
            [how, module, ..] if how == "from" || how == "import" => Some(module.clone()),
            _ => None,
        };
        files.iter().map(|(name, text)| (name.clone(), text.lines().filter_map(imported).collect())).collect()
    }

    #[test]
    fn no_module_of_the_planners_script_imports_what_imports_it() {
        let dir = top().join("drone/src/builder/portage/plan");
        let files: Vec<(String, String)> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "py"))
            .map(|path| {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        assert!(files.len() >= 12, "{files:?}");
        let imports = of_python(&files);
        assert!(imports["planning"].contains("proof"), "{imports:?}");
        let circles: Vec<_> = imports
            .iter()
            .flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
            .filter(|(from, to)| reaches(&imports, to, from))
            .collect();
        assert_eq!(circles, []);
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        circles(&files.collect::<Vec<_>>())
    }

    #[test]
    fn a_circle_is_found_through_groups_exports_and_deeper_files() {
        let files = [
            ("lib.rs", "pub mod a;\npub use c::{C, D as E};\n"),
            ("a.rs", "use crate::{\n    b::{self, x},\n    e,\n};\n"),
            ("b/mod.rs", "pub mod deep;\n// crate::e\n"),
            ("b/deep.rs", "use crate::E;\n"),
            ("c.rs", "fn f() { crate::a::g() }\n"),
            ("e.rs", "use std::fmt;\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n"),
        ];
        assert_eq!(found(&files), ["a -> b", "b -> c", "c -> a"]);
    }

    #[test]
    fn modules_beside_each_other_form_circles_at_every_depth_and_a_module_with_its_parts_none() {
        let files = [
            ("main.rs", "mod a;\n"),
            ("a/mod.rs", "mod b;\nmod c;\nuse b::B;\nuse self::c::d::D;\n"),
            ("a/b.rs", "use super::{c::d, A};\n"),
            ("a/c/mod.rs", "pub(in crate::a) mod d;\n"),
            ("a/c/d.rs", "pub struct D(super::super::B);\nuse super::X;\n"),
        ];
        assert_eq!(found(&files), ["a::b -> a::c", "a::c -> a::b"]);
    }
}
