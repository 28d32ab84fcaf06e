//! Settings that do not suit a swarm: flags for one processor, and settings that drones override.

use super::*;
use swarm_common::wire::cpu::Cpu;

/// Files below `etc/portage`, with their texts.
type Files<'a> = Vec<(&'a str, &'a str)>;

fn drone(name: &str, vendor: &str, (family, model): (u32, u32), level: u8, flags: &str) -> Builder {
    let cpu = Cpu {
        vendor: vendor.into(),
        family,
        model,
        x86_64_level: Some(level),
        flags: flags.split(' ').map(str::to_owned).collect(),
    };
    Builder { name: name.into(), cpu: Some(cpu) }
}

fn oak() -> Builder {
    drone("oak", "AuthenticAMD", (25, 33), 3, "aes avx avx2 sse2")
}

fn elm() -> Builder {
    drone("elm", "GenuineIntel", (6, 58), 2, "aes avx sse2")
}

/// The notes or the error for a bundle with these files and drones.
fn check(files: &[(&str, &str)], drones: Vec<Builder>) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(dir.path());
    sources.drones = drones;
    for (path, text) in files {
        put(&sources.bundle.join("etc/portage"), path, text);
    }
    quiet(&sources).map(|made| made.notes).map_err(|failure| failure.to_string())
}

#[test]
fn native_is_refused_with_its_place_and_the_best_that_all_drones_can_do() {
    let flags = "# mine\nCOMMON_FLAGS=\"-O2 \\\n    -march=native\"\nCFLAGS=\"${COMMON_FLAGS}\"\n";
    let conf = |text| vec![("make.conf", text)];
    let cases: Vec<(Files<'_>, Vec<Builder>, &str)> = vec![
        (conf(flags), vec![oak(), elm()], "etc/portage/make.conf:3: CFLAGS: -march=native"),
        (conf(flags), vec![oak(), elm()], "-march=x86-64-v2 is the highest level"),
        (conf(flags), vec![oak(), oak()], "-march=znver3 is the highest level"),
        (conf(flags), vec![], "choose a processor that all drones support"),
        (conf("CXXFLAGS='-mtune=native'"), vec![oak()], "remove it"),
        (
            conf("RUSTFLAGS=\"-C target-cpu=native\""),
            vec![oak(), elm()],
            "target-cpu=x86-64-v2 is the highest level",
        ),
        (conf("CFLAGS_x86=-mcpu=native"), vec![oak()], "make.conf:1: CFLAGS_x86: -mcpu=native"),
        (conf("CPU=native\nCFLAGS=\"-march=${CPU}\"\n"), vec![oak()], "make.conf:2: CFLAGS: -march=native"),
        (
            vec![("make.conf", "source more\n"), ("more", "\nFFLAGS=\"-march=native\"\n")],
            vec![oak()],
            "etc/portage/more:2: FFLAGS",
        ),
        (
            vec![
                ("package.env", "app-misc/a fast.conf # why\n"),
                ("env/fast.conf", "CFLAGS=\"-march=native\"\n"),
            ],
            vec![oak()],
            "etc/portage/env/fast.conf:1: CFLAGS",
        ),
        (vec![("bashrc", "x=1\nCFLAGS+=\" -march=native\"\n")], vec![oak()], "etc/portage/bashrc:2: -march"),
        (conf("CFLAGS=\"-march=haswell\""), vec![oak(), elm()], "-march=haswell is not supported by elm"),
        (conf("CFLAGS=\"-march=x86-64-v4\""), vec![oak(), elm()], "is not supported by oak, elm"),
    ];
    for (files, drones, want) in cases {
        let error = check(&files, drones).unwrap_err();
        assert!(error.contains(want), "{files:?}: expected {want} in {error}");
    }
}

/// The notes or the error for a bundle whose profile is `overlay:desk`, which inherits from the example's,
/// with the given `make.defaults` of both and the bundle's `make.conf`.
fn inherited(base: &str, desk: &str, conf: &str) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(dir.path());
    let overlay = dir.path().join("overlay");
    put(&sources.repositories[0], "profiles/example/amd64/make.defaults", base);
    put(&overlay, "profiles/repo_name", "overlay\n");
    put(&overlay, "metadata/layout.conf", "masters = example\nprofile-formats = portage-2\n");
    put(&overlay, "profiles/desk/parent", "example:example/amd64\n");
    put(&overlay, "profiles/desk/make.defaults", desk);
    put(&overlay, "app-misc/b/b-1.ebuild", "EAPI=8\n");
    put(
        &sources.bundle,
        "profile.toml",
        "portage_profile = \"overlay:desk\"\nmain_repository = \"example\"\n",
    );
    put(&sources.bundle, "etc/portage/make.conf", conf);
    sources.repositories.push(overlay);
    sources.drones = vec![oak(), elm()];
    quiet(&sources).map(|made| made.notes).map_err(|failure| failure.to_string())
}

