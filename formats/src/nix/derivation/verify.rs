//! Computes the paths of a derivation and its outputs, so that they need not be trusted.
//!
//! The path of an output is derived from a hash of the derivation in which its output paths are blanked and
//! each input is replaced by the input's own hash. The hash of a fixed-output input covers only its content
//! hash and path, so that fetching the same source differently changes nothing. Nix calls this
//! `hashDerivationModulo`.

use super::{Derivation, FixedHash, HashAlgorithm, VerifyError};
use crate::nix::store_path::{StoreDir, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::digest::Digest;

impl Derivation {
    /// The path of the `.drv` file.
    ///
    /// # Errors
    /// Nix does not allow the name.
    pub fn path(&self, name: &str, dir: &StoreDir) -> Result<StorePath, VerifyError> {
        let references: BTreeSet<_> = self.input_derivations.keys().chain(&self.input_sources).collect();
        Ok(dir.text_path(&format!("{name}.drv"), &Digest::of(&self.to_bytes(dir)), references)?)
    }

    /// The hash that replaces this derivation where it is an input of another. `inputs` looks up
    /// the hashes of its own inputs.
    ///
    /// # Errors
    /// The hash of an input is missing.
    pub fn input_hash(
        &self,
        dir: &StoreDir,
        inputs: impl Fn(&StorePath) -> Option<Digest>,
    ) -> Result<Digest, VerifyError> {
        if let Some((path, fixed)) = self.fixed_output()? {
            let text = format!("fixed:out:{}:{}:{}", fixed.kind(), fixed.hex(), dir.absolute(path));
            return Ok(Digest::of(text.as_bytes()));
        }
        self.hash_text(dir, inputs, false)
    }

    /// Computes the paths of the outputs. `inputs` looks up the hashes of the inputs.
    ///
    /// # Errors
    /// The hash of an input is missing, or the name is invalid.
    pub fn output_paths(
        &self,
        name: &str,
        dir: &StoreDir,
        inputs: impl Fn(&StorePath) -> Option<Digest>,
    ) -> Result<BTreeMap<&str, StorePath>, VerifyError> {
        if let Some((_, fixed)) = self.fixed_output()? {
            return Ok(BTreeMap::from([("out", fixed.path(name, dir)?)]));
        }
        let hash = self.hash_text(dir, inputs, true)?;
        let paths = self.outputs.keys().map(|output| {
            let path = dir.output_path(name, output, &hash)?;
            Ok((output.as_str(), path))
        });
        paths.collect()
    }

    /// Checks that `path` and the output paths, both in the derivation and in its environment, are the
    /// computed ones. Returns [`Derivation::input_hash`], for the derivations that depend on this one.
    ///
    /// # Errors
    /// A path is wrong, or the hash of an input is missing.
    pub fn verify(
        &self,
        path: &StorePath,
        dir: &StoreDir,
        inputs: impl Fn(&StorePath) -> Option<Digest>,
    ) -> Result<Digest, VerifyError> {
        let name = path.derivation_name().ok_or_else(|| VerifyError::NotDerivation(path.clone()))?;
        let expected = self.path(name, dir)?;
        if expected != *path {
            return Err(VerifyError::Path { path: path.clone(), expected });
        }
        let expected = self.output_paths(name, dir, &inputs)?;
        for ((name, output), expected) in self.outputs.iter().zip(expected.into_values()) {
            if output.path != expected {
                let (output, path) = (name.clone(), output.path.clone());
                return Err(VerifyError::Output { output, path, expected });
            }
            let absolute = dir.absolute(&expected);
            if self.env.get(name).is_none_or(|value| value != absolute.as_bytes()) {
                return Err(VerifyError::Environment(name.clone()));
            }
        }
        self.input_hash(dir, inputs)
    }

    /// The output of a fixed-output derivation. `None` for other derivations.
    fn fixed_output(&self) -> Result<Option<(&StorePath, &FixedHash)>, VerifyError> {
        let mut fixed = self.outputs.iter().filter_map(|(name, o)| Some((name, &o.path, o.fixed.as_ref()?)));
        match fixed.next() {
            None => Ok(None),
            Some((name, path, fixed)) if name == "out" && self.outputs.len() == 1 => Ok(Some((path, fixed))),
            Some(_) => Err(VerifyError::FixedOutputs),
        }
    }

    fn hash_text(
        &self,
        dir: &StoreDir,
        inputs: impl Fn(&StorePath) -> Option<Digest>,
        masked: bool,
    ) -> Result<Digest, VerifyError> {
        // Inputs that fetch the same source have the same hash.
        let mut by_hash: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, outputs) in &self.input_derivations {
            let hash = inputs(path).ok_or_else(|| VerifyError::Input(path.clone()))?;
            for output in outputs {
                by_hash.entry(hash.to_string()).or_default().insert(output.clone());
            }
        }
        let inputs = by_hash.iter().map(|(hash, outputs)| (hash.clone(), outputs));
        Ok(Digest::of(&self.write(dir, inputs, masked)))
    }
}

impl FixedHash {
    fn path(&self, name: &str, dir: &StoreDir) -> Result<StorePath, VerifyError> {
        let nar_hash = match (self.recursive, self.algorithm) {
            (true, HashAlgorithm::Sha256) => <[u8; 32]>::try_from(self.hash.as_slice()).ok(),
            _ => None,
        };
        Ok(match nar_hash {
            Some(hash) => dir.source_path(name, &Digest(hash))?,
            None => {
                let text = format!("fixed:out:{}:{}:", self.kind(), self.hex());
                dir.output_path(name, "out", &Digest::of(text.as_bytes()))?
            }
        })
    }
}
