//! Reads the settings of a bundle and of its Portage profile as Portage does, to find unsuitable ones before
//! anything is built.

use super::{
    profile::Found,
    shell::{Place, Reader, Variables},
    tree::files_at,
};
use crate::failure::Failure;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    slice,
};
use swarm_formats::portage::settings::{is_drones_own, is_feature_without_effect};

/// The maximum size of a file that is searched for words, in bytes, if it is a script or cannot be parsed as
/// settings.
const LARGEST_SCRIPT: u64 = 1 << 20;

/// A word of a setting, with its place.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// The variable. Empty for words of scripts and of `package.use`.
    pub(super) of: String,
    pub(super) text: String,
    pub(super) place: Place,
}

/// All settings of a bundle and its Portage profile.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Every word of every variable's final value.
    pub(super) words: Vec<Word>,
    /// Processor flags (`cpu_flags_*`) that `package.use` enables.
    pub(super) cpu_flags: Vec<Word>,
    /// The words of scripts, which are not parsed.
    pub(super) scripts: Vec<Word>,
    /// The variables that the bundle itself assigns.
    assigned: BTreeSet<String>,
}

impl Settings {
    /// Reads the settings of the bundle at `root`, whose profile inherits from `inherited`.
    pub(super) fn read(root: &Path, inherited: &[Found<'_>]) -> Result<Self, Failure> {
        let (reader, portage) = (Reader { root, label: "" }, root.join("etc/portage"));
        let (mut settings, mut variables) = (Self::default(), Variables::new());
        for profile in inherited {
            let (dir, label) = (profile.dir(), profile.label());
            let of_profile = Reader { root: &dir, label: &label };
            settings.layer(&of_profile, &files_at(&dir.join("make.defaults"))?, &mut variables)?;
        }
        // Notes are only about what the bundle itself assigns.
        variables.values_mut().for_each(|value| value.at = None);
        let own = portage.join("make.profile");
        if !own.is_symlink() {
            // Files in subdirectories are parents of those above them.
            for file in files_at(&own)?.iter().rev().filter(|file| file.ends_with("make.defaults")) {
                settings.layer(&reader, slice::from_ref(file), &mut variables)?;
            }
        }
        settings.layer(&reader, &files_at(&portage.join("make.conf"))?, &mut variables)?;
        variables.remove("USE");
        settings.add(&variables);

        let env = portage.join("env");
        let mut of_packages = BTreeSet::new();
        for file in files_at(&portage.join("package.env"))? {
            for (_, line) in lines(&file) {
                of_packages.extend(line.split_whitespace().skip(1).map(|name| env.join(name)));
            }
        }
        for file in of_packages.iter().filter(|file| file.is_file()) {
            // References resolve to variables of make.conf. Only what this file assigns counts as its own.
            let mut own = variables.clone();
            reader.read(file, &mut own).map_err(Failure::Failed)?;
            let name = reader.name(file);
            own.retain(|_, value| value.at.as_ref().is_some_and(|at| at.file == name));
            settings.add(&own);
        }
        let mut scripts = files_at(&portage.join("bashrc"))?;
        scripts.extend(files_at(&portage.join("profile"))?);
        scripts.extend(files_at(&env)?.into_iter().filter(|file| !of_packages.contains(file)));
        for file in scripts {
            settings.scripts.extend(words_of(&reader, &file));
        }
        for file in files_at(&portage.join("package.use"))? {
            settings.read_use(&reader, &file);
        }
        Ok(settings)
    }

    /// Reads the files of a layer over `variables`. The last value of a variable counts, except for USE
    /// flags, which add up over all layers.
    fn layer(
        &mut self,
        reader: &Reader<'_>,
        files: &[PathBuf],
        variables: &mut Variables,
    ) -> Result<(), Failure> {
        variables.remove("USE");
        for file in files {
            reader.read(file, variables).map_err(Failure::Failed)?;
        }
        for (text, place) in variables.get("USE").iter().flat_map(|value| value.words()) {
            match text.strip_prefix('-') {
                Some("*") => self.words.clear(),
                Some(off) => self.words.retain(|word| word.text != off),
                None => self.words.push(Word { of: "USE".into(), text, place }),
            }
        }
        Ok(())
    }

    fn add(&mut self, variables: &Variables) {
        for (name, value) in variables {
            if value.at.is_some() {
                self.assigned.insert(name.clone());
            }
            let words = value.words().into_iter();
            self.words.extend(words.map(|(text, place)| Word { of: name.clone(), text, place }));
        }
    }

    /// Reads processor flags from a file of `package.use`, in either notation.
    fn read_use(&mut self, reader: &Reader<'_>, file: &Path) {
        for word in words_of(reader, file).fold(Vec::<Vec<Word>>::new(), by_line) {
            let mut expand = String::new();
            for mut word in word.into_iter().skip(1) {
                if let Some(name) = word.text.strip_suffix(':') {
                    expand = format!("{}_", name.to_ascii_lowercase());
                    continue;
                }
                word.text = format!("{expand}{}", word.text);
                if word.text.starts_with("cpu_flags_") {
                    self.cpu_flags.push(word);
                }
            }
        }
    }

    /// A note for the user about settings that have no effect on drones. `None` if there are none.
    pub(super) fn without_effect(&self) -> Option<String> {
        let mut names: Vec<String> =
            self.assigned.iter().filter(|name| is_drones_own(name)).cloned().collect();
        let features: BTreeSet<&str> = self
            .words
            .iter()
            .filter(|word| word.of == "FEATURES" && self.assigned.contains("FEATURES"))
            .filter(|word| is_feature_without_effect(&word.text))
            .map(|word| word.text.as_str())
            .collect();
        if !features.is_empty() {
            let features: Vec<&str> = features.into_iter().collect();
            names.push(format!("FEATURES=\"{}\"", features.join(" ")));
        }
        (!names.is_empty())
            .then(|| format!("ignored on drones, which have their own or need none: {}", names.join(", ")))
    }
}

fn by_line(mut lines: Vec<Vec<Word>>, word: Word) -> Vec<Vec<Word>> {
    match lines.last_mut().filter(|line| line[0].place.line == word.place.line) {
        Some(line) => line.push(word),
        None => lines.push(vec![word]),
    }
    lines
}

/// The lines that are not comments, numbered from 1. A file that cannot be read as text counts as empty:
/// packing reports it, unless it does no harm.
fn lines(file: &Path) -> Vec<(usize, String)> {
    let small = fs::metadata(file).is_ok_and(|meta| meta.len() <= LARGEST_SCRIPT);
    let text = if small { fs::read(file).unwrap_or_default() } else { Vec::new() };
    let text = String::from_utf8_lossy(&text);
    let code = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    text.lines().map(code).enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, l)| !l.is_empty()).collect()
}

fn words_of(reader: &Reader<'_>, file: &Path) -> impl Iterator<Item = Word> {
    let name = reader.name(file);
    lines(file).into_iter().flat_map(move |(line, text)| {
        let place = Place { file: name.clone(), line };
        let words: Vec<Word> = text
            .split_whitespace()
            .map(|text| Word { of: String::new(), text: text.to_owned(), place: place.clone() })
            .collect();
        words
    })
}
