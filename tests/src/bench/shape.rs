//! Worlds of trivial packages with the dependencies of a measured set, to measure overhead: compiling costs
//! next to nothing.

use crate::replay::workload::Workload;
use anyhow::Result;
use std::{fmt::Write as _, fs, path::Path};

/// A world of packages that each install one file. For each package it has the positions of the earlier
/// packages that it needs, both to be built and to run.
#[derive(Debug)]
pub struct Shape {
    pub name: String,
    needs: Vec<Vec<usize>>,
}

impl Shape {
    /// Each package needs the previous one.
    #[must_use]
    pub fn ladder(packages: usize) -> Self {
        let needs = (0..packages).map(|n| n.checked_sub(1).into_iter().collect()).collect();
        Self { name: format!("ladder of {packages}"), needs }
    }

    /// The first packages of a set in `tests/workloads`, in build order.
    ///
    /// # Errors
    /// There is no such set.
    pub fn of(set: &str, packages: usize) -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(format!("{set}.json"));
        let mut needs = Workload::read(&file)?.deps;
        needs.truncate(packages);
        Ok(Self { name: format!("{} packages of {set}", needs.len()), needs })
    }

    #[must_use]
    pub fn packages(&self) -> usize {
        self.needs.len()
    }

    /// The positions of the packages that each package needs.
    #[must_use]
    pub fn needs(&self) -> &[Vec<usize>] {
        &self.needs
    }

    /// The package that most others depend on directly, and how many these are.
    #[must_use]
    pub fn most_needed(&self) -> (usize, usize) {
        let mut dependants = vec![0; self.needs.len()];
        self.needs.iter().flatten().for_each(|&need| dependants[need] += 1);
        dependants.into_iter().enumerate().max_by_key(|&(_, count)| count).unwrap_or_default()
    }

    /// The atom of a package.
    #[must_use]
    pub fn atom(package: usize) -> String {
        format!("app-misc/part{package}")
    }

    /// Writes the ebuilds. Returns the atoms of the world.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, repository: &Path) -> Result<Vec<String>> {
        (0..self.packages()).map(|package| self.write_version(repository, package, 1)).collect()
    }

    /// Writes the ebuild of one version of a package, replacing any other version. Returns its atom.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_version(&self, repository: &Path, package: usize, version: u32) -> Result<String> {
        let folder = repository.join(Self::atom(package));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let needs = self.needs[package].iter().fold(String::new(), |mut text, &need| {
            // Writing to a string does not fail.
            let _ = write!(text, " {}", Self::atom(need));
            text
        });
        fs::write(
            folder.join(format!("part{package}-{version}.ebuild")),
            format!(
                "EAPI=8\nDESCRIPTION=\"A part\"\nHOMEPAGE=\"https://example.org\"\nSLOT=\"0\"\nLICENSE=\"MIT\"\n\
                 KEYWORDS=\"amd64\"\nDEPEND=\"{needs}\"\nRDEPEND=\"{needs}\"\nS=\"${{WORKDIR}}\"\n\
                 src_install() {{\n\tinsinto /usr/share/parts\n\tnewins - part{package} <<<\"{version}\"\n}}\n"
            ),
        )?;
        Ok(Self::atom(package))
    }
}
