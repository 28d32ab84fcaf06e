//! Reads and writes `.drv` files.
//!
//! `Derive([outputs],[input derivations],[input sources],system,builder,[args],[env])`, where an output is
//! `(name,path,hash kind,hash)` and a variable is `(name,value)`. After parsing, the file is rendered again
//! and compared, so that only the canonical form is accepted.

use super::{Derivation, DerivationError, FixedHash, HashAlgorithm, MAX_BYTES, MAX_STRINGS, Output};
use crate::nix::store_path::{StoreDir, StorePath, check_name};
use std::collections::{BTreeMap, BTreeSet};

impl Derivation {
    /// Parses a `.drv` file.
    ///
    /// # Errors
    /// The file is malformed, not canonical, too large, or of an unsupported kind.
    pub fn parse(text: &[u8], dir: &StoreDir) -> Result<Self, DerivationError> {
        if text.len() > MAX_BYTES {
            return Err(DerivationError::TooLarge { what: "its size in bytes", limit: MAX_BYTES });
        }
        let mut reader = Reader { text, at: 0, strings: 0, dir };
        let derivation = reader.derivation()?;
        if reader.at != text.len() {
            return Err(reader.malformed("trailing data"));
        }
        if derivation.to_bytes(dir) != text {
            return Err(DerivationError::NotCanonical);
        }
        Ok(derivation)
    }

    /// Renders the `.drv` file.
    #[must_use]
    pub fn to_bytes(&self, dir: &StoreDir) -> Vec<u8> {
        let inputs = self.input_derivations.iter().map(|(path, outputs)| (dir.absolute(path), outputs));
        self.write(dir, inputs, false)
    }

    /// Renders the file with other names for its inputs and, if `masked`, without output paths,
    /// as it is hashed for [`Derivation::output_paths`].
    pub(super) fn write<'a>(
        &self,
        dir: &StoreDir,
        inputs: impl Iterator<Item = (String, &'a BTreeSet<String>)>,
        masked: bool,
    ) -> Vec<u8> {
        let mut to = b"Derive(".to_vec();
        list(&mut to, &self.outputs, |to, (name, output)| {
            let path = if masked { String::new() } else { dir.absolute(&output.path) };
            let (kind, hash) = output.fixed.as_ref().map(|f| (f.kind(), f.hex())).unwrap_or_default();
            tuple(to, &[name, &path, &kind, &hash]);
        });
        to.push(b',');
        list(&mut to, inputs, |to, (path, outputs)| {
            to.push(b'(');
            string(to, path.as_bytes());
            to.push(b',');
            list(to, outputs, |to, output| string(to, output.as_bytes()));
            to.push(b')');
        });
        to.push(b',');
        list(&mut to, &self.input_sources, |to, path| string(to, dir.absolute(path).as_bytes()));
        for text in [&self.system, &self.builder] {
            to.push(b',');
            string(&mut to, text.as_bytes());
        }
        to.push(b',');
        list(&mut to, &self.args, |to, arg| string(to, arg));
        to.push(b',');
        list(&mut to, &self.env, |to, (name, value)| {
            to.push(b'(');
            string(to, name.as_bytes());
            to.push(b',');
            string(to, if masked && self.outputs.contains_key(name) { b"" } else { value });
            to.push(b')');
        });
        to.push(b')');
        to
    }
}

fn list<T>(to: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Vec<u8>, T)) {
    to.push(b'[');
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            to.push(b',');
        }
        each(to, item);
    }
    to.push(b']');
}

fn tuple(to: &mut Vec<u8>, texts: &[&str]) {
    to.push(b'(');
    for (n, text) in texts.iter().enumerate() {
        if n > 0 {
            to.push(b',');
        }
        string(to, text.as_bytes());
    }
    to.push(b')');
}

fn string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => to.extend([b'\\', byte]),
            b'\n' => to.extend(b"\\n"),
            b'\r' => to.extend(b"\\r"),
            b'\t' => to.extend(b"\\t"),
            _ => to.push(byte),
        }
    }
    to.push(b'"');
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    strings: usize,
    dir: &'a StoreDir,
}

