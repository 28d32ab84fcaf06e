//! Packages made for an order, where those that real Portage built are too few: every
//! attempt asks for a build id of its own.

#[path = "../../../common/tests/forge/mod.rs"]
#[allow(missing_docs, dead_code, reason = "the forge of the format's own tests, which use all of it")]
mod forge;

use forge::{Forge, end, image, raw};
use swarm_common::wire::drone::Target;

/// A sound package that is what the target asks for.
#[must_use]
pub fn package_for(target: &Target) -> Vec<u8> {
    let build_id = target.build_id.to_string();
    let slot = format!("{}/{}", target.slot, target.subslot);
    let (used, known) = (target.use_flags.join(" "), target.iuse.join(" "));
    let values = [
        ("CATEGORY", target.cpv.category()),
        ("PF", target.cpv.pf()),
        ("BUILD_ID", build_id.as_str()),
        ("CHOST", target.chost.as_str()),
        ("repository", target.repository.as_str()),
        ("SLOT", slot.as_str()),
        ("USE", used.as_str()),
        ("IUSE", known.as_str()),
        ("EAPI", "8"),
        ("BUILD_TIME", "1700000000"),
    ];
    let entry = |(key, value): (&str, &str)| {
        raw(format!("metadata/{key}").as_bytes(), b'0', b"", format!("{value}\n").as_bytes())
    };
    let mut forge = Forge::with(&end(values.map(entry).concat()), &image());
    // A few bytes for each package of a test that ends soon.
    forge.directory = format!("{}-{build_id}", target.cpv.pf()).leak();
    forge.build()
}
