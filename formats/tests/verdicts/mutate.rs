//! Packages with a few random changes, reproducible by seed.

use super::{
    forge::{end, raw, seal},
    model::{Entry, Model, Style, pack, record},
};

/// A fixed xorshift sequence, so that differences are reproducible.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Mix the seed, so that neighbouring seeds give unrelated sequences.
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = dice.below(2));
        dice
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % limit as u64).unwrap()
    }

    pub fn of<'t, T: ?Sized>(&mut self, list: &[&'t T]) -> &'t T {
        list[self.below(list.len())]
    }

    pub fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Values that some reader may accept.
const VALUES: [&str; 64] = [
    "",
    "0",
    "9",
    "10",
    "8\n",
    " 8",
    "-1",
    "1_0",
    "99999999999999999999",
    "0/1",
    "0/1=",
    "1.2/3+",
    ".0",
    "-0",
    "a:b",
    "dev-libs/a",
    "dev-libs/a-1",
    ">=dev-libs/a-1",
    ">=dev-libs/a-1-2",
    "=dev-libs/a-1*",
    "=dev-libs/a-1.2b_p3-r4*",
    "~dev-libs/a-1-r1",
    "<dev-libs/a",
    "!dev-libs/a",
    "!!dev-libs/a",
    "!!!dev-libs/a",
    "dev-libs/a:0",
    "dev-libs/a:0/1=",
    "dev-libs/a:*",
    "dev-libs/a:=",
    "dev-libs/a:0*",
    "dev-libs/a::r",
    "dev-libs/a:0::r",
    "dev-libs/a[x]",
    "dev-libs/a[-x(+)]",
    "dev-libs/a[x?]",
    "dev-libs/a[x,x(+)]",
    "dev-libs/a[x(-),x(-)]",
    "dev-libs/a[]",
    "dev-libs/a:0[x,-y]",
    "a/b/c",
    "a",
    "|| ( a/b c/d )",
    "|| ( )",
    "( a/b",
    "a/b )",
    "|| a/b",
    "x? ( a/b )",
    "!x? ( a/b )",
    "( ( a/b ) )",
    "|| ( || ( a/b ) )",
    "-*",
    "~*",
    "~amd64 -x86",
    "+a -b",
    "++a",
    "a@b",
    "@FREE",
    "GPL-2+",
    "-",
    "install",
    "src_install",
    "x: a.so y: b.so",
    "x: y: a.so",
];

const PATHS: [&str; 14] = [
    "image",
    "image/",
    "image/usr",
    "image/usr/lib/liba.so.1",
    "image/usr/lib/liba.so",
    "image/usr/lib/liba.so/x",
    "image/usr/lib/hard",
    "image/etc/conf",
    "image/etc/conf/x",
    "image/new",
    "image/new/x",
    "image/a b",
    "etc/x",
    "image/../x",
];

const NUMBERS: [&[u8]; 16] = [
    b"0000644\0",
    b"    644 ",
    b" 644\0\0\0\0",
    b"\0\0\0\0\0\0\0\0",
    b"        ",
    b"00006448",
    b"+000644\0",
    b"0o00644\0",
    b"0_00644\0",
    b"644\0x\0\0\0",
    b"64 4\0\0\0\0",
    b"\x80\0\0\0\0\0\x01\xa4",
    b"\x81\0\0\0\0\0\x01\xa4",
    b"\xff\xff\xff\xff\xff\xff\xff\xfe",
    b"\x80\xff\xff\xff\xff\xff\xff\xff",
    b"77777777",
];

/// The package for a seed, derived from a valid one.
pub fn package(seed: u64, mut model: Model) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let part = dice.below(8);
    if part < 3 {
        (0..=dice.below(2)).for_each(|_| change_value(&mut dice, &mut model));
    }
    if (2..6).contains(&part) {
        (0..=dice.below(3)).for_each(|_| change_entry(&mut dice, &mut model));
    }
    let (mut metadata, mut image) = (model.metadata(), model.archive());
    if part == 5 || part == 6 {
        let archive = if dice.below(3) == 0 { &mut metadata } else { &mut image };
        (0..=dice.below(2)).for_each(|_| change_header(&mut dice, archive));
    }
    let mut forge = pack(&metadata, &image);
    forge.directory = model.directory;
    let mut bytes = forge.build();
    if part == 7 {
        match dice.below(4) {
            0 => bytes = forge.with_manifest(&change_text(&mut dice, forge.manifest())),
            _ => (0..=dice.below(2)).for_each(|_| change_header(&mut dice, &mut bytes)),
        }
    }
    bytes
}

fn change_value(dice: &mut Dice, model: &mut Model) {
    let at = dice.below(model.values.len());
    match dice.below(8) {
        0 => {
            let value = model.values[at].1.clone();
            model.values[at].1 = change_bytes(dice, value);
        }
        1 => {
            let key = change_bytes(dice, model.values[at].0.clone().into_bytes());
            model.values[at].0 = String::from_utf8_lossy(&key).chars().take(60).collect();
        }
        2 => model.values[at].1.extend(dice.of(&VALUES).bytes()),
        3 => _ = model.values.remove(at),
        // A combination of two valid values may be invalid.
        _ => {
            model.values[at].1 =
                [dice.of(&VALUES), dice.of(&[" ", "\t", "\n", ""]), dice.of(&VALUES)].concat().into()
        }
    }
}

