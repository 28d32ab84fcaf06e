//! `swarm-fuzz`: libFuzzer for the readers of untrusted input. `scripts/fuzz` builds and starts it.
//!
//! All targets are in one executable. Environment variables select the target (`SWARM_FUZZ_TARGET`) and the
//! directory to which its seeds are written before libFuzzer reads its inputs (`SWARM_FUZZ_SEEDS`).
#![no_main]

mod pieces;
mod targets;
mod tars;

use std::{env, fs, path::Path, sync::OnceLock};
use targets::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = env::var("SWARM_FUZZ_TARGET").unwrap_or_default();
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        let chosen = TARGETS.iter().find(|target| target.name == name);
        chosen.unwrap_or_else(|| panic!("SWARM_FUZZ_TARGET is `{name}`, which is none of {names:?}"))
    })
}

fn write_seeds(dir: &Path) {
    for (n, seed) in (target().seeds)().into_iter().enumerate() {
        let path = dir.join(format!("seed-{n}"));
        fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

libfuzzer_sys::fuzz_target!(
    init: if let Some(dir) = env::var_os("SWARM_FUZZ_SEEDS") {
        write_seeds(dir.as_ref());
    },
    |input: &[u8]| (target().run)(input)
);
