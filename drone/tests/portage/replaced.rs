//! Dependencies that replace a package of the base: unpacked, and merged by Portage.

use crate::{
    lab::{Lab, order, order_with, play, target},
    private::{BASE, within},
    stage3::over,
};
use std::{fs, path::Path};
use swarm_common::wire::{base::Dependency, drone::PortageTarget};
use swarm_drone::{
    builder::BuildEnd,
    buildroot::{Tree, layer},
};

fn ebuild(rest: &str) -> String {
    format!("EAPI=8\nDESCRIPTION=\"x\"\nSLOT=0\nKEYWORDS=amd64\nS=\"${{WORKDIR}}\"\n{rest}\n")
}

/// An ebuild that installs these files below `/usr/share`, all with the same content.
fn installs(content: &str, files: &[&str], rest: &str) -> String {
    let each = files.iter().map(|file| {
        let (dir, name) = file.rsplit_once('/').unwrap();
        format!("insinto /usr/share/{dir}; newins - {name} <<<{content}; ")
    });
    ebuild(&format!("src_install() {{ {} }}\n{rest}", each.collect::<String>()))
}

/// Prints the installed files and entries, without the parts of an entry that Portage adds to the package's
/// metadata.
const USER: &str = "src_compile() { \
    find /usr/share/parts /usr/share/old -type f -printf 'SEEN %p %m %U %G ' -exec cat {} ';'; \
    find /usr/share/parts /usr/share/old -type d -printf 'SEEN %p %m %U %G\\n'; \
    find /var/db/pkg/app-misc -mindepth 1 -maxdepth 1 -printf 'SEEN %p\\n'; \
    sed 's/^/SEEN /; s/ [0-9]*$//' /var/db/pkg/app-misc/parts-*/CONTENTS; }";

async fn build(lab: &Lab, base: &Path, of: &PortageTarget) -> Dependency {
    let (end, log, _) = play(over(base, lab.context(order(vec![of.clone()], vec![])))).await;
    let BuildEnd::Built { files, .. } = end else { panic!("{end:?}\n{log}") };
    lab.keep(&files[0], of)
}

/// Builds a package with these dependencies. Returns its output and how many dependencies Portage merged.
async fn seen(lab: &Lab, base: &Path, dependencies: &[&Dependency]) -> (Vec<String>, usize) {
    let dependencies = dependencies.iter().map(|&dependency| dependency.clone()).collect();
    let work = order_with(vec![target("app-misc/user-1", "0", 1)], vec![], dependencies);
    let (end, log, _) = play(over(base, lab.context(work))).await;
    let BuildEnd::Built { .. } = end else { panic!("{end:?}\n{log}") };
    let mut lines: Vec<String> =
        log.lines().filter(|line| line.starts_with("SEEN")).map(str::to_owned).collect();
    lines.sort();
    (lines, log.matches(">>> Installing (1 of 1)").count())
}

#[tokio::test]
async fn what_a_new_version_no_longer_owns_is_hidden_as_if_merged_and_another_package_may_own_it() {
    let name =
        "replaced::what_a_new_version_no_longer_owns_is_hidden_as_if_merged_and_another_package_may_own_it";
    within(name, BASE, async |place| {
        let base = place.join("base");
        // The script of the old package, its library in the base, and the version of the new package.
        let cases = [
            ("", "", "2", 0),
            ("pkg_prerm() { :; }", "", "2", 1),
            ("", "", "1", 0),
            ("", "x86_64: libparts.so.1", "1", 1),
        ];
        let mut all = Vec::new();
        for (script, provides, version, merged) in cases {
            let lab = Lab::new();
            let old = installs("before", &["parts/kept", "parts/moved", "parts/gone", "old/in/file"], script);
            lab.file("app-misc/parts/parts-1.ebuild", &old);
            let old = build(&lab, &base, &target("app-misc/parts-1", "0", 1)).await;
            let file = lab.caches().artifacts.get(None, &(&old).into()).await.unwrap();
            layer::unpack(&file, &Tree::at(&base), "app-misc/parts-1", &base).unwrap();
            let entry = base.join("var/db/pkg/app-misc/parts-1");
            // The old package was built before the new one.
            fs::write(entry.join("BUILD_TIME"), "1\n").unwrap();
            if !provides.is_empty() {
                fs::write(entry.join("PROVIDES"), provides).unwrap();
            }
            let new = format!("app-misc/parts-{version}");
            fs::remove_dir_all(lab.snapshot().join("repos/swarm-example/app-misc/parts")).unwrap();
            lab.file(
                &format!("app-misc/parts/parts-{version}.ebuild"),
                &installs("after", &["parts/kept"], ""),
            );
            lab.file("app-misc/other/other-1.ebuild", &installs("other", &["parts/moved"], ""));
            lab.file("app-misc/user/user-1.ebuild", &ebuild(USER));
            let new = build(&lab, &base, &target(&new, "0", 2)).await;
            let other = build(&lab, &base, &target("app-misc/other-1", "0", 1)).await;
            let (one, first) = seen(&lab, &base, &[&other, &new]).await;
            let (two, second) = seen(&lab, &base, &[&new, &other]).await;
            assert_eq!((first, second), (merged, 0), "{script} {provides} {version}");
            assert_eq!(one, two, "the order of the layers has an effect");
            let has = |text: &str| one.iter().filter(|line| line.contains(text)).count();
            assert_eq!(
                [
                    has("parts/kept 644 0 0 after"),
                    has("parts/moved 644 0 0 other"),
                    has("/gone"),
                    has("share/old")
                ],
                [1, 1, 0, 0],
                "{one:#?}"
            );
            assert_eq!(has("/var/db/pkg/app-misc/parts-"), 1, "{one:#?}");
            all.push((version, one));
            for installed in ["usr/share/parts", "usr/share/old", "var/db/pkg/app-misc"] {
                fs::remove_dir_all(base.join(installed)).unwrap();
            }
        }
        for (version, lines) in &all {
            let first = all.iter().find(|(other, _)| other == version).unwrap();
            assert_eq!(lines, &first.1, "unpacked and merged differ");
        }
    })
    .await;
}

