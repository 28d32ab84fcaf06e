//! Parses the language of `make.conf` as Portage does: assignments, quotes, references to variables, line
//! continuations, and `source`. It is not a shell, and nothing is run.
//!
//! Each character of a value records where it was written, so that messages can name the file and line even
//! through references and sourced files.

use std::{
    collections::BTreeMap,
    fmt, fs,
    iter::Peekable,
    path::{Path, PathBuf},
    rc::Rc,
};

/// The maximum length of a value after its references are replaced.
const LONGEST_VALUE: usize = 1 << 20;
const DEEPEST_SOURCE: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value, with the place of each character.
#[derive(Debug, Clone, Default)]
pub(super) struct Value {
    chars: Vec<(char, Place)>,
    /// Where the value was assigned. `None` if it never was.
    pub(super) at: Option<Place>,
}

impl Value {
    /// The words of the value, each with the place of its first character.
    pub(super) fn words(&self) -> Vec<(String, Place)> {
        let mut words: Vec<(String, Place)> = Vec::new();
        let mut inside = false;
        for (c, place) in &self.chars {
            if c.is_whitespace() {
                inside = false;
                continue;
            }
            match words.last_mut().filter(|_| inside) {
                Some((word, _)) => word.push(*c),
                None => words.push((c.to_string(), place.clone())),
            }
            inside = true;
        }
        words
    }
}

/// The last value assigned to each variable.
pub(super) type Variables = BTreeMap<String, Value>;

/// Reads files below `root`, a bundle or a profile of a repository.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) root: &'a Path,
    /// The prefix of paths in messages; empty for a bundle.
    pub(super) label: &'a str,
}

impl Reader<'_> {
    /// Reads a file into `variables`. The error names the file, the line and the problem.
    pub(super) fn read(&self, path: &Path, variables: &mut Variables) -> Result<(), String> {
        self.read_at(path, variables, 0)
    }

    /// The path of a file relative to the root, for messages.
    pub(super) fn name(&self, path: &Path) -> Rc<str> {
        let below = path.strip_prefix(self.root).unwrap_or(path);
        Path::new(self.label).join(below).display().to_string().into()
    }

    fn read_at(&self, path: &Path, variables: &mut Variables, depth: usize) -> Result<(), String> {
        let file = self.name(path);
        let text = fs::read_to_string(path).map_err(|e| format!("{file}: {e}"))?;
        let mut lexer = Lexer { chars: text.chars().peekable(), line: 1, file: &file, variables };
        while let Some(at) = lexer.skip_to_word() {
            let mut name = lexer.name();
            if name == "export" {
                lexer.skip_to_word();
                name = lexer.name();
            }
            if name == "source" {
                lexer.skip_to_word();
                let target: String = lexer.value()?.chars.iter().map(|(c, _)| *c).collect();
                if depth == DEEPEST_SOURCE {
                    return Err(format!("{at}: files source each other recursively"));
                }
                let target = self.sourced(path, &target).ok_or_else(|| {
                    let target = target.escape_debug();
                    format!("{at}: sources {target}, which is not in the bundle and so missing on drones")
                })?;
                self.read_at(&target, lexer.variables, depth + 1)?;
                continue;
            }
            lexer.skip_blanks();
            let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !sound || lexer.chars.next_if_eq(&'=').is_none() {
                let name = name.chars().take(40).collect::<String>();
                return Err(format!("{at}: expected NAME=\"value\", found `{}`", name.escape_debug()));
            }
            lexer.skip_blanks();
            let mut value = lexer.value()?;
            value.at = Some(at);
            lexer.variables.insert(name, value);
        }
        Ok(())
    }

    /// The bundle's own copy of a sourced file. `None` if it has none.
    fn sourced(&self, from: &Path, target: &str) -> Option<PathBuf> {
        let path = match target.strip_prefix('/') {
            Some(below) => self.root.join(below),
            None => from.parent()?.join(target),
        };
        path.is_file().then_some(path)
    }
}

struct Lexer<'a, I: Iterator<Item = char>> {
    chars: Peekable<I>,
    line: usize,
    file: &'a Rc<str>,
    variables: &'a mut Variables,
}