impl Reader<'_> {
    fn derivation(&mut self) -> Result<Derivation, DerivationError> {
        if self.text.starts_with(b"DrvWithVersion(") {
            return Err(self.malformed("a dynamic derivation, which is not supported"));
        }
        self.expect(b"Derive(", "it does not start with `Derive(`")?;
        let mut outputs = BTreeMap::new();
        self.list(|reader| {
            let (name, output) = reader.output()?;
            outputs.insert(name, output);
            Ok(())
        })?;
        if outputs.is_empty() {
            return Err(self.malformed("it has no outputs"));
        }
        self.comma()?;
        let mut input_derivations = BTreeMap::new();
        self.list(|reader| {
            reader.open()?;
            let path = reader.store_path()?;
            reader.comma()?;
            let mut outputs = BTreeSet::new();
            reader.list(|reader| {
                outputs.insert(reader.output_name()?);
                Ok(())
            })?;
            input_derivations.insert(path, outputs);
            reader.close()
        })?;
        self.comma()?;
        let mut input_sources = BTreeSet::new();
        self.list(|reader| {
            input_sources.insert(reader.store_path()?);
            Ok(())
        })?;
        self.comma()?;
        let system = self.text()?;
        // Nix does not escape the system.
        if !system.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte)) {
            return Err(self.malformed("the system must be visible ASCII without quotes"));
        }
        self.comma()?;
        let builder = self.text()?;
        self.comma()?;
        let mut args = Vec::new();
        self.list(|reader| {
            args.push(reader.string()?);
            Ok(())
        })?;
        self.comma()?;
        let mut env = BTreeMap::new();
        self.list(|reader| {
            reader.open()?;
            let name = reader.text()?;
            reader.comma()?;
            env.insert(name, reader.string()?);
            reader.close()
        })?;
        self.close()?;
        Ok(Derivation { outputs, input_derivations, input_sources, system, builder, args, env })
    }

    fn output(&mut self) -> Result<(String, Output), DerivationError> {
        self.open()?;
        let name = self.output_name()?;
        self.comma()?;
        let from = self.at;
        let path = self.text()?;
        self.comma()?;
        let kind = self.text()?;
        self.comma()?;
        let hash = self.text()?;
        self.close()?;
        let unsupported = |kind| Err(DerivationError::Unsupported { output: name.clone(), kind });
        let fixed = match (path.is_empty(), kind.is_empty(), hash.as_str()) {
            (_, _, "impure") => return unsupported("impure"),
            (true, false, "") => {
                return unsupported("content-addressed without a fixed hash (ca-derivations)");
            }
            (true, true, "") => return unsupported("deferred, because an input is content-addressed"),
            (false, true, "") => None,
            (false, false, hash) => {
                let Some(fixed) = fixed(&kind, hash) else {
                    return unsupported(
                        "fixed by a hash other than MD5, SHA-1, SHA-256 or SHA-512 in hexadecimal",
                    );
                };
                Some(fixed)
            }
            _ => return Err(self.malformed("an output with a hash but no kind or path")),
        };
        let path = self.dir.parse(&path).map_err(|error| DerivationError::Path { at: from, error })?;
        Ok((name, Output { path, fixed }))
    }

    fn output_name(&mut self) -> Result<String, DerivationError> {
        let at = self.at;
        let name = self.text()?;
        check_name(&name).map_err(|error| DerivationError::Path { at, error })?;
        Ok(name)
    }

    fn store_path(&mut self) -> Result<StorePath, DerivationError> {
        let at = self.at;
        self.dir.parse(&self.text()?).map_err(|error| DerivationError::Path { at, error })
    }

    fn list(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), DerivationError>,
    ) -> Result<(), DerivationError> {
        self.expect(b"[", "a list was expected")?;
        if self.take(b"]") {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.take(b"]") {
                return Ok(());
            }
            self.comma()?;
        }
    }

    fn text(&mut self) -> Result<String, DerivationError> {
        let at = self.at;
        let reason = "this string must be UTF-8";
        String::from_utf8(self.string()?).map_err(|_| DerivationError::Malformed { at, reason })
    }

    fn string(&mut self) -> Result<Vec<u8>, DerivationError> {
        self.strings += 1;
        if self.strings > MAX_STRINGS {
            return Err(DerivationError::TooLarge { what: "the number of its strings", limit: MAX_STRINGS });
        }
        self.expect(b"\"", "a string was expected")?;
        let mut bytes = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(plain) = rest.iter().position(|b| b"\"\\".contains(b)) else {
                return Err(self.malformed("unterminated string"));
            };
            bytes.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            if rest[plain] == b'"' {
                return Ok(bytes);
            }
            let Some(&escaped) = rest.get(plain + 1) else {
                return Err(self.malformed("unterminated string"));
            };
            self.at += 1;
            bytes.push(match escaped {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => other,
            });
        }
    }

    fn open(&mut self) -> Result<(), DerivationError> {
        self.expect(b"(", "`(` was expected")
    }

    fn close(&mut self) -> Result<(), DerivationError> {
        self.expect(b")", "`)` was expected")
    }

    fn comma(&mut self) -> Result<(), DerivationError> {
        self.expect(b",", "`,` was expected")
    }

    fn expect(&mut self, token: &[u8], reason: &'static str) -> Result<(), DerivationError> {
        if self.take(token) { Ok(()) } else { Err(self.malformed(reason)) }
    }

    fn take(&mut self, token: &[u8]) -> bool {
        let is_next = self.text[self.at..].starts_with(token);
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    fn malformed(&self, reason: &'static str) -> DerivationError {
        DerivationError::Malformed { at: self.at, reason }
    }
}

fn fixed(kind: &str, digits: &str) -> Option<FixedHash> {
    let (recursive, name) = match kind.strip_prefix("r:") {
        Some(name) => (true, name),
        None => (false, kind),
    };
    let algorithm = HashAlgorithm::of(name)?;
    let hash = hex::decode(digits).ok()?;
    (hash.len() == algorithm.bytes()).then_some(FixedHash { recursive, algorithm, hash })
}
