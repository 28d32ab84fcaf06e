//! Realistic bundles and repositories with a real Portage: settings that belong to the drone, repository
//! priorities, and profiles from various places.

use crate::lab::{Lab, flags, metadata, order, package_dir, play, target, with_use};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::PathBuf,
};
use swarm_common::{digest::Digest, state::FailureClass, wire::drone::Work};
use swarm_drone::builder::BuildEnd;

const PLAIN: &str = "EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nIUSE=\"shiny\"\nS=\"${WORKDIR}\"\n";

/// Adds or replaces a file in the snapshot.
fn put(lab: &Lab, path: &str, text: &str) {
    let at = lab.snapshot().join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, text).unwrap();
}

/// Adds a repository with this ebuild of `app-misc/twin`.
fn second(lab: &Lab, name: &str, ebuild: &str) {
    put(lab, &format!("repos/{name}/profiles/repo_name"), &format!("{name}\n"));
    let layout = "masters = swarm-example\nthin-manifests = true\nprofile-formats = portage-2\n";
    put(lab, &format!("repos/{name}/metadata/layout.conf"), layout);
    put(lab, &format!("repos/{name}/app-misc/twin/twin-1.ebuild"), ebuild);
}

fn manifest(lab: &Lab, profile: &str, repositories: &str) {
    let text = format!(
        r#"{{"format":1,{profile}"main_repository":"swarm-example","repositories":[
            {{"name":"swarm-example","commit":null}}{repositories}]}}"#
    );
    put(lab, "snapshot.json", &text);
}

#[tokio::test]
async fn settings_of_a_bundle_about_the_machine_have_no_effect() {
    let lab = Lab::new();
    let theirs = lab.dir.path().join("theirs");
    let at = |name: &str| theirs.join(name).display().to_string();
    let conf = format!(
        "FEATURES=\"ccache distcc split-log clean-logs buildpkg getbinpkg binpkg-signing keepwork -binpkg-multi-instance\"\n\
         BINPKG_COMPRESS=\"xz\"\nBINPKG_COMPRESS_FLAGS=\"-9e --memlimit-compress=80%\"\n\
         BINPKG_COMPRESS_FLAGS_ZSTD=\"--no-such-option\"\nCCACHE_DIR=\"{}\"\nPORTAGE_LOGDIR=\"{}\"\nPKGDIR=\"{}\"\n\
         DISTDIR=\"{}\"\nPORTAGE_TMPDIR=\"{}\"\nPORTAGE_LOG_FILTER_FILE_CMD=\"tee {}\"\nPORTAGE_ELOG_SYSTEM=\"save mail\"\n\
         EMERGE_DEFAULT_OPTS=\"--ask --jobs=4\"\nEMERGE_LOG_DIR=\"{}\"\nMAKEOPTS=\"-j77\"\nPORTAGE_NICENESS=\"nice\"\n\
         BINPKG_GPG_SIGNING_KEY=\"0x1234567890ABCDEF\"\n",
        at("ccache"),
        at("log"),
        at("packages"),
        at("distfiles"),
        at("tmp"),
        at("filtered"),
        at("emerge"),
    );
    put(&lab, "etc/portage/make.conf", &conf);
    put(&lab, "etc/portage/package.env", "app-misc/asker theirs.conf\n");
    let env = format!(
        "PORTAGE_TMPDIR=\"{}\"\nMAKEOPTS=\"-j88\"\nBINPKG_COMPRESS_FLAGS_ZSTD=\"--none\"\nFEATURES=\"ccache keepwork\"\n",
        at("env-tmp")
    );
    put(&lab, "etc/portage/env/theirs.conf", &env);
    let say = "src_compile() { echo \"makes with ${MAKEOPTS%% *} in ${PORTAGE_TMPDIR}\"; }\n";
    lab.file("app-misc/asker/asker-1.ebuild", &format!("{PLAIN}{say}"));
    let mut context =
        lab.context(order(vec![with_use(target("app-misc/asker-1", "0", 1), &[], &["shiny"])], vec![]));
    context.config.jobs = 3;
    let (end, log, _) = play(context).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    assert!(log.contains("makes with -j3 in ") && !log.contains("theirs"), "{log}");
    // `metadata` reads only members compressed with zstd.
    assert_eq!(metadata(&files[0], "PF"), "asker-1");
    assert!(package_dir(&files[0]).join("app-misc/asker/asker-1-1.gpkg.tar").is_file());
    assert!(!theirs.exists(), "something was written where the bundle said");
}

