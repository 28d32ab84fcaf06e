//! The order of store paths by their references.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use swarm_common::digest::Digest;
use swarm_formats::nix::narinfo::NarInfo;

/// Sorts paths such that each one follows the paths it refers to. Ignores references to the path itself and
/// to paths not in the list. Nix produces no cycles; one would be broken at an arbitrary place.
pub(super) fn references_first<T>(paths: &[T], info: impl Fn(&T) -> &NarInfo) -> Vec<&T> {
    let index: HashMap<&str, usize> =
        paths.iter().enumerate().map(|(at, path)| (info(path).path.hash_part(), at)).collect();
    let (mut done, mut order) = (vec![false; paths.len()], Vec::with_capacity(paths.len()));
    for start in 0..paths.len() {
        // Not recursive, because closures are hundreds of paths deep.
        let mut open = vec![(start, false)];
        while let Some((at, expanded)) = open.pop() {
            if expanded {
                order.push(&paths[at]);
                continue;
            }
            if std::mem::replace(&mut done[at], true) {
                continue;
            }
            open.push((at, true));
            for reference in &info(&paths[at]).references {
                open.extend(index.get(reference.hash_part()).filter(|&&to| !done[to]).map(|&to| (to, false)));
            }
        }
    }
    order
}

/// The closure of the path with this hash part, including itself, as far as it is published here.
pub(super) fn closure<'a>(top: &str, published: &'a BTreeMap<String, (NarInfo, Digest)>) -> Vec<&'a NarInfo> {
    let (mut seen, mut open, mut closure) = (BTreeSet::new(), vec![top], Vec::new());
    while let Some(hash) = open.pop() {
        let Some((info, _)) = published.get(hash) else { continue };
        if seen.insert(info.path.hash_part()) {
            closure.push(info);
            open.extend(info.references.iter().map(|path| path.hash_part()));
        }
    }
    closure
}