/// A package with a library of this soname.
fn library(soname: &str) -> String {
    ebuild(&format!(
        "src_compile() {{ echo 'int parts(void) {{ return 0; }}' >parts.c; \
         gcc -shared -fPIC -Wl,-soname,{soname} -o {soname} parts.c || die; }}\n\
         src_install() {{ exeinto /usr/lib; doexe {soname}; }}"
    ))
}

/// A program that was linked with `libparts.so.1`.
const PROGRAM: &str = "src_compile() { echo 'int parts(void) { return 0; }' >parts.c; \
    gcc -shared -fPIC -Wl,-soname,libparts.so.1 -o libparts.so parts.c || die; \
    echo 'int parts(void); int main(void) { return parts(); }' >program.c; \
    gcc -o parts-program program.c -L. -Wl,--no-as-needed -lparts || die; }\n\
    src_install() { dobin parts-program; }";

#[tokio::test]
async fn a_program_of_the_base_keeps_the_library_that_a_new_version_lacks_and_without_one_it_goes() {
    let name =
        "replaced::a_program_of_the_base_keeps_the_library_that_a_new_version_lacks_and_without_one_it_goes";
    within(name, BASE, async |place| {
        let base = place.join("base");
        let lab = Lab::new();
        lab.file("app-misc/parts/parts-1.ebuild", &library("libparts.so.1"));
        lab.file("app-misc/parts/parts-2.ebuild", &library("libparts.so.2"));
        lab.file("app-misc/program/program-1.ebuild", &ebuild(PROGRAM));
        let sees = "src_compile() { for file in /usr/lib/libparts.so.*; do echo \"SEEN ${file}\"; done; \
            ! type -P parts-program || { parts-program && echo SEEN it runs; }; }";
        lab.file("app-misc/user/user-1.ebuild", &ebuild(sees));
        for (installed, expected) in [
            (&["parts-1"][..], &["SEEN /usr/lib/libparts.so.2"][..]),
            (
                &["parts-1", "program-1"],
                &["SEEN /usr/lib/libparts.so.1", "SEEN /usr/lib/libparts.so.2", "SEEN it runs"],
            ),
        ] {
            for package in installed {
                let cpv = format!("app-misc/{package}");
                let package = build(&lab, &base, &target(&cpv, "0", 1)).await;
                let file = lab.caches().artifacts.get(None, &(&package).into()).await.unwrap();
                layer::unpack(&file, &Tree::at(&base), &cpv, &base).unwrap();
            }
            let new = build(&lab, &base, &target("app-misc/parts-2", "0", 2)).await;
            // A layer's key contains the build time of the package it replaces.
            fs::write(base.join("var/db/pkg/app-misc/parts-1/BUILD_TIME"), format!("{}\n", installed.len()))
                .unwrap();
            let (lines, merged) = seen(&lab, &base, &[&new]).await;
            assert_eq!((lines, merged), (expected.iter().map(ToString::to_string).collect(), 1));
            fs::remove_dir_all(base.join("var/db/pkg/app-misc")).unwrap();
            for file in ["lib/libparts.so.1", "bin/parts-program"] {
                let _ = fs::remove_file(base.join("usr").join(file));
            }
        }
    })
    .await;
}
