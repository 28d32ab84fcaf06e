//! Which stored packages install the same paths as those that arrive.

use crate::artifact::{
    entries::{EntriesError, EntryBook},
    store::Store,
};
use std::cmp::Reverse;
use swarm_common::{blocker, wire::artifact::Artifact};
use swarm_core::collision::{Collision, SharedPaths};

/// Paths that are told of a pair, and characters of each.
const PATHS: usize = 3;
const PATH_CHARS: usize = 200;

/// Pairs that are told of one package; those with the newest others are.
const PAIRS: usize = 64;

/// Compares what has arrived with all `others`. Two versions of one slot replace each other, and
/// of two that block each other only one is installed, so they may have the same files.
///
/// # Errors
/// What has arrived cannot be read. Others that cannot be are left out; the publisher tells of
/// them.
pub fn find(
    entries: &EntryBook,
    store: &Store,
    arrived: &[Artifact],
    mut others: Vec<Artifact>,
) -> Result<Vec<Collision>, EntriesError> {
    others.sort_by_key(|other| Reverse((other.received_at, other.digest)));
    let mut found = Vec::new();
    for new in arrived {
        let files = entries.files(store, new)?;
        let hashes = files.hashes();
        let mut pairs = 0;
        for other in others.iter().filter(|other| may_meet(new, other)) {
            let shared = match entries.installs_any(store, other, &hashes) {
                Ok(false) => continue,
                Ok(true) => entries.files(store, other),
                Err(error) => Err(error),
            };
            let shared = match shared.and_then(|theirs| {
                let paths = files.shared_with(&theirs);
                let blocked = !paths.is_empty() && block_each_other(entries, store, new, other)?;
                let first = paths.iter().take(PATHS).map(|path| shown(path)).collect();
                Ok((!blocked).then_some(SharedPaths { count: paths.len() as u64, first }))
            }) {
                Ok(Some(shared)) if shared.count > 0 => shared,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(digest = %other.digest, %error, "the files of a stored package are not known");
                    continue;
                }
            };
            found.push(Collision { artifacts: [new.digest, other.digest], shared });
            pairs += 1;
            if pairs == PAIRS {
                break;
            }
        }
    }
    Ok(found)
}

/// Whether the two may be installed beside each other at all.
fn may_meet(one: &Artifact, other: &Artifact) -> bool {
    let (a, b) = (&one.target, &other.target);
    one.digest != other.digest && a.chost == b.chost && (a.cpv.cp(), &a.slot) != (b.cpv.cp(), &b.slot)
}

fn block_each_other(
    entries: &EntryBook,
    store: &Store,
    one: &Artifact,
    other: &Artifact,
) -> Result<bool, EntriesError> {
    let blocks = |by: &Artifact, whom: &Artifact| -> Result<bool, EntriesError> {
        let entry = entries.entry(store, by)?;
        let mut needs = ["RDEPEND", "PDEPEND", "DEPEND"].iter().map(|key| entry.get(key));
        Ok(needs.any(|needs| blocker::blocks(needs, &whom.target.cpv, &whom.target.slot)))
    };
    Ok(blocks(one, other)? || blocks(other, one)?)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().take(PATH_CHARS).collect()
}
