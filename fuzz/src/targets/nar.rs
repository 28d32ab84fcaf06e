//! NAR: the format has exactly one encoding for each tree, so an accepted archive is written again byte for
//! byte.

use crate::pieces::Pieces;
use std::io::Read;
use swarm_formats::nix::{
    nar::{NarEvent, NarKind, NarLimits, NarReader, NarSummary, NarWriter, References},
    store_path::StorePath,
};

const LIMITS: NarLimits = NarLimits { bytes: 1 << 16, entries: 40, depth: 5 };

/// A hash part whose digits are all the same, so that a mutation can copy it.
fn sought() -> StorePath {
    format!("{}-x", "a".repeat(32)).parse().unwrap()
}

/// The archive in an input: unchanged, or made from strings separated by line breaks, which get their lengths
/// and padding.
fn archive(input: &[u8]) -> Vec<u8> {
    match input.split_first() {
        Some((1, words)) => words.split(|&b| b == b'\n').flat_map(string).collect(),
        Some((_, archive)) => archive.to_vec(),
        None => Vec::new(),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = (bytes.len() as u64).to_le_bytes().to_vec();
    string.extend_from_slice(bytes);
    string.resize(string.len().next_multiple_of(8), 0);
    string
}

fn finish(archive: impl Read) -> Result<NarSummary, String> {
    let references = References::to([&sought()]);
    NarReader::scanning(archive, LIMITS, references).finish().map_err(|error| error.to_string())
}

pub fn run(input: &[u8]) {
    let archive = archive(input);
    let read = finish(&archive[..]);
    // Positions in errors are relative to a piece. Only the verdict must be the same.
    assert_eq!(read.clone().ok(), finish(Pieces::of(&archive)).ok());
    let Ok(summary) = read else { return };
    assert!(archive.len() as u64 <= LIMITS.bytes);
    let part = sought().hash_part().as_bytes().to_vec();
    let refers = archive.windows(part.len()).any(|window| window == part);
    assert_eq!(summary.references.contains(&sought()), refers);

    let mut reader = NarReader::new(Pieces::of(&archive), LIMITS);
    let mut writer = NarWriter::new(Vec::new());
    let (mut entries, mut depth) = (0, 0);
    while let Some(event) = reader.next_event().unwrap() {
        let NarEvent::Node { name, kind } = event else {
            writer.leave().unwrap();
            depth -= 1;
            continue;
        };
        entries += 1;
        match kind {
            NarKind::Directory => {
                writer.directory(&name).unwrap();
                depth += 1;
            }
            NarKind::File { executable, size, offset } => {
                let mut data = Vec::new();
                reader.read_to_end(&mut data).unwrap();
                let offset = usize::try_from(offset).unwrap();
                assert_eq!(data, archive[offset..offset + data.len()]);
                writer.file(&name, executable, size, &data[..]).unwrap();
            }
            NarKind::Symlink { target } => writer.symlink(&name, &target).unwrap(),
        }
        assert!(entries <= LIMITS.entries && depth <= LIMITS.depth);
    }
    let (written, sum) = writer.finish().unwrap();
    assert_eq!((written, sum), (archive, summary.sum));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let hash = "a".repeat(32);
    let words = |text: &str| text.split(' ').collect::<Vec<_>>().join("\n").into_bytes();
    let file = words("nix-archive-1 ( type regular contents hello )");
    let program = words("nix-archive-1 ( type regular executable  contents #!/bin/sh )");
    let link = words(&format!("nix-archive-1 ( type symlink target /nix/store/{hash}-x/bin )"));
    let tree = words(
        "nix-archive-1 ( type directory entry ( name a node ( type directory ) ) entry ( name b node \
         ( type symlink target a ) ) entry ( name c node ( type regular contents 12345678 ) ) )",
    );
    let words = [file, program, link, tree].map(|words| [vec![1], words].concat());
    let archives = words.clone().map(|words| [vec![0], archive(&words)].concat());
    [words, archives].concat()
}