#[tokio::test]
async fn settings_in_files_that_a_bundle_links_to_count() {
    let lab = Lab::new();
    lab.file("app-misc/twin/twin-1.ebuild", &PLAIN.replace("\"shiny\"", "\"shiny bright\""));
    lab.world("app-misc/twin\n");
    let etc = lab.snapshot().join("etc/portage");
    for (name, target, text) in [
        ("make.conf", "make.conf.desk", "USE=\"shiny\"\n"),
        ("package.use", "lists/use", "app-misc/twin bright\n"),
    ] {
        put(&lab, &format!("etc/portage/{target}"), text);
        let _ = fs::remove_file(etc.join(name));
        let _ = fs::remove_dir_all(etc.join(name));
        symlink(target, etc.join(name)).unwrap();
    }
    let plan = lab.plan().await;
    assert_eq!(plan.packages[0].portage().unwrap().use_flags, ["bright", "shiny"]);

    fs::remove_file(etc.join("make.conf.desk")).unwrap();
    let (end, log, _) = play(lab.context(Work::Plan)).await;
    let BuildEnd::Failed { failure, .. } = end else { panic!("{end:?}\n{log}") };
    assert!(failure.message.contains("make.conf"), "{failure:?}");
}

#[tokio::test]
async fn a_compiler_setting_that_breaks_every_package_is_named_before_anything_is_built() {
    for (setting, value) in [
        ("CFLAGS", "-O2 -fno-such-thing"),
        ("CXXFLAGS", "-march=pentium9"),
        ("CPPFLAGS", "-include /nonexistent.h"),
        ("LDFLAGS", "-Wl,--no-such-thing"),
    ] {
        let lab = Lab::new();
        put(&lab, "etc/portage/make.conf", &format!("{setting}=\"{value}\"\n"));
        let (end, log, _) = play(lab.context(Work::Plan)).await;
        let BuildEnd::Failed { failure, .. } = end else { panic!("{setting}: {end:?}\n{log}") };
        assert_eq!(failure.class, FailureClass::Package, "{failure:?}");
        let named = format!("{setting}=\"{value}\" of the profile breaks every package: ");
        let (_, why) = failure.message.split_once(&named).unwrap_or_else(|| panic!("{failure:?}"));
        assert!(why.contains(value.rsplit([' ', ',', '=']).next().unwrap()), "{why}");
    }
}

#[tokio::test]
async fn flags_for_the_drones_own_processor_are_refused_wherever_they_are_set() {
    let rust = "RUSTFLAGS=\"-C target-cpu=native\"\n";
    let of_profile = "repos/swarm-example/profiles/example/amd64/make.defaults";
    for (file, text, said) in [
        (of_profile, rust, "RUSTFLAGS of the profile has target-cpu=native"),
        ("etc/portage/env/fast", rust, "RUSTFLAGS of dev-libs/libbuf-1.2 has target-cpu=native"),
        (
            "etc/portage/env/fast",
            "CFLAGS=\"-O2 -march=native\"\n",
            "CFLAGS of dev-libs/libbuf-1.2 has -march=native",
        ),
    ] {
        let lab = Lab::new();
        put(&lab, "etc/portage/package.env", "dev-libs/libbuf fast\n");
        put(&lab, "etc/portage/env/fast", "FFLAGS=-O2\n");
        let old = fs::read_to_string(lab.snapshot().join(file)).unwrap_or_default();
        put(&lab, file, &format!("{old}\n{text}"));
        let (end, log, _) = play(lab.context(Work::Plan)).await;
        let BuildEnd::Failed { failure, .. } = end else { panic!("{file}: {end:?}\n{log}") };
        assert_eq!(failure.class, FailureClass::Package, "{failure:?}");
        assert!(failure.message.contains(said), "{failure:?}");
    }
}

