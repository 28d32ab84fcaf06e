//! Checks whether a bundle's compiler flags suit all drones that may build it.
//!
//! `native` means a different processor on every drone, so it is always rejected. Flags that name a processor
//! are compared with the processors that the drones have reported. They also become part of the profile, so
//! that a drone that is added later and lacks something gets no work for it.

use super::settings::{Settings, Word};
use crate::failure::Failure;
use std::{borrow::Cow, collections::BTreeSet};
use swarm_common::wire::cpu::{Cpu, CpuNeeds};

/// A drone that may build the profile.
#[derive(Debug, Clone)]
pub struct Builder {
    pub name: String,
    /// The drone's processor. `None` if it was not reported.
    pub cpu: Option<Cpu>,
}

/// Processor names of GCC and Clang, with x86-64 level, vendor, family and models. A name without models is
/// used only for comparison, never suggested.
const NAMED: &[(&str, u8, &str, u32, &[u32])] = &[
    ("core2", 1, "GenuineIntel", 6, &[15, 22, 23, 29]),
    ("bonnell", 1, "GenuineIntel", 6, &[28, 38, 39, 53, 54]),
    ("nehalem", 2, "GenuineIntel", 6, &[26, 30, 31, 46]),
    ("westmere", 2, "GenuineIntel", 6, &[37, 44, 47]),
    ("sandybridge", 2, "GenuineIntel", 6, &[42, 45]),
    ("ivybridge", 2, "GenuineIntel", 6, &[58, 62]),
    ("silvermont", 2, "GenuineIntel", 6, &[55, 74, 77, 90, 93]),
    ("goldmont", 2, "GenuineIntel", 6, &[92, 95]),
    ("goldmont-plus", 2, "GenuineIntel", 6, &[122]),
    ("tremont", 2, "GenuineIntel", 6, &[134, 138, 150, 156]),
    ("haswell", 3, "GenuineIntel", 6, &[60, 63, 69, 70]),
    ("broadwell", 3, "GenuineIntel", 6, &[61, 71, 79, 86]),
    ("skylake", 3, "GenuineIntel", 6, &[78, 94, 142, 158, 165, 166]),
    ("alderlake", 3, "GenuineIntel", 6, &[151, 154, 183, 186, 190, 191]),
    ("meteorlake", 3, "GenuineIntel", 6, &[170, 172]),
    ("arrowlake", 3, "GenuineIntel", 6, &[181, 197]),
    ("arrowlake-s", 3, "GenuineIntel", 6, &[198]),
    ("lunarlake", 3, "GenuineIntel", 6, &[189]),
    ("pantherlake", 3, "GenuineIntel", 6, &[204]),
    ("sierraforest", 3, "GenuineIntel", 6, &[175]),
    ("grandridge", 3, "GenuineIntel", 6, &[182]),
    ("clearwaterforest", 3, "GenuineIntel", 6, &[221]),
    ("skylake-avx512", 4, "GenuineIntel", 6, &[]),
    ("cascadelake", 4, "GenuineIntel", 6, &[]),
    ("cooperlake", 4, "GenuineIntel", 6, &[]),
    ("cannonlake", 4, "GenuineIntel", 6, &[102]),
    ("icelake-client", 4, "GenuineIntel", 6, &[125, 126]),
    ("icelake-server", 4, "GenuineIntel", 6, &[106, 108]),
    ("tigerlake", 4, "GenuineIntel", 6, &[140, 141]),
    ("rocketlake", 4, "GenuineIntel", 6, &[167]),
    ("sapphirerapids", 4, "GenuineIntel", 6, &[143]),
    ("emeraldrapids", 4, "GenuineIntel", 6, &[207]),
    ("graniterapids", 4, "GenuineIntel", 6, &[173]),
    ("graniterapids-d", 4, "GenuineIntel", 6, &[174]),
    ("k8", 1, "AuthenticAMD", 15, &[]),
    ("k8-sse3", 1, "AuthenticAMD", 15, &[]),
    ("amdfam10", 1, "AuthenticAMD", 16, &[2, 4, 5, 6, 8, 9, 10]),
    ("btver1", 1, "AuthenticAMD", 20, &[1, 2]),
    ("btver2", 2, "AuthenticAMD", 22, &[]),
    ("bdver1", 2, "AuthenticAMD", 21, &[1]),
    ("bdver2", 2, "AuthenticAMD", 21, &[2, 16, 19]),
    ("bdver3", 2, "AuthenticAMD", 21, &[48, 56]),
    ("bdver4", 3, "AuthenticAMD", 21, &[]),
    ("znver1", 3, "AuthenticAMD", 23, &[1, 8, 17, 24, 32]),
    ("znver2", 3, "AuthenticAMD", 23, &[49, 71, 96, 104, 113, 144, 152, 160]),
    ("znver3", 3, "AuthenticAMD", 25, &[0, 1, 8, 33, 64, 68, 80]),
    ("znver4", 4, "AuthenticAMD", 25, &[16, 17, 24, 97, 116, 117, 120, 124, 160]),
    ("znver5", 4, "AuthenticAMD", 26, &[2, 17, 32, 36, 68, 96, 104, 112]),
    ("x86-64", 1, "", 0, &[]),
];

