//! XPAK: both ways of reading agree, values are not larger than the file, and written data is read back.

use std::{collections::BTreeMap, io::Cursor};
use swarm_formats::portage::{gpkg::Metadata, xpak};

fn be32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// A segment: `XPAKPACK`, index and data with their lengths, `XPAKSTOP`.
fn segment(index: &[u8], data: &[u8]) -> Vec<u8> {
    [b"XPAKPACK", &be32(index.len())[..], &be32(data.len()), index, data, b"XPAKSTOP"].concat()
}

fn file(image: &[u8], segment: &[u8]) -> Vec<u8> {
    [image, segment, &be32(segment.len()), b"STOP"].concat()
}

fn write(values: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (name, value) in values {
        index.extend([&be32(name.len()), name.as_bytes(), &be32(data.len()), &be32(value.len())].concat());
        data.extend(value);
    }
    file(b"image", &segment(&index, &data))
}

/// Runs the target. The first byte decides whether the rest is a file, or an index (with its length first)
/// and data.
pub fn run(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else { return };
    let file = match (mode & 1, rest.split_first()) {
        (1, Some((&length, rest))) => {
            let (index, data) = rest.split_at(usize::from(length).min(rest.len()));
            file(b"", &segment(index, data))
        }
        _ => rest.to_vec(),
    };
    let Ok(read) = xpak::read_metadata(Cursor::new(&file)) else { return };
    let end = file.len() - 8;
    let length = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let from = end - length(end);
    assert_eq!(xpak::parse_segment(&file[from..end]).unwrap(), read);
    let names: usize = read.0.keys().map(|name| name.len() + 12).sum();
    let values: usize = read.0.values().map(Vec::len).sum();
    assert!(names == length(from + 8) && values <= length(from + 12), "{names} and {values} bytes");
    assert_eq!(xpak::read_metadata(Cursor::new(write(&read.0))).unwrap(), read);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let values = [("CATEGORY", "app-misc\n"), ("PF", "x-1\n"), ("EAPI", "8\n")];
    let values = values.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let whole = write(&Metadata(values.into()).0);
    let index = [&be32(2), &b"PF"[..], &be32(0), &be32(4), &be32(1), b"A", &be32(4), &be32(1)].concat();
    vec![[&[0], &whole[..]].concat(), [&[1, index.len() as u8], &index[..], b"x-1\n8"].concat()]
}
