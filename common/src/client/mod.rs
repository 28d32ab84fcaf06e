//! The HTTP client of the API: one typed method for every route, used by drones,
//! `swarmctl` and the tests alike, so that there is one place that knows the paths.
//!
//! A [`Client`] knows several orchestrators and tries them in turn, bounds every wait,
//! and turns every answer into a type or a [`ClientError`]. When to try again after an
//! error is its caller's to decide: a drone waits and goes on for ever, a person is told.
//!
//! - [`transport`]: addresses, time-outs, request ids. [`answer`]: problems and what is neither. [`tls`]: whom to believe.
//! - [`drone`]: what a drone sends. [`admin`]: what an admin sends. [`view`]: reading.
//! - [`binhost`]: the binary package host, for a drone's Portage.
//! - [`stream`]: answers that are too large or too long-lived to hold: logs, archives,
//!   events.

mod admin;
mod answer;
mod binhost;
mod calendar;
mod call;
mod drone;
mod error;
mod key;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod view;

pub use binhost::BinhostAnswer;
pub use bytes::Bytes;
pub use drone::LogAppend;
pub use error::{ClientError, Tried};
pub use key::IdempotencyKey;
pub use reqwest::Url;
pub use stream::{ByteStream, EventStream};
pub use tls::{Trust, shown_fingerprint};
pub use transport::{Client, parse_address};
pub use view::PackageFilter;