/// Other names of GCC and Clang for processors in [`NAMED`]. Names of 32-bit processors are mapped to the level
/// that every drone has.
const ALIASES: &[(&str, &str)] = &[
    ("i386", "x86-64"),
    ("i486", "x86-64"),
    ("i586", "x86-64"),
    ("i686", "x86-64"),
    ("pentium4", "x86-64"),
    ("pentium-m", "x86-64"),
    ("prescott", "x86-64"),
    ("nocona", "x86-64"),
    ("atom", "bonnell"),
    ("corei7", "nehalem"),
    ("corei7-avx", "sandybridge"),
    ("core-avx-i", "ivybridge"),
    ("core-avx2", "haswell"),
    ("slm", "silvermont"),
    ("skx", "skylake-avx512"),
    ("raptorlake", "alderlake"),
    ("gracemont", "alderlake"),
    ("opteron", "k8"),
    ("athlon64", "k8"),
    ("athlon-fx", "k8"),
    ("opteron-sse3", "k8-sse3"),
    ("athlon64-sse3", "k8-sse3"),
    ("barcelona", "amdfam10"),
    ("x86-64-v1", "x86-64"),
];

/// Features whose compiler option (such as `-mavx2`) has the name of Gentoo's flag.
const FEATURES: &str = "3dnow aes avx avx2 avx512bw avx512cd avx512dq avx512er avx512f avx512ifma avx512pf avx512vbmi \
    avx512vl bmi1 bmi2 f16c fma3 fma4 gfni pclmul popcnt rdrand sha sse3 sse4_1 sse4_2 sse4a ssse3 vaes vpclmulqdq xop";

/// Features whose options in GCC, Clang or rustc have other names than Gentoo's flags.
const RENAMED: &[(&str, &str)] = &[
    ("avx512bf16", "avx512_bf16"),
    ("avx512fp16", "avx512_fp16"),
    ("avx512vbmi2", "avx512_vbmi2"),
    ("avx512vnni", "avx512_vnni"),
    ("avx512vpopcntdq", "avx512_vpopcntdq"),
    ("avxvnni", "avx_vnni"),
    ("bmi", "bmi1"),
    ("fma", "fma3"),
    ("pclmulqdq", "pclmul"),
    ("rdrnd", "rdrand"),
    ("sse4", "sse4_2"),
    ("sse4.1", "sse4_1"),
    ("sse4.2", "sse4_2"),
];

/// Flags that every x86-64 processor has. Gentoo's profiles set them.
const BASELINE: [&str; 4] = ["mmx", "mmxext", "sse", "sse2"];

