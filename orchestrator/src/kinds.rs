//! A value for each kind of builder.
//!
//! A room whose work depends on the kind has a trait for it, and uses the implementations as a [`PerKind`].
//! They are listed in one place, `server/kinds.rs`.

use swarm_common::wire::admin::BuilderKind;

#[derive(Debug, Clone)]
pub struct PerKind<T> {
    pub portage: T,
    pub nix: T,
}

impl<T> PerKind<T> {
    #[must_use]
    pub fn get(&self, kind: BuilderKind) -> &T {
        match kind {
            BuilderKind::Portage => &self.portage,
            BuilderKind::Nix => &self.nix,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (BuilderKind, &T)> {
        [(BuilderKind::Portage, &self.portage), (BuilderKind::Nix, &self.nix)].into_iter()
    }

    #[must_use]
    pub fn map<U>(&self, of: impl Fn(&T) -> U) -> PerKind<U> {
        PerKind { portage: of(&self.portage), nix: of(&self.nix) }
    }
}