#[tokio::test]
async fn of_one_version_in_several_repositories_the_highest_priority_counts() {
    let lab = Lab::new();
    lab.file("app-misc/twin/twin-1.ebuild", PLAIN);
    for name in ["alpha", "zeta"] {
        second(&lab, name, PLAIN);
    }
    lab.world("app-misc/twin\n");
    for (alpha, zeta, want) in [(50, 10, "alpha"), (10, 50, "zeta"), (-2000, -3000, "swarm-example")] {
        let of = |name: &str, priority: i32| {
            format!(r#",{{"name":"{name}","commit":null,"settings":{{"priority":"{priority}"}}}}"#)
        };
        let both = of("alpha", alpha) + &of("zeta", zeta);
        manifest(&lab, r#""portage_profile":"example/amd64","#, &both);
        let plan = lab.plan().await;
        assert_eq!(plan.packages[0].portage().unwrap().repository, want, "{:?}", plan.packages);
    }
}

#[tokio::test]
async fn a_profile_of_an_overlay_or_of_the_bundle_sets_what_it_inherits_and_says() {
    let lab = Lab::new();
    second(&lab, "mine", PLAIN);
    put(&lab, "repos/mine/profiles/desk/parent", "swarm-example:example/amd64\n");
    put(&lab, "repos/mine/profiles/desk/make.defaults", "USE=\"shiny\"\n");
    put(&lab, "repos/mine/profiles/desk/eapi", "8\n");
    lab.world("app-misc/twin\n");
    let mine = r#",{"name":"mine","commit":null}"#;
    manifest(&lab, r#""portage_profile":"desk","profile_repository":"mine","#, mine);
    let plan = lab.plan().await;
    assert_eq!(
        (plan.problems.len(), &*plan.packages[0].portage().unwrap().use_flags),
        (0, &["shiny".to_owned()][..])
    );
    assert_eq!(plan.packages[0].portage().unwrap().chost, "x86_64-pc-linux-gnu", "from the parent");

    for (file, text) in
        [("parent", "swarm-example:example/amd64\n"), ("eapi", "8\n"), ("make.defaults", "USE=\"shiny\"\n")]
    {
        put(&lab, &format!("etc/portage/make.profile/{file}"), text);
    }
    manifest(&lab, "", mine);
    let plan = lab.plan().await;
    assert_eq!(
        (plan.problems.len(), &*plan.packages[0].portage().unwrap().use_flags),
        (0, &["shiny".to_owned()][..])
    );
    let twin = with_use(target("app-misc/twin-1", "0", 1), &["shiny"], &["shiny"]);
    let twin = swarm_common::wire::drone::PortageTarget { repository: "mine".into(), ..twin };
    let (end, log, _) = play(lab.context(order(vec![twin], vec![]))).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    assert!(flags(&files[0]).contains(&"shiny".to_owned()));
}

#[tokio::test]
async fn metadata_that_a_tree_lacks_is_made_by_the_first_plan_alone() {
    let lab = Lab::new();
    let cached = || -> Vec<(PathBuf, i64, u64)> {
        let (mut files, mut dirs) = (vec![], vec![lab.dir.path().join("cache/metadata")]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let meta = entry.metadata().unwrap();
                if meta.is_dir() {
                    dirs.push(entry.path());
                } else {
                    files.push((entry.path(), meta.mtime_nsec(), meta.ino()));
                }
            }
        }
        files.sort();
        files
    };
    let first = lab.plan().await;
    let made = cached();
    assert!(made.len() >= first.packages.len(), "{made:?}");
    assert_eq!(lab.plan().await, first);
    assert_eq!(cached(), made, "an entry was written again");

    // With another snapshot, only the changed entry is regenerated.
    let changed = first.packages[0].portage().unwrap().cpv.clone();
    let (name, file) = (changed.cp().to_string(), format!("{}.ebuild", changed.pf()));
    let ebuild = lab.snapshot().join("repos/swarm-example").join(name).join(file);
    fs::write(&ebuild, fs::read_to_string(&ebuild).unwrap() + "\n# Another text.\n").unwrap();
    let mut context = lab.context(Work::Plan);
    context.assignment.snapshot = Digest::of(b"another");
    let (end, log, _) = play(context).await;
    assert!(matches!(end, BuildEnd::Planned { .. }), "{end:?}\n{log}");
    let same =
        |(path, _, inode): &(PathBuf, i64, u64)| made.iter().any(|old| old.2 == *inode && old.0 != *path);
    let (taken, anew): (Vec<_>, Vec<_>) =
        cached().into_iter().filter(|entry| !made.contains(entry)).partition(same);
    assert_eq!((taken.len(), anew.len()), (made.len() - 1, 1), "{anew:?}");
    assert!(anew[0].0.ends_with(changed.to_string()), "{anew:?}");
}
