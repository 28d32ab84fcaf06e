//! Which changes alter the planner's key fields of a package, with a real Portage.

use super::lab::{Lab, packages};
use std::{collections::BTreeMap, fs, path::Path};
use swarm_common::wire::plan::{PlanReport, PortagePackage};

/// The key fields of each package.
fn fields(plan: &PlanReport) -> BTreeMap<String, BTreeMap<String, String>> {
    let all = |p: &PortagePackage| {
        let mut fields = plan.settings.clone();
        fields.extend(p.fields.clone());
        fields.insert("use".into(), p.use_flags.join(" "));
        (p.cpv.to_string(), fields)
    };
    packages(plan).map(all).collect()
}

/// The names of fields that differ after a change, each with the number of packages affected.
async fn changed(before: &PlanReport, change: impl FnOnce(&Lab)) -> BTreeMap<String, usize> {
    let lab = Lab::new();
    change(&lab);
    let (before, after) = (fields(before), fields(&lab.plan().await));
    let mut changed = BTreeMap::new();
    for (cpv, old) in &before {
        let new = &after[cpv];
        for name in old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>() {
            if old.get(name) != new.get(name) {
                *changed.entry(name.clone()).or_default() += 1;
            }
        }
    }
    changed
}

fn append(path: &Path, text: &str) {
    let old = fs::read_to_string(path).unwrap_or_default();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{old}\n{text}\n")).unwrap();
}

fn setting(lab: &Lab, text: &str) {
    append(&lab.snapshot().join("etc/portage/make.conf"), text);
}

#[tokio::test]
async fn keywords_comments_and_the_drones_own_settings_are_no_other_package() {
    let before = Lab::new().plan().await;
    let repository = "repos/swarm-example";
    let edit = |lab: &Lab| {
        let top = lab.snapshot().join(repository);
        for eclass in fs::read_dir(top.join("eclass")).unwrap().flatten() {
            append(&eclass.path(), "# a comment");
        }
        let ebuild = top.join("dev-libs/libbuf/libbuf-1.2.ebuild");
        let text = fs::read_to_string(&ebuild).unwrap();
        fs::write(&ebuild, format!("# a comment\n{text}\nKEYWORDS=\"${{KEYWORDS}} ~riscv\"\n")).unwrap();
        setting(
            lab,
            "CCACHE_DIR=/x\nSCCACHE_DIR=/y\nPORTAGE_NICENESS=3\nGENTOO_MIRRORS=http://x\nPORTAGE_ELOG_CLASSES=info\n\
             FEATURES=\"${FEATURES} ccache distcc buildpkg candy stricter -userpriv -strict -merge-wait parallel-install\"",
        );
    };
    assert_eq!(changed(&before, edit).await, BTreeMap::new());
}

#[tokio::test]
async fn what_reaches_a_build_is_a_field_and_named() {
    let before = Lab::new().plan().await;
    let all = before.packages.len();
    let edit = |lab: &Lab| {
        let ebuild = lab.snapshot().join("repos/swarm-example/dev-libs/libbuf/libbuf-1.2.ebuild");
        append(&ebuild, "BDEPEND=\"dev-build/embed\"");
        setting(lab, "KERNEL_DIR=/usr/src/linux-6");
        setting(lab, "GOAMD64=v3\nLINGUAS=\"de fr\"\nUSE=\"${USE} static\"");
        let profile = lab.snapshot().join("repos/swarm-example/profiles/example/amd64/make.defaults");
        append(&profile, "IUSE_IMPLICIT=\"${IUSE_IMPLICIT} static\"");
        let etc = lab.snapshot().join("etc/portage");
        append(&etc.join("savedconfig/dev-libs/libbuf"), "CONFIG_X=y");
        append(&etc.join("patches/dev-libs/libbuf/one.patch"), "--- a\n+++ b");
    };
    let expected = [
        ("bdepend", 1),
        ("env.KERNEL_DIR", all),
        ("env.GOAMD64", all),
        ("env.LINGUAS", all),
        ("use.implicit", all),
        ("savedconfig", 1),
        ("patches", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count)).into();
    assert_eq!(changed(&before, edit).await, expected);
}

