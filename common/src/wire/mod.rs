//! What travels over HTTP, as types. Requests and replies of the drone protocol are in
//! [`drone`], plans in [`plan`], what Nix builds in [`nix`], artifacts in [`artifact`], how they were built in [`build`], what is built in in [`base`], what people look at in
//! [`view`], [`channel`], [`concern`] and [`notify`], what an admin sends in [`admin`] and [`calendar`], errors in
//! [`problem`], what has happened in [`event`].

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
pub mod view;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// Reads what a newer peer may have a value for that this version does not know.
fn known<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(T::deserialize(serde_json::Value::deserialize(from)?).unwrap_or_default())
}

/// The first path segments of every API route.
pub const API_PREFIX: &str = "/api/v1";
