//! What travels over HTTP, as types. Requests and replies of the drone protocol are in
//! [`drone`], plans in [`plan`], artifacts in [`artifact`], what is built in in [`base`], what people look at in
//! [`view`] and [`notify`], what an admin sends in [`admin`] and [`calendar`], errors in
//! [`problem`].

pub mod admin;
pub mod artifact;
pub mod base;
pub mod calendar;
pub mod cpu;
pub mod drone;
pub mod machine;
pub mod notify;
mod outcome;
pub mod plan;
pub mod problem;
pub mod view;

/// The first path segments of every API route.
pub const API_PREFIX: &str = "/api/v1";
