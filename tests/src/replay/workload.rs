//! A set of packages with their dependencies and build times.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// A package in a workload file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its name, which is unique in the file.
    pub name: String,
    #[serde(default)]
    pub version: String,
    /// Names of the packages that it needs to be built.
    #[serde(default)]
    pub deps: Vec<String>,
    /// Seconds of work on a drone of speed 1.
    pub seconds: f64,
}

/// A workload file. Other fields, such as its origin, are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    packages: Vec<Item>,
}

/// A workload. Each package follows all its dependencies.
#[derive(Debug, Clone)]
pub struct Workload {
    pub name: String,
    pub items: Vec<Item>,
    /// For each package, the positions of its dependencies.
    pub deps: Vec<Vec<usize>>,
    /// For each package, the positions of its dependants.
    pub dependants: Vec<Vec<usize>>,
}

impl Workload {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is not a workload, or its dependencies form a cycle.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let file: File = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not a workload; expected {{\"packages\":[{{name,version,deps,seconds}}]}}",
                path.display()
            )
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::new(name, file.packages).with_context(|| format!("in {}", path.display()))
    }

    /// A workload of these packages, in any order.
    ///
    /// # Errors
    /// A name is duplicated or missing, a time is invalid, or dependencies form a cycle.
    pub fn new(name: String, items: Vec<Item>) -> Result<Self> {
        let mut position = BTreeMap::new();
        for (n, item) in items.iter().enumerate() {
            if position.insert(item.name.clone(), n).is_some() {
                bail!("`{}` occurs twice", item.name);
            }
            if !(item.seconds.is_finite() && item.seconds >= 0.0) {
                bail!("`{}` takes {} seconds", item.name, item.seconds);
            }
        }
        let mut needs = Vec::with_capacity(items.len());
        for item in &items {
            let mut own = Vec::with_capacity(item.deps.len());
            for dep in &item.deps {
                match position.get(dep) {
                    Some(&n) => own.push(n),
                    None => bail!("`{}` needs `{dep}`, which is not in the set", item.name),
                }
            }
            own.sort_unstable();
            own.dedup();
            needs.push(own);
        }
        let order = topological(&needs).map_err(|n| {
            anyhow::anyhow!("`{}` needs itself to be built, or hangs on what does", items[n].name)
        })?;
        let mut place = vec![0; items.len()];
        for (n, &old) in order.iter().enumerate() {
            place[old] = n;
        }
        let mut deps = vec![Vec::new(); items.len()];
        let mut dependants = vec![Vec::new(); items.len()];
        for (old, needed) in needs.iter().enumerate() {
            for &dep in needed {
                deps[place[old]].push(place[dep]);
                dependants[place[dep]].push(place[old]);
            }
        }
        let items = order.iter().map(|&old| items[old].clone()).collect();
        Ok(Self { name, items, deps, dependants })
    }

    /// Milliseconds of work of each package on a drone of speed 1, at least one.
    #[must_use]
    pub fn work_ms(&self) -> Vec<f64> {
        self.items.iter().map(|i| (i.seconds * 1000.0).max(1.0)).collect()
    }

    /// The content of the workload file.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(&File { packages: self.items.clone() })?)
    }
}

/// Positions sorted such that every package follows its dependencies, otherwise in the given order. The error
/// is a package that is part of a cycle or depends on one.
fn topological(needs: &[Vec<usize>]) -> Result<Vec<usize>, usize> {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependants = vec![Vec::new(); needs.len()];
    for (n, needed) in needs.iter().enumerate() {
        for &dep in needed {
            dependants[dep].push(n);
        }
    }
    let mut free: std::collections::BTreeSet<usize> = (0..needs.len()).filter(|&n| missing[n] == 0).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(n) = free.pop_first() {
        order.push(n);
        for &dependant in &dependants[n] {
            missing[dependant] -= 1;
            if missing[dependant] == 0 {
                free.insert(dependant);
            }
        }
    }
    match (0..needs.len()).find(|&n| missing[n] > 0) {
        Some(n) => Err(n),
        None => Ok(order),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, deps: &[&str]) -> Item {
        let deps = deps.iter().map(|d| (*d).to_owned()).collect();
        Item { name: name.into(), version: "1".into(), deps, seconds: 1.0 }
    }

    #[test]
    fn packages_come_after_what_they_need() {
        let items = vec![item("top", &["mid"]), item("mid", &["base"]), item("base", &[])];
        let workload = Workload::new("w".into(), items).unwrap();
        let names: Vec<_> = workload.items.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["base", "mid", "top"]);
        assert_eq!(workload.deps, [vec![], vec![0], vec![1]]);
        assert_eq!(workload.dependants, [vec![1], vec![2], vec![]]);
    }

    #[test]
    fn what_cannot_be_a_workload_is_refused_with_the_name() {
        let refused = |items| Workload::new("w".into(), items).unwrap_err().to_string();
        assert!(refused(vec![item("a", &["b"]), item("b", &["a"])]).contains("needs itself"));
        assert!(refused(vec![item("a", &["gone"])]).contains("`gone`"));
        assert!(refused(vec![item("a", &[]), item("a", &[])]).contains("twice"));
        assert!(refused(vec![Item { seconds: f64::NAN, ..item("a", &[]) }]).contains("NaN"));
    }
}
