//! What only Nix needs: reading uploaded archives ([`archive`]), what they may refer to ([`known`],
//! [`upstream`]), and what is kept of them ([`stored`], [`listings`]).

pub mod archive;
pub mod known;
pub mod listing;
pub mod listings;
pub mod mentions;
pub mod stored;
pub mod upstream;
