//! Checks whether a bundle's compiler flags suit all drones that may build it.
//!
//! `native` means a different processor on every drone, so it is always rejected. Flags that name a
//! processor are compared with the processors that the drones have reported.

use super::settings::{Settings, Word};
use crate::failure::Failure;
use std::collections::BTreeSet;
use swarm_common::wire::cpu::Cpu;

/// A drone that may build the profile.
#[derive(Debug, Clone)]
pub struct Builder {
    /// Its name.
    pub name: String,
    /// Its processor, if reported.
    pub cpu: Option<Cpu>,
}

/// Processor names of GCC and Clang, with x86-64 level, vendor, family and models. If there is no
/// model, the name is used only for comparison.
const NAMED: [(&str, u8, &str, u32, &[u32]); 24] = [
    ("nehalem", 2, "GenuineIntel", 6, &[26, 30, 31, 46]),
    ("westmere", 2, "GenuineIntel", 6, &[37, 44, 47]),
    ("sandybridge", 2, "GenuineIntel", 6, &[42, 45]),
    ("ivybridge", 2, "GenuineIntel", 6, &[58, 62]),
    ("silvermont", 2, "GenuineIntel", 6, &[55, 74, 77, 90, 93]),
    ("goldmont", 2, "GenuineIntel", 6, &[92, 95]),
    ("goldmont-plus", 2, "GenuineIntel", 6, &[122]),
    ("haswell", 3, "GenuineIntel", 6, &[60, 63, 69, 70]),
    ("broadwell", 3, "GenuineIntel", 6, &[61, 71, 79, 86]),
    ("skylake", 3, "GenuineIntel", 6, &[78, 94, 142, 158, 165, 166]),
    ("alderlake", 3, "GenuineIntel", 6, &[151, 154, 183, 186, 190, 191]),
    ("skylake-avx512", 4, "GenuineIntel", 6, &[]),
    ("cascadelake", 4, "GenuineIntel", 6, &[]),
    ("icelake-client", 4, "GenuineIntel", 6, &[125, 126]),
    ("icelake-server", 4, "GenuineIntel", 6, &[106, 108]),
    ("tigerlake", 4, "GenuineIntel", 6, &[140, 141]),
    ("rocketlake", 4, "GenuineIntel", 6, &[167]),
    ("sapphirerapids", 4, "GenuineIntel", 6, &[143]),
    ("btver2", 2, "AuthenticAMD", 22, &[]),
    ("bdver4", 3, "AuthenticAMD", 21, &[]),
    ("znver1", 3, "AuthenticAMD", 23, &[1, 8, 17, 24, 32]),
    ("znver2", 3, "AuthenticAMD", 23, &[49, 71, 96, 104, 113, 144, 152, 160]),
    ("znver3", 3, "AuthenticAMD", 25, &[0, 1, 8, 33, 64, 68, 80]),
    ("znver4", 4, "AuthenticAMD", 25, &[16, 17, 24, 97, 116, 117, 120, 124, 160]),
];

/// Checks the settings. Returns notes for the user.
///
/// # Errors
/// Flags that do not suit all drones, each with its place.
pub(super) fn check(settings: &Settings, drones: &[Builder]) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    for word in settings.words.iter().filter(|word| is_flags(&word.of)).chain(&settings.scripts) {
        if let Some(flag) = native(&word.text) {
            wrong.push(format!(
                "{}: {flag} depends on the drone's processor; {}",
                at(word),
                instead(flag, drones)
            ));
        } else if let Some((flag, level)) = named(&word.text).filter(|_| !word.of.is_empty()) {
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
    for (word, flag) in cpu_flags(settings) {
        unchecked = true;
        let lacking = names(drones, |cpu| !has(cpu, &flag));
        if !lacking.is_empty() {
            lacked.insert(flag.clone());
            wrong.push(format!("{}: CPU flag {flag} is not supported by {lacking}", at(word)));
        }
    }
    if !lacked.is_empty() {
        let wanted: BTreeSet<String> = cpu_flags(settings).map(|(_, flag)| flag).collect();
        let common: Vec<&str> = wanted.difference(&lacked).map(String::as_str).collect();
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
    Ok(match (unchecked, drones.is_empty(), unknown.is_empty()) {
        (true, true, _) => {
            vec!["not checking CPU flags: no drone of the profile is known yet".into()]
        }
        (true, false, false) => vec![format!(
            "not checking CPU flags for {}: its processor is unknown until it starts with this version",
            unknown.join(", ")
        )],
        _ => vec![],
    })
}

/// The variable and its place.
fn at(word: &Word) -> String {
    match word.of.as_str() {
        "" => word.place.to_string(),
        of => format!("{}: {of}", word.place),
    }
}

/// Whether a variable reaches compilers. COMMON_FLAGS does so only through references.
fn is_flags(variable: &str) -> bool {
    variable != "COMMON_FLAGS" && (variable.ends_with("FLAGS") || variable.contains("FLAGS_"))
}

fn native(word: &str) -> Option<&'static str> {
    ["-march=native", "-mtune=native", "-mcpu=native", "target-cpu=native"]
        .into_iter()
        .find(|flag| word.contains(flag))
}

/// The processor that a flag names, if its level is known.
fn named(word: &str) -> Option<(&str, u8)> {
    let name = ["-march=", "target-cpu="].iter().find_map(|flag| word.split_once(flag))?.1;
    let level = match name.strip_prefix("x86-64-v").and_then(|level| level.parse().ok()) {
        Some(level) => level,
        None => NAMED.iter().find(|known| known.0 == name)?.1,
    };
    Some((word, level))
}

/// The replacement to suggest for a flag.
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
    // A virtual machine may report a processor but lack some of its instructions.
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
        flag => {
            let option = if flag.contains("target-cpu") { "target-cpu" } else { "-march" };
            format!("{option}={name} is the highest level that all drones of the profile support")
        }
    }
}

/// Names of the drones whose processor is known and `lacks` something.
fn names(drones: &[Builder], lacks: impl Fn(&Cpu) -> bool) -> String {
    let lacking = drones.iter().filter(|drone| drone.cpu.as_ref().is_some_and(&lacks));
    lacking.map(|drone| drone.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Processor flags that the bundle enables.
fn cpu_flags(settings: &Settings) -> impl Iterator<Item = (&Word, String)> {
    let bare = |text: &str| {
        text.strip_prefix("cpu_flags_").and_then(|rest| Some(rest.split_once('_')?.1.to_owned()))
    };
    let expanded = settings.words.iter().filter(|word| word.of.starts_with("CPU_FLAGS_"));
    let expanded = expanded.map(|word| (word, word.text.clone()));
    let plain = settings.words.iter().filter(|word| word.of == "USE").chain(&settings.cpu_flags);
    let plain = plain.filter_map(move |word| Some((word, bare(&word.text)?)));
    expanded.chain(plain).filter(|(_, flag)| !flag.starts_with(['-', '*']))
}

fn has(cpu: &Cpu, flag: &str) -> bool {
    cpu.flags.iter().any(|own| own == flag)
}
