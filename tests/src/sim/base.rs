//! The profiles of the simulated swarm, and a base that follows its runs.

use super::{nix, size::desk, world::World};
use swarm_common::{
    digest::Digest,
    name::Name,
    wire::{
        admin::{BuilderKind, ProfileRequest},
        base::{BaseRequest, Image},
    },
};
use swarm_core::Command;

impl World {
    /// Creates the Portage profiles and their base.
    pub(super) fn put_profile(&mut self) -> Result<(), String> {
        let name: Name = "gentoo".parse().map_err(|e| format!("{e}"))?;
        let image = Image {
            digest: Digest::of(b"image"),
            size: 1,
            unpacked_bytes: 1,
            entries: 1,
            machine: "x86_64".into(),
            has_portage: true,
            usr: Default::default(),
        };
        let request = BaseRequest {
            image: image.digest,
            source: "the simulation".into(),
            signed_by: None,
            follow: None,
        };
        let profile = ProfileRequest {
            builder: BuilderKind::Portage,
            snapshot: Digest::of(b"snapshot"),
            source: "the simulation".into(),
            base: Some(name.clone()),
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        let base = Command::PutBase { name, image, request };
        self.orchestrator.admin(self.now, &mut self.rng, base, "base")?;
        for name in std::iter::once(desk()).chain(self.size.by_hand()) {
            let key = format!("profile {name}");
            let put = Command::PutProfile { name, request: profile.clone() };
            self.orchestrator.admin(self.now, &mut self.rng, put, &key)?;
        }
        Ok(())
    }

    pub(super) fn put_tools(&mut self) -> Result<(), String> {
        let request = ProfileRequest {
            builder: BuilderKind::Nix,
            snapshot: Digest::of(b"flake"),
            source: "the simulation".into(),
            base: None,
            rebuild: Default::default(),
            publish: Default::default(),
            cpu: Default::default(),
        };
        let put = Command::PutProfile { name: nix::tools(), request };
        self.orchestrator.admin(self.now, &mut self.rng, put, "tools").map(|_| ())
    }
}
