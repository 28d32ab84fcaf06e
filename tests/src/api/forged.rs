//! Packages made for an order, for tests in which packages built by the real Portage are not enough: every
//! attempt asks for a different build ID.

#[path = "../../../formats/tests/forge/mod.rs"]
#[allow(dead_code, reason = "the forge of the format's own tests, which use all of it")]
pub(crate) mod forge;

use forge::{ENVIRONMENT, Forge, end, raw};
use swarm_common::wire::drone::Target;

/// The metadata that makes a package match the target.
#[must_use]
pub fn identity(target: &Target) -> [(&'static str, String); 8] {
    [
        ("CATEGORY", target.portage().unwrap().cpv.category().to_owned()),
        ("PF", target.portage().unwrap().cpv.pf().to_owned()),
        ("BUILD_ID", target.portage().unwrap().build_id.to_string()),
        ("CHOST", target.portage().unwrap().chost.clone()),
        ("repository", target.portage().unwrap().repository.clone()),
        ("SLOT", format!("{}/{}", target.portage().unwrap().slot, target.portage().unwrap().subslot)),
        ("USE", target.portage().unwrap().use_flags.join(" ")),
        ("IUSE", target.portage().unwrap().iuse.join(" ")),
    ]
}

/// A valid package that matches the target and installs a file of its own.
#[must_use]
pub fn package_for(target: &Target) -> Vec<u8> {
    package_with(target, &[&format!("usr/share/{}", target.portage().unwrap().cpv.pn())], &[])
}

/// Like [`package_for`], with these files and additional metadata.
#[must_use]
pub fn package_with(target: &Target, files: &[&str], more: &[(&'static str, &str)]) -> Vec<u8> {
    let others = [("EAPI", "8"), ("BUILD_TIME", "1700000000")];
    let others = others.iter().chain(more).map(|&(key, value)| (key, value.to_owned()));
    let entry = |(key, value): (&str, String)| {
        raw(format!("metadata/{key}").as_bytes(), b'0', b"", format!("{value}\n").as_bytes())
    };
    let mut entries: Vec<_> = identity(target).into_iter().chain(others).map(entry).collect();
    let ebuild = format!("metadata/{}.ebuild", target.portage().unwrap().cpv.pf());
    entries.push(raw(ebuild.as_bytes(), b'0', b"", b"EAPI=8\n"));
    entries.push(raw(b"metadata/environment.bz2", b'0', b"", ENVIRONMENT));
    let file = |path: &&str| raw(format!("image/{path}").as_bytes(), b'0', b"", b"hello");
    let image: Vec<u8> = files.iter().flat_map(file).collect();
    let mut forge = Forge::with(&end(entries.concat()), &end(image));
    // Keep packages small, because these tests end soon.
    forge.directory =
        format!("{}-{}", target.portage().unwrap().cpv.pf(), target.portage().unwrap().build_id).leak();
    forge.build()
}
