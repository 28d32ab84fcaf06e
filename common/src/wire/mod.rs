//! The types that are sent over HTTP:
//!
//! - the drone protocol: [`drone`], [`plan`], [`nix`] and [`artifact`]
//! - what admins send: [`admin`], [`base`] and [`calendar`]
//! - what admins read: [`view`], [`build`], [`channel`], [`concern`], [`event`] and [`notify`]
//! - errors: [`problem`]

mod action;
pub mod admin;
pub mod artifact;
pub mod base;
pub mod build;
pub mod calendar;
pub mod channel;
pub mod concern;
pub mod cpu;
pub mod drone;
pub mod event;
pub mod machine;
pub mod nix;
pub mod notify;
mod outcome;
pub mod plan;
pub mod problem;
pub mod ready;
mod target;
pub mod version;
pub mod view;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// Deserialises a value, or the default if a newer peer sent one that this version does not know.
fn known<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(T::deserialize(serde_json::Value::deserialize(from)?).unwrap_or_default())
}

/// The path prefix of every API route.
pub const API_PREFIX: &str = "/api/v1";