/// Checks the settings. Returns notes for the user.
///
/// # Errors
/// Flags that do not suit all drones, each with its place.
pub(super) fn check(settings: &Settings, drones: &[Builder]) -> Result<Vec<String>, Failure> {
    let (mut wrong, mut notes) = (Vec::new(), BTreeSet::new());
    let x86 = is_x86(settings, drones);
    for word in flags(settings).chain(&settings.scripts) {
        if let Some(flag) = native(&word.text) {
            wrong.push(format!(
                "{}: {flag} depends on the drone's processor; {}",
                at(word),
                instead(flag, drones)
            ));
        } else if let Some((flag, name)) = named(word) {
            let Some(level) = level_of(&name) else {
                if x86 {
                    notes.insert(format!("not checking {flag} ({}): unknown processor", at(word)));
                }
                continue;
            };
            let lacking = names(drones, |cpu| cpu.x86_64_level.is_some_and(|own| own < level));
            if !lacking.is_empty() {
                wrong.push(format!(
                    "{}: {flag} is not supported by {lacking}; {}",
                    at(word),
                    instead(flag, drones)
                ));
            }
        }
    }
    let (mut lacked, mut unchecked) = (BTreeSet::new(), false);
    for (word, flag) in cpu_flags(settings).filter(|(_, flag)| !BASELINE.contains(&flag.as_str())) {
        unchecked = true;
        let lacking = names(drones, |cpu| !has(cpu, &flag));
        if !lacking.is_empty() {
            lacked.insert(flag.clone());
            wrong.push(format!("{}: CPU flag {flag} is not supported by {lacking}", at(word)));
        }
    }
    if !lacked.is_empty() {
        let required: BTreeSet<String> = cpu_flags(settings).map(|(_, flag)| flag).collect();
        let common: Vec<&str> = required.difference(&lacked).map(String::as_str).collect();
        let common = if common.is_empty() { "none of them" } else { &common.join(" ") };
        wrong.push(format!("CPU flags of the bundle that all drones of the profile support: {common}"));
    }
    if !wrong.is_empty() {
        wrong.dedup();
        return Err(Failure::Failed(format!(
            "the bundle's settings do not work on every drone that may build the profile\n{}",
            wrong.join("\n")
        )));
    }
    let unknown: Vec<&str> = drones.iter().filter(|d| d.cpu.is_none()).map(|d| d.name.as_str()).collect();
    if unchecked && drones.is_empty() {
        notes.insert("not checking CPU flags: no drone of the profile is known yet".into());
    } else if unchecked && !unknown.is_empty() {
        notes.insert(format!(
            "not checking CPU flags for {}: its processor is unknown until it starts with this version",
            unknown.join(", ")
        ));
    }
    Ok(notes.into_iter().collect())
}

/// What the settings require of a processor.
pub(super) fn needs(settings: &Settings) -> CpuNeeds {
    let levels = flags(settings).filter_map(|word| level_of(&named(word)?.1));
    let flags = cpu_flags(settings).map(|(_, flag)| flag).filter(|flag| !BASELINE.contains(&flag.as_str()));
    let flags: BTreeSet<String> = flags.collect();
    CpuNeeds { x86_64_level: levels.max(), flags: flags.into_iter().collect() }
}

/// The words of variables that reach compilers. COMMON_FLAGS reaches them only through references.
fn flags(settings: &Settings) -> impl Iterator<Item = &Word> {
    let is_flags = |of: &str| {
        of == "GOAMD64" || of != "COMMON_FLAGS" && (of.ends_with("FLAGS") || of.contains("FLAGS_"))
    };
    settings.words.iter().filter(move |word| is_flags(&word.of))
}

/// Names the variable and the place of a word, for messages.
fn at(word: &Word) -> String {
    match word.of.as_str() {
        "" => word.place.to_string(),
        of => format!("{}: {of}", word.place),
    }
}

fn native(word: &str) -> Option<&'static str> {
    ["-march=native", "-mtune=native", "-mcpu=native", "target-cpu=native"]
        .into_iter()
        .find(|flag| word.contains(flag))
}

/// A flag and the processor that it names. Lines of scripts are not parsed.
fn named(word: &Word) -> Option<(&str, Cow<'_, str>)> {
    let name = match word.of.as_str() {
        "" => return None,
        // Go's levels are those of the x86-64 psABI.
        "GOAMD64" => Cow::Owned(format!("x86-64-{}", word.text)),
        _ => Cow::Borrowed(["-march=", "target-cpu="].iter().find_map(|flag| word.text.split_once(flag))?.1),
    };
    Some((&word.text, name))
}

/// The features that a compiler option enables, by Gentoo's names.
fn features(word: &str) -> impl Iterator<Item = String> {
    let of_rustc = word.split_once("target-feature=").map(|(_, list)| list.split(','));
    let of_rustc = of_rustc.into_iter().flatten().filter_map(|feature| feature.strip_prefix('+'));
    of_rustc.chain(word.strip_prefix("-m")).filter_map(|name| {
        let renamed = RENAMED.iter().find(|renamed| renamed.0 == name).map_or(name, |renamed| renamed.1);
        FEATURES
            .split_whitespace()
            .chain(RENAMED.iter().map(|r| r.1))
            .find(|f| *f == renamed)
            .map(str::to_owned)
    })
}

