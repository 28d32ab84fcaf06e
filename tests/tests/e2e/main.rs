//! Whole swarms of real processes with the real Portage and the real Nix.

mod bases;
mod candidates;
mod drone_life;
mod follow;
mod nix;
mod portage;
mod sonames;