#[test]
fn settings_of_the_portage_profile_and_its_parents_count_with_their_place() {
    let native = "# x\nCFLAGS=\"-O2 -march=native\"\n";
    let at = |file| format!("{file}/make.defaults:2: CFLAGS: -march=native depends on the drone's processor");
    let own = at("overlay/profiles/desk");
    let parents = at("example/profiles/example/amd64");
    for (base, desk, conf, want) in [
        ("", native, "USE=a\n", &*own),
        (native, "", "USE=a\n", &*parents),
        (native, "CFLAGS=\"${CFLAGS} -g\"\n", "USE=a\n", &*parents),
        (native, "", "CFLAGS=\"${CFLAGS} -pipe\"\n", &*parents),
        ("USE=\"cpu_flags_x86_avx2\"\n", "USE=x\n", "USE=a\n", "amd64/make.defaults:1: USE: CPU flag avx2"),
        ("CPU_FLAGS_X86=\"avx2\"\n", "", "", "amd64/make.defaults:1: CPU_FLAGS_X86: CPU flag avx2"),
    ] {
        let error = inherited(base, desk, conf).unwrap_err();
        assert!(error.contains(want), "{base:?} {desk:?} {conf:?}: expected {want} in {error}");
    }
    for (base, desk, conf) in [
        (native, "CFLAGS=-O2\n", "USE=a\n"),
        (native, native, "CFLAGS=-O2\n"),
        ("USE=\"cpu_flags_x86_avx2\"\n", "", "USE=\"-cpu_flags_x86_avx2\"\n"),
        ("USE=\"cpu_flags_x86_avx2\"\n", "USE=\"-*\"\n", "USE=a\n"),
        ("CPU_FLAGS_X86=\"avx2\"\n", "", "CPU_FLAGS_X86=\"aes\"\n"),
        ("CPU_FLAGS_X86=\"mmx mmxext sse sse2\"\nCPU_FLAGS_ARM=\"v8 thumb2\"\n", "", "USE=a\n"),
        ("PORTAGE_NICENESS=3\nFEATURES=\"buildpkg\"\n", "MAKEOPTS=-j3\n", "USE=a\n"),
    ] {
        let notes = inherited(base, desk, conf).unwrap();
        assert!(!notes.iter().any(|note| note.contains("ignored on drones")), "{notes:?}");
    }
}

#[test]
fn a_processor_that_is_not_known_is_told_as_not_checked() {
    let notes = |text: &str, drones| check(&[("make.conf", text)], drones).unwrap();
    let unchecked =
        |notes: &[String]| notes.iter().filter(|note| note.contains("not checking -march")).count();
    let notes_for =
        |name: &str| notes(&format!("CHOST=x86_64-pc-linux-gnu\nCFLAGS=\"-march={name}\"\n"), vec![]);
    let znver_notes = notes_for("znver99");
    let want = "not checking -march=znver99 (etc/portage/make.conf:2: CFLAGS): unknown processor";
    assert!(znver_notes.iter().any(|note| note == want), "{znver_notes:?}");
    for known in ["znver5", "x86-64", "x86-64-v3", "core2", "i686", "barcelona"] {
        assert_eq!(unchecked(&notes_for(known)), 0, "{known}");
    }
    // Drones that are not x86, and a profile that is not.
    assert_eq!(unchecked(&notes("CFLAGS=\"-march=armv8-a\"\n", vec![])), 0);
    let arm = "CHOST=aarch64-unknown-linux-gnu\nCFLAGS=\"-march=armv8-a\"\n";
    assert_eq!(unchecked(&notes(arm, vec![oak()])), 0);
    for (name, lacking) in [
        ("znver5", "oak, elm"),
        ("graniterapids", "oak, elm"),
        ("arrowlake", "elm"),
        ("sierraforest", "elm"),
        ("core-avx2", "elm"),
    ] {
        let conf = format!("CFLAGS=\"-march={name}\"\n");
        let error = check(&[("make.conf", &conf)], vec![oak(), elm()]).unwrap_err();
        assert!(error.contains(&format!("-march={name} is not supported by {lacking};")), "{error}");
    }
}

#[test]
fn flags_that_reach_no_compiler_or_fit_every_drone_pass() {
    for text in [
        "COMMON_FLAGS=\"-march=native\"\nCFLAGS=\"-O2\"\n",
        "CFLAGS=\"-march=native\"\nCFLAGS=\"-O2\"\n",
        "#CFLAGS=\"-march=native\"\n",
        "CFLAGS=\"-march=x86-64-v2 -mtune=znver3\"\n",
    ] {
        assert!(check(&[("make.conf", text)], vec![oak(), elm()]).is_ok(), "{text}");
    }
}