impl<I: Iterator<Item = char>> Lexer<'_, I> {
    fn here(&self) -> Place {
        Place { file: Rc::clone(self.file), line: self.line }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// Skips space, comments and line ends. Returns the place of the next word, or `None` at the end.
    fn skip_to_word(&mut self) -> Option<Place> {
        loop {
            match *self.chars.peek()? {
                '#' => while self.chars.next_if(|c| *c != '\n').is_some() {},
                c if c.is_whitespace() || c == '\\' || c == ';' => {
                    self.next();
                }
                _ => return Some(self.here()),
            }
        }
    }

    fn skip_blanks(&mut self) {
        while self.chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| !c.is_whitespace() && !matches!(c, '=' | '"' | '\'' | '#'))
        {
            name.push(c);
        }
        name
    }

    /// Reads a value up to the first space outside of quotes.
    fn value(&mut self) -> Result<Value, String> {
        let (begun, mut value) = (self.here(), Value::default());
        let mut quote = None;
        loop {
            let Some(&c) = self.chars.peek() else {
                return match quote {
                    Some(quote) => Err(format!("{begun}: unterminated quotation mark {quote}")),
                    None => Ok(value),
                };
            };
            let place = self.here();
            match c {
                c if quote == Some(c) => {
                    self.next();
                    quote = None;
                }
                '"' | '\'' if quote.is_none() => {
                    self.next();
                    quote = Some(c);
                }
                c if quote.is_none() && (c.is_whitespace() || c == '#') => return Ok(value),
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => {}
                        Some(c @ ('"' | '\\' | '$' | '\'')) => value.chars.push((c, place)),
                        Some(c) if quote.is_none() => value.chars.push((c, place)),
                        Some(c) => value.chars.extend([('\\', place.clone()), (c, place)]),
                    }
                }
                // Like Portage, replace references within single quotes as well.
                '$' => {
                    self.next();
                    self.reference(&mut value, place);
                }
                c => {
                    self.next();
                    value.chars.push((c, place));
                }
            }
            if value.chars.len() > LONGEST_VALUE {
                return Err(format!("{begun}: the value has more than {LONGEST_VALUE} characters"));
            }
        }
    }

    fn reference(&mut self, value: &mut Value, place: Place) {
        let braces = self.chars.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if braces {
            while self.chars.next_if(|c| !matches!(c, '}' | '\n' | '"')).is_some() {}
            self.chars.next_if_eq(&'}');
        }
        match self.variables.get(&name) {
            Some(known) => value.chars.extend(known.chars.iter().cloned()),
            None if name.is_empty() => value.chars.push(('$', place)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Variables, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let at = dir.path().join(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        let mut variables = Variables::new();
        Reader { root: dir.path(), label: "" }.read(&dir.path().join("make.conf"), &mut variables)?;
        Ok(variables)
    }

    fn words(variables: &Variables, name: &str) -> Vec<String> {
        variables[name].words().into_iter().map(|(word, place)| format!("{word}@{}", place.line)).collect()
    }

    #[test]
    fn quotes_continuations_references_and_comments_are_read_as_portage_does() {
        let text = "# COMMON=\"no\"\nCOMMON=\"-O2 \\\n  -pipe\n  -march=x\"\n\nCFLAGS=\"${COMMON} -g\" # why\n\
            CXXFLAGS='$COMMON'\nexport ONE=a'b c'\"d\"\nEMPTY=\nQUOTED=\"say \\\"hi\\\"\"\n";
        let read = read(&[("make.conf", text)]).unwrap();
        assert_eq!(words(&read, "CFLAGS"), ["-O2@2", "-pipe@3", "-march=x@4", "-g@6"]);
        assert_eq!(words(&read, "CXXFLAGS"), ["-O2@2", "-pipe@3", "-march=x@4"]);
        assert_eq!(words(&read, "ONE"), ["ab@8", "cd@8"]);
        assert_eq!(words(&read, "QUOTED"), ["say@10", "\"hi\"@10"]);
        assert!(words(&read, "EMPTY").is_empty());
        assert_eq!(read["CFLAGS"].at.as_ref().unwrap().to_string(), "make.conf:6");
        assert!(!read.contains_key("why"));
    }

    #[test]
    fn sourced_files_are_the_bundles_and_the_last_assignment_counts() {
        let files = [
            ("make.conf", "A=1\nsource /etc/portage/more.conf\nsource near.conf\nB=\"${A} $UNKNOWN\"\n"),
            ("etc/portage/more.conf", "\nA=2\n"),
            ("near.conf", "C=3"),
        ];
        let all = read(&files).unwrap();
        assert_eq!((words(&all, "B"), words(&all, "C")), (vec!["2@2".into()], vec!["3@1".into()]));
        assert_eq!(&*all["B"].words()[0].1.file, "etc/portage/more.conf");
        let missing = read(&files[..1]).unwrap_err();
        assert!(missing.starts_with("make.conf:2:") && missing.contains("more.conf"), "{missing}");
    }

    #[test]
    fn what_portage_would_not_read_is_refused_with_its_line() {
        for (text, want) in [
            ("A=1\nB=\"2\n", "make.conf:2: unterminated quotation mark \""),
            ("A=1\nUSE+=\" b\"\n", "make.conf:2: expected NAME=\"value\", found `USE+`"),
            ("if true; then\n", "make.conf:1: expected NAME"),
            ("source make.conf\n", "recursively"),
        ] {
            let error = read(&[("make.conf", text)]).unwrap_err();
            assert!(error.contains(want), "{want}: {error}");
        }
        let growing = format!("A=\"{}\"\n{}", "x".repeat(100), "A=\"$A$A\"\n".repeat(30));
        assert!(read(&[("make.conf", &growing)]).unwrap_err().contains("more than"));
    }
}