pub fn change_bytes(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    let at = dice.below(bytes.len() + 1);
    let byte = if dice.below(2) == 0 {
        dice.byte()
    } else {
        dice.of(&[b"\0", b" ", b"\n", b"(", b"|", b":", b"/", b"-", b"\xc2"])[0]
    };
    match dice.below(3) {
        0 => bytes.insert(at, byte),
        1 if at < bytes.len() => bytes[at] = byte,
        _ => bytes.truncate(at),
    }
    bytes
}

fn change_text(dice: &mut Dice, text: String) -> String {
    let bytes = change_bytes(dice, text.into_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn change_entry(dice: &mut Dice, model: &mut Model) {
    let at = dice.below(model.image.len());
    let (path, link) = (dice.of(&PATHS), dice.of(&PATHS));
    match dice.below(8) {
        0 => model.image.insert(at, Entry::new(path, b'0', "", b"x")),
        1 => model.image.insert(at, Entry::new(path, dice.of(&[b"1", b"2", b"5"])[0], link, b"")),
        2 => model.image[at].path = path.into(),
        3 => model.image[at].link = link.into(),
        4 => model.image[at].kind = dice.of(&[b"0", b"\0", b"1", b"2", b"3", b"5", b"7", b"S", b"g"])[0],
        5 => model.image[at].style = if dice.below(2) == 0 { Style::Gnu } else { Style::Pax },
        6 => {
            let other = dice.below(model.image.len());
            model.image.swap(at, other);
        }
        _ => {
            let path = change_bytes(dice, model.image[at].path.clone());
            model.image[at].path = path;
        }
    }
}

/// Changes one header or the data between headers.
pub fn change_header(dice: &mut Dice, archive: &mut Vec<u8>) {
    let headers: Vec<usize> = (0..archive.len() / 512)
        .map(|n| n * 512)
        .filter(|at| &archive[at + 257..at + 262] == b"ustar")
        .collect();
    let Some(&at) = headers.get(dice.below(headers.len().max(1))) else { return };
    let mut sealed = true;
    match dice.below(10) {
        0 => {
            let byte = dice.byte();
            archive[at + dice.below(512)] = byte;
            sealed = dice.below(4) > 0;
        }
        1 | 2 => {
            let (start, end) = *dice.of(&[
                &(100, 108),
                &(108, 116),
                &(116, 124),
                &(124, 136),
                &(136, 148),
                &(329, 337),
                &(337, 345),
            ]);
            let number = dice.of(&NUMBERS);
            // In fields of twelve bytes, place the number at either end.
            let offset = dice.below(2) * (end - start - 8);
            archive[at + start + offset..at + start + offset + 8].copy_from_slice(number);
        }
        3 => {
            archive[at + 156] =
                dice.of(&[b"0", b"\0", b"1", b"2", b"5", b"7", b"L", b"K", b"x", b"g", b"X"])[0]
        }
        4 => archive[at + 257..at + 265].copy_from_slice(dice.of(&[
            b"ustar\x0000",
            b"ustar  \0",
            b"\0\0\0\0\0\0\0\0",
            b"ustar\0\0\0",
        ])),
        5 => {
            archive[at + 345..at + 350].copy_from_slice(dice.of(&[b"image", b"\0mage", b"x-1-1"]));
        }
        6 => {
            let records = [
                record("path", b"image/p"),
                record("uid", b"7"),
                record("mtime", b"-1.5"),
                record("size", b"1"),
                record("", b"x"),
                record("uid", b"1_0"),
                record("mtime", b"now"),
                record("gid", b" 1"),
                record("linkpath", b"usr"),
                record("comment", b"a=b\n"),
            ];
            let mut data = records[dice.below(records.len())].clone();
            data.extend(records[dice.below(records.len())].clone());
            let mut bytes = raw(b"x", b'x', b"", &data);
            if dice.below(3) == 0 {
                let shorter = data.len() - dice.below(data.len());
                bytes[124..136].copy_from_slice(format!("{shorter:011o}\0").as_bytes());
                seal(&mut bytes[..512]);
            }
            archive.splice(at..at, bytes);
            return;
        }
        7 => {
            let name = change_bytes(dice, b"image/long\0".to_vec());
            let bytes = raw(b"././@LongLink", dice.of(&[b"L", b"K"])[0], b"", &name);
            archive.splice(at..at, bytes);
            return;
        }
        8 => {
            let cut = dice.below(archive.len() / 512) * 512 + dice.below(3);
            archive.truncate(cut);
            if dice.below(2) == 0 {
                *archive = end(std::mem::take(archive));
            }
            return;
        }
        _ => {
            let byte = dice.byte();
            let anywhere = dice.below(archive.len());
            archive[anywhere] = byte;
            return;
        }
    }
    // Do not restore the checksum if the checksum itself was changed.
    if sealed {
        seal(&mut archive[at..at + 512]);
    }
}
