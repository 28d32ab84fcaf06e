//! The served tree, written by the publisher from packages of random bytes.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, io::Cursor, path::Path};
use swarm_formats::portage::packages_index::Entry;
use swarm_orchestrator::{
    publish::{Binhost, Generations, Published},
    store::{self, LocalStore},
};

/// A package of 4 KiB, and one of 50 MB.
pub(super) const SMALL: &str = "app-misc/grain/grain-1-1.gpkg.tar";
pub(super) const LARGE: &str = "dev-lang/boulder/boulder-1-1.gpkg.tar";

/// Number of packages that make the index about 1 MB large.
const OTHERS: usize = 1100;

/// Typical size in bytes of an entry's dependencies and USE flags.
const WORDS: usize = 600;

/// Publishes into `dir`. Returns the size of the index.
///
/// # Errors
/// The disk fails.
pub(super) fn publish(dir: &Path) -> Result<u64> {
    let folder = tempfile::tempdir_in(dir.ancestors().nth(3).context("no folder above")?)?;
    let store = LocalStore::open(folder.path())?;
    let mut packages = vec![package(&store, SMALL, 4096, 1)?, package(&store, LARGE, 50_000_000, 2)?];
    for n in 0..OTHERS {
        packages.push(package(&store, &format!("dev-libs/sand{n}/sand{n}-1-1.gpkg.tar"), 64, n as u64)?);
    }
    Binhost::open(dir, Generations::Keep, BTreeMap::new())?.publish(1_800_000_000, &packages, &store)?;
    Ok(fs::metadata(dir.join("Packages"))?.len())
}

fn package(store: &LocalStore, path: &str, bytes: usize, seed: u64) -> Result<Published> {
    let mut state = seed.wrapping_mul(2) | 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    })
    .take(bytes)
    .collect();
    let digests = store::insert(store, Cursor::new(&noise), None)?;
    let file = path.trim_end_matches("-1.gpkg.tar");
    let cpv =
        format!("{}/{}", path.split('/').next().unwrap_or_default(), file.rsplit('/').next().unwrap_or(file));
    let words: String = noise.iter().cycle().take(WORDS).map(|b| char::from(b'a' + b % 26)).collect();
    let text = format!(
        "BUILD_ID: 1\nCPV: {cpv}\nEAPI: 8\nMD5: {}\nPATH: {path}\nRDEPEND: {words}\nSHA1: {}\nSIZE: {}\nMTIME: 1700000000\n\n",
        digests.md5, digests.sha1, digests.size
    );
    let entry = Entry::parse(&text).with_context(|| format!("no index entry: {text}"))?;
    Ok(Published { digest: digests.sha256, entry })
}
