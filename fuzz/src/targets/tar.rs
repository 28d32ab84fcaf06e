//! The tar reader: it accepts only what the `tar` crate finds as well, however the archive arrives.

use crate::{
    pieces::Pieces,
    tars::{self, Found, forge::raw},
};
use std::io::Read;
use swarm_formats::archive::tar_reader::{EntryKind, TarAttributes, TarReader};

/// The entries up to the end or an error.
type Entries = (Vec<(Found, Option<TarAttributes>)>, Option<String>);

fn read(archive: impl Read) -> Entries {
    let (mut reader, mut found) = (TarReader::new(archive), Vec::new());
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error.to_string())),
        };
        let kind = match entry.kind {
            EntryKind::File => b'0',
            EntryKind::Hardlink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::Directory => b'5',
            EntryKind::Special(byte) => byte,
        };
        let mut data = Vec::new();
        if let Err(error) = reader.read_to_end(&mut data) {
            return (found, Some(error.to_string()));
        }
        assert_eq!(data.len() as u64, entry.size);
        let attributes = reader.attributes().ok();
        found.push((Found { path: entry.path, kind, link: entry.link, data }, attributes));
    }
}

/// Whether other readers treat this kind of entry specially, such as a sparse file.
fn is_of_gnu(found: &Found) -> bool {
    !matches!(found.kind, b'0'..=b'6')
}

pub fn run(input: &[u8]) {
    let Some(archive) = tars::archive(input) else { return };
    let (found, error) = read(&archive[..]);
    assert_eq!((&found, &error), (&read(Pieces::of(&archive)).0, &read(Pieces::of(&archive)).1));
    let kept = |found: &Found| found.path.len() + found.link.len() + found.data.len();
    let xattrs = |attributes: &TarAttributes| {
        attributes.xattrs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    };
    let all: usize =
        found.iter().map(|(found, attributes)| kept(found) + attributes.as_ref().map_or(0, xattrs)).sum();
    assert!(all <= archive.len(), "{all} bytes of {}", archive.len());
    if error.is_some() || found.iter().any(|(found, _)| is_of_gnu(found)) {
        return;
    }
    assert!(found.iter().all(|(_, attributes)| attributes.is_some()), "accepted without attributes");
    let found: Vec<Found> = found.into_iter().map(|(found, _)| found).collect();
    // An archive that only one of them accepts deceives nobody.
    if let Ok(others) = tars::others(&archive[..]) {
        assert_eq!(found, others);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let pax = raw(b"x", b'x', b"", b"14 path=long/y\n12 uid=1000\n22 SCHILY.xattr.user.a=b\n");
    let long = [raw(b"././@LongLink", b'L', b"", b"usr/long\0"), raw(b"usr/lo", b'0', b"", b"hello")];
    let link = [raw(b"././@LongLink", b'K', b"", b"usr/long\0"), raw(b"l", b'2', b"x", b"")];
    let plain =
        [raw(b"usr/", b'5', b"", b""), raw(b"usr/a", b'0', b"", b"1"), raw(b"b", b'1', b"usr/a", b"")];
    [plain.concat(), long.concat(), link.concat(), [pax, raw(b"x", b'0', b"", b"x")].concat()]
        .into_iter()
        .map(|archive| [vec![3], archive].concat())
        .collect()
}