#[tokio::test]
async fn patches_under_every_name_that_portage_knows_are_a_field() {
    let before = Lab::new().plan().await;
    for name in ["libbuf", "libbuf-1.2", "libbuf-1.2-r0", "libbuf:0"] {
        let edit = |lab: &Lab| {
            let patches = lab.snapshot().join("etc/portage/patches/dev-libs");
            append(&patches.join(name).join("one.patch"), "--- a\n+++ b");
        };
        let expected = BTreeMap::from([("patches".to_owned(), 1)]);
        assert_eq!(changed(&before, edit).await, expected, "{name}");
    }
}

#[tokio::test]
async fn features_and_flags_that_change_what_is_packed_are_fields() {
    let before = Lab::new().plan().await;
    let all = before.packages.len();
    for (text, field) in [
        ("FEATURES=\"-binpkg-dostrip\"", "features"),
        ("FEATURES=\"-binpkg-docompress\"", "features"),
        ("FEATURES=\"strict-keepdir\"", "features"),
        ("FEATURES=\"nostrip\"", "features"),
        ("FEATURES=\"of-a-newer-portage\"", "features"),
        ("PORTAGE_STRIP_FLAGS=\"--strip-debug\"", "env.PORTAGE_STRIP_FLAGS"),
    ] {
        let expected = BTreeMap::from([(field.to_owned(), all)]);
        assert_eq!(changed(&before, |lab| setting(lab, text)).await, expected, "{text}");
    }
    let usual = |p: &PortagePackage| p.fields.get("features").cloned();
    assert!(packages(&before).all(|package| usual(package).is_none()), "the usual features have no field");
    assert_eq!(before.settings.get("features").map(String::as_str), Some("multilib-strict"));
}

#[tokio::test]
async fn a_file_that_bashrc_sources_counts_with_it() {
    let sourcing = |text: &'static str| {
        move |lab: &Lab| {
            let etc = lab.snapshot().join("etc/portage");
            append(&etc.join("bashrc"), "for f in /etc/portage/bashrc.d/*.sh; do . \"$f\"; done");
            append(&etc.join("bashrc.d/flags.sh"), text);
        }
    };
    let lab = Lab::new();
    sourcing("A=1")(&lab);
    let before = lab.plan().await;
    assert_eq!(changed(&before, sourcing("A=1")).await, BTreeMap::new());
    let expected = BTreeMap::from([("bashrc".to_owned(), before.packages.len())]);
    assert_eq!(changed(&before, sourcing("A=2")).await, expected);
}

#[tokio::test]
async fn what_a_bashrc_finds_by_a_variable_counts_and_what_portage_reads_itself_does_not() {
    let with = |bashrc: &'static str, library: &'static str, mask: &'static str| {
        move |lab: &Lab| {
            let etc = lab.snapshot().join("etc/portage");
            append(&etc.join("bashrc"), bashrc);
            append(&etc.join("lib.sh"), library);
            append(&etc.join("env/of-hooks"), library);
            append(&etc.join("package.mask"), mask);
            append(&etc.join("env/of-packages"), mask);
            append(&etc.join("package.env"), "app-misc/nothing of-packages");
        }
    };
    for (bashrc, counts) in [
        ("D=/etc/portage; . \"$D/lib.sh\"", true),
        (". \"${BASH_SOURCE%/*}/lib.sh\"", true),
        ("for hook in /etc/portage/*.sh; do source \"${hook}\"; done", true),
        ("A=\"$B\" # . \"$D/lib.sh\"", false),
    ] {
        let lab = Lab::new();
        with(bashrc, "A=1", "# one")(&lab);
        let before = lab.plan().await;
        assert_eq!(changed(&before, with(bashrc, "A=1", "# two")).await, BTreeMap::new(), "{bashrc}");
        let changed = changed(&before, with(bashrc, "A=2", "# one")).await;
        let expected = counts.then(|| ("bashrc".to_owned(), before.packages.len()));
        assert_eq!(changed, expected.into_iter().collect(), "{bashrc}");
    }
}