/// The x86-64 level that a named processor requires. `None` if the name is unknown.
fn level_of(name: &str) -> Option<u8> {
    let name = ALIASES.iter().find(|alias| alias.0 == name).map_or(name, |alias| alias.1);
    let known = || NAMED.iter().find(|known| known.0 == name).map(|known| known.1);
    name.strip_prefix("x86-64-v").and_then(|level| level.parse().ok()).or_else(known)
}

/// Whether the profile is for x86, according to its settings or else to its drones.
fn is_x86(settings: &Settings, drones: &[Builder]) -> bool {
    let chost = settings.words.iter().find(|word| word.of == "CHOST").map(|word| word.text.as_str());
    match chost {
        Some(chost) => {
            matches!(chost.split('-').next(), Some("x86_64" | "i386" | "i486" | "i586" | "i686"))
        }
        None => drones.iter().any(|drone| drone.cpu.as_ref().is_some_and(|cpu| cpu.x86_64_level.is_some())),
    }
}

/// The replacement that a message suggests for a flag.
fn instead(flag: &str, drones: &[Builder]) -> String {
    let cpus: Option<Vec<&Cpu>> = drones.iter().map(|drone| drone.cpu.as_ref()).collect();
    let cpus = cpus.filter(|cpus| !cpus.is_empty());
    let level = cpus.as_ref().and_then(|cpus| cpus.iter().map(|cpu| cpu.x86_64_level).min()?);
    let (Some(cpus), Some(level)) = (cpus, level) else {
        return "choose a processor that all drones support, such as x86-64-v2".to_owned();
    };
    let first = cpus[0];
    let alike = cpus
        .iter()
        .all(|cpu| (&cpu.vendor, cpu.family, cpu.model) == (&first.vendor, first.family, first.model));
    let of = |known: &(&'static str, u8, &str, u32, &[u32])| {
        (known.2, known.3) == (first.vendor.as_str(), first.family) && known.4.contains(&first.model)
    };
    // A virtual machine may report a processor but lack some of its instructions, hence the level.
    let name =
        NAMED.iter().filter(|known| alike && known.1 <= level).find(|known| of(known)).map(|known| known.0);
    let name = match (name, level) {
        (Some(name), _) => name.to_owned(),
        (None, 1) => "x86-64".to_owned(),
        (None, level) => format!("x86-64-v{level}"),
    };
    match flag {
        "-mtune=native" | "-mcpu=native" => {
            format!(
                "remove it, or use -march={name}, the highest level that all drones of the profile \
                     support"
            )
        }
        flag if flag.contains("target-cpu") => {
            format!("target-cpu={name} is the highest level that all drones of the profile support")
        }
        flag if flag.contains("-march") => {
            format!("-march={name} is the highest level that all drones of the profile support")
        }
        _ => format!("v{level} is the highest level that all drones of the profile support"),
    }
}

/// Names of the drones whose processor is known and for which `lacks` returns true.
fn names(drones: &[Builder], lacks: impl Fn(&Cpu) -> bool) -> String {
    let lacking = drones.iter().filter(|drone| drone.cpu.as_ref().is_some_and(&lacks));
    lacking.map(|drone| drone.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Processor features that the settings enable. For other architectures than x86, flags set by Gentoo's
/// profiles are left out, because drones do not report all of them.
fn cpu_flags(settings: &Settings) -> impl Iterator<Item = (&Word, String)> {
    let bare = |text: &str| {
        text.strip_prefix("cpu_flags_").and_then(|rest| Some(rest.split_once('_')?.1.to_owned()))
    };
    let checked = |word: &&Word| word.of == "CPU_FLAGS_X86" || word.place.file.starts_with("etc/");
    let expanded = settings.words.iter().filter(|word| word.of.starts_with("CPU_FLAGS_")).filter(checked);
    let expanded = expanded.map(|word| (word, word.text.clone()));
    let plain = settings.words.iter().filter(|word| word.of == "USE").chain(&settings.cpu_flags);
    let plain = plain.filter_map(move |word| Some((word, bare(&word.text)?)));
    let options = flags(settings).flat_map(|word| features(&word.text).map(move |flag| (word, flag)));
    expanded.chain(plain).chain(options).filter(|(_, flag)| !flag.starts_with(['-', '*']))
}

fn has(cpu: &Cpu, flag: &str) -> bool {
    cpu.flags.iter().any(|own| own == flag)
}
