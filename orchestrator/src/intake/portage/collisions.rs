//! Finds stored packages that install the same paths as newly arrived ones. Paths that are the same file
//! because `/usr` is merged count as equal.

use crate::store::entries::{EntriesError, IndexEntryCache};
use std::cmp::Reverse;
use swarm_common::wire::{artifact::Artifact, base::UsrMerge};
use swarm_core::state::{Collision, Conflict, SharedPaths};
use swarm_formats::portage::blocker;

/// Maximum paths to report per pair, and characters of each.
const PATHS: usize = 3;
const PATH_CHARS: usize = 200;

/// Maximum pairs to report per package. The newest other packages come first.
const PAIRS: usize = 64;

/// Compares arrived packages with all `others`. Two versions in one slot replace each other, and
/// packages that block each other are not installed together, so these may share files.
///
/// # Errors
/// An arrived package cannot be read. Other packages that cannot be read are skipped; the publisher reports
/// them.
pub fn find(
    entries: &IndexEntryCache,
    arrived: &[Artifact],
    mut others: Vec<Artifact>,
    usr: UsrMerge,
) -> Result<Vec<Collision>, EntriesError> {
    others.sort_by_key(|other| Reverse((other.received_at, other.digest)));
    let mut found = Vec::new();
    for new in arrived {
        let files = entries.files(new)?;
        let mut pairs = 0;
        for other in others.iter().filter(|other| may_meet(new, other)) {
            let shared = match entries.files(other).and_then(|theirs| {
                let paths = files.shared_with(&theirs, usr);
                let blocked = !paths.is_empty() && block_each_other(entries, new, other)?;
                let first = paths.iter().take(PATHS).map(|path| shown(path)).collect();
                Ok((!blocked).then_some(SharedPaths { count: paths.len() as u64, first }))
            }) {
                Ok(Some(shared)) if shared.count > 0 => shared,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(digest = %other.digest, %error, "cannot determine the files of a stored \
                        package");
                    continue;
                }
            };
            found
                .push(Collision { artifacts: [new.digest, other.digest], conflict: Conflict::Paths(shared) });
            pairs += 1;
            if pairs == PAIRS {
                break;
            }
        }
    }
    Ok(found)
}

/// Whether both can be installed on one machine at the same time.
fn may_meet(one: &Artifact, other: &Artifact) -> bool {
    let (Some(a), Some(b)) = (one.target.portage(), other.target.portage()) else { return false };
    one.digest != other.digest && a.chost == b.chost && (a.cpv.cp(), &a.slot) != (b.cpv.cp(), &b.slot)
}

fn block_each_other(
    entries: &IndexEntryCache,
    one: &Artifact,
    other: &Artifact,
) -> Result<bool, EntriesError> {
    let blocks = |by: &Artifact, whom: &Artifact| -> Result<bool, EntriesError> {
        let Some(whom) = whom.target.portage() else { return Ok(false) };
        let entry = entries.entry(by)?;
        let mut needs = ["RDEPEND", "PDEPEND", "DEPEND"].iter().map(|key| entry.get(key));
        Ok(needs.any(|needs| blocker::blocks(needs, &whom.cpv, &whom.slot)))
    };
    Ok(blocks(one, other)? || blocks(other, one)?)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().take(PATH_CHARS).collect()
}