#[test]
fn cpu_flags_that_a_drone_lacks_are_refused_and_named_wherever_they_stand() {
    let places = [
        ("make.conf", "CPU_FLAGS_X86=\"aes avx2\"\n"),
        ("make.conf", "USE=\"cpu_flags_x86_avx2 cpu_flags_x86_aes -cpu_flags_x86_sha\"\n"),
        ("package.use/00cpu", "# all\n*/* CPU_FLAGS_X86: aes avx2 -sha\n"),
        ("package.use/b", "app-misc/b x cpu_flags_x86_avx2 cpu_flags_x86_aes\n"),
        ("make.conf", "CFLAGS=\"-O2 -maes -mavx2 -mno-xop -m64 -mfpmath=sse\"\n"),
        ("make.conf", "RUSTFLAGS=\"-C target-feature=+aes,+avx2,-fma\"\n"),
    ];
    for (file, text) in places {
        let error = check(&[(file, text)], vec![oak(), elm()]).unwrap_err();
        let line = text.lines().count();
        assert!(error.contains(&format!("etc/portage/{file}:{line}")), "{error}");
        assert!(error.contains("avx2 is not supported by elm") && error.contains("support: aes"), "{error}");
        let notes = check(&[(file, text)], vec![oak()]).unwrap();
        assert!(!notes.iter().any(|note| note.contains("CPU flags")), "{notes:?}");
        let notes = check(&[(file, text)], vec![]).unwrap();
        assert!(notes.iter().any(|note| note.contains("no drone of the profile is known")), "{notes:?}");
        let old = Builder { name: "ash".into(), cpu: None };
        let notes = check(&[(file, text)], vec![oak(), old]).unwrap();
        assert!(notes.iter().any(|note| note.contains("CPU flags for ash")), "{notes:?}");
    }
}

#[test]
fn a_level_of_go_that_a_drone_lacks_is_refused() {
    let error = check(&[("make.conf", "GOAMD64=\"v3\"\n")], vec![oak(), elm()]).unwrap_err();
    assert!(error.contains("make.conf:1: GOAMD64: v3 is not supported by elm; v2 is the highest"), "{error}");
}

#[test]
fn what_the_flags_need_of_a_processor_is_part_of_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    let put = |path, text| put(&sources.bundle.join("etc/portage"), path, text);
    put("make.conf", "CFLAGS=\"-march=x86-64-v2 -mtune=znver4\"\nUSE=\"a\"\n");
    put("package.env", "app-misc/a fast\n");
    put("env/fast", "CFLAGS=\"-march=haswell -msse4.2\"\n");
    put("package.use/00cpu", "*/* CPU_FLAGS_X86: aes -sha\napp-misc/a cpu_flags_x86_avx2\n");
    let needs = quiet(&sources).unwrap().cpu;
    assert_eq!((needs.x86_64_level, needs.flags.join(" ").as_str()), (Some(3), "aes avx2 sse4_2"));
    put("env/fast", "GOAMD64=\"v4\"\n");
    assert_eq!(quiet(&sources).unwrap().cpu.x86_64_level, Some(4));
    let plain = tempfile::tempdir().unwrap();
    assert!(quiet(&self::sources(plain.path())).unwrap().cpu.is_empty());
}

#[test]
fn what_has_no_effect_on_drones_is_said_in_one_note() {
    let conf = "MAKEOPTS=-j16\nBINPKG_COMPRESS=\"xz\"\nBINPKG_COMPRESS_FLAGS_XZ=\"-9e\"\nPORTAGE_LOGDIR=/var/log/portage\n\
        FEATURES=\"ccache splitdebug -network-sandbox split-log\"\nCCACHE_DIR=/x\nUSE=\"a\"\nPORTAGE_COMPRESS=xz\n";
    let files =
        [("make.conf", conf), ("package.env", "app-misc/a tmp\n"), ("env/tmp", "PORTAGE_TMPDIR=/mnt/ram\n")];
    let notes = check(&files, vec![]).unwrap();
    let without: Vec<_> = notes.iter().filter(|note| note.contains("ignored on drones")).collect();
    let [note] = &without[..] else { panic!("{notes:?}") };
    for name in [
        "MAKEOPTS",
        "BINPKG_COMPRESS,",
        "BINPKG_COMPRESS_FLAGS_XZ",
        "PORTAGE_LOGDIR",
        "CCACHE_DIR",
        "PORTAGE_TMPDIR",
    ] {
        assert!(note.contains(name), "{name}: {note}");
    }
    assert!(note.contains("FEATURES=\"-network-sandbox ccache split-log\""), "{note}");
    assert!(!note.contains("USE") && !note.contains("PORTAGE_COMPRESS"), "{note}");
}

#[test]
fn a_setting_that_portage_cannot_read_is_told_with_its_line() {
    let error = check(&[("make.conf", "USE=\"a\"\nCFLAGS=\"-O2\nCXXFLAGS=\"-O2\"\n")], vec![]).unwrap_err();
    assert!(error.contains("etc/portage/make.conf:"), "{error}");
    let error = check(&[("make.conf", "source /home/me/flags\n")], vec![]).unwrap_err();
    assert!(error.contains("make.conf:1") && error.contains("not in the bundle"), "{error}");
}
