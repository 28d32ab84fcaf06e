//! Reads the processor's features from `/proc/cpuinfo`.

use std::collections::{BTreeMap, BTreeSet};
use swarm_common::wire::cpu::Cpu;

/// Flags for which Gentoo's name differs from the kernel's.
const RENAMED: [(&str, &str); 7] = [
    ("asimd", "neon"),
    ("fma", "fma3"),
    ("padlock_ace", "padlock"),
    ("pclmulqdq", "pclmul"),
    ("pni", "sse3"),
    ("sha_ni", "sha"),
    ("sse", "mmxext"),
];
/// Gentoo's names of CPU flags for x86 (`profiles/desc/cpu_flags_x86.desc`) and Arm.
const KNOWN: &str = "3dnow 3dnowext aes amx_bf16 amx_fp16 amx_int8 amx_tile avx avx2 avx512_4fmaps avx512_4vnniw avx512_bf16 \
    avx512_bitalg avx512_fp16 avx512_vbmi2 avx512_vnni avx512_vp2intersect avx512_vpopcntdq avx512bw avx512cd avx512dq \
    avx512er avx512f avx512ifma avx512pf avx512vbmi avx512vl avx_vnni avx_vnni_int8 bmi1 bmi2 f16c fma4 gfni mmx mmxext \
    popcnt rdrand sse sse2 sse4_1 sse4_2 sse4a ssse3 vaes vpclmulqdq xop asimddp asimdhp crc32 edsp i8mm sha1 sha2 sve \
    sve2 thumb vfp vfpv3 vfpv4";
/// Flags that each x86-64 level adds to the level below, with their kernel names.
const LEVELS: [&str; 3] = [
    "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "avx512f avx512bw avx512cd avx512dq avx512vl",
];

/// Parses `/proc/cpuinfo`. Includes only flags that all processors have.
pub fn parse(cpuinfo: &str) -> Option<Cpu> {
    let mut common: Option<BTreeSet<&str>> = None;
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for line in cpuinfo.lines() {
        let Some((key, value)) = line.split_once(':').map(|(key, value)| (key.trim(), value.trim())) else {
            continue;
        };
        if matches!(key, "flags" | "Features") {
            let flags: BTreeSet<&str> = value.split_whitespace().collect();
            common = Some(match common {
                Some(others) => others.intersection(&flags).copied().collect(),
                None => flags,
            });
        }
        first.entry(key).or_insert(value);
    }
    let kernel = common?;
    let known: BTreeSet<&str> = KNOWN.split_whitespace().collect();
    let mut flags: BTreeSet<&str> = kernel.intersection(&known).copied().collect();
    flags.extend(RENAMED.iter().filter(|(name, _)| kernel.contains(name)).map(|(_, gentoo)| gentoo));
    let text = |key: &str| first.get(key).copied().unwrap_or_default();
    Some(Cpu {
        vendor: text("vendor_id").chars().take(32).collect(),
        family: text("cpu family").parse().unwrap_or(0),
        model: text("model").parse().unwrap_or(0),
        x86_64_level: kernel.contains("lm").then(|| level(&kernel)),
        flags: flags.into_iter().map(str::to_owned).collect(),
    })
}

fn level(kernel: &BTreeSet<&str>) -> u8 {
    let has = |flags: &&str| flags.split_whitespace().all(|flag| kernel.contains(flag));
    LEVELS.iter().take_while(|flags| has(flags)).map(|_| 1).sum::<u8>() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASWELL: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 60\n\
        model name\t: Intel(R) Core(TM)\nflags\t\t: fpu lm mmx sse sse2 pni ssse3 sse4_1 sse4_2 cx16 lahf_lm \
        popcnt aes pclmulqdq avx avx2 bmi1 bmi2 f16c fma abm movbe xsave rdrand\n";

    #[test]
    fn flags_have_gentoos_names_and_the_level_takes_all_of_them() {
        let cpu = parse(HASWELL).unwrap();
        assert_eq!((cpu.vendor.as_str(), cpu.family, cpu.model), ("GenuineIntel", 6, 60));
        assert_eq!(cpu.x86_64_level, Some(3));
        for flag in ["fma3", "mmxext", "pclmul", "sse3", "avx2", "rdrand"] {
            assert!(cpu.flags.iter().any(|f| f == flag), "{flag}: {:?}", cpu.flags);
        }
        for kernels in ["pni", "fma", "lahf_lm", "fpu"] {
            assert!(!cpu.flags.iter().any(|f| f == kernels), "{kernels}");
        }
        assert!(cpu.is_bounded());
        assert_eq!(parse(&HASWELL.replace(" movbe", "")).unwrap().x86_64_level, Some(2));
        assert_eq!(parse(&HASWELL.replace(" ssse3", "")).unwrap().x86_64_level, Some(1));
    }

    #[test]
    fn of_unlike_processors_only_what_all_can_do_counts() {
        let little = HASWELL.replace(" avx2", "");
        let cpu = parse(&format!("{HASWELL}\n{little}")).unwrap();
        assert!(!cpu.flags.iter().any(|f| f == "avx2"));
        assert_eq!(cpu.x86_64_level, Some(2));
    }

    #[test]
    fn other_architectures_have_flags_and_no_level() {
        let arm = parse("processor : 0\nFeatures\t: fp asimd aes sha1 sha2 crc32\n").unwrap();
        assert_eq!((arm.x86_64_level, arm.vendor.as_str()), (None, ""));
        assert_eq!(arm.flags, ["aes", "crc32", "neon", "sha1", "sha2"]);
        assert_eq!(parse("hart : 0\nisa : rv64imafdc\n"), None);
    }
}
