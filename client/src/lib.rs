//! The HTTP client of the API, with one typed method for every route. Drones, `swarmctl` and the
//! tests all use it, so only this module knows the paths.
//!
//! A [`Client`] has the addresses of several orchestrators and tries them in turn. It limits every wait, and
//! turns every response into a type or a [`ClientError`].
//!
//! - [`transport`]: addresses, time-outs, request ids. [`answer`]: responses and problem documents. [`tls`]:
//!   trusted certificates. [`retry`]: what is sent again, and for how long.
//! - [`drone`]: requests of a drone. [`admin`]: changes by an admin. [`view`]: read-only requests.
//! - [`binhost`]: the binary package host, for a drone's Portage.
//! - [`stream`]: responses that are too large or too long-lived to buffer: logs, archives, events.

mod admin;
mod answer;
mod binhost;
mod calendar;
mod call;
mod drone;
mod error;
mod fate;
mod key;
mod retry;
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
pub use fate::{Fate, Stage};
pub use key::IdempotencyKey;
pub use reqwest::Url;
pub use retry::{Patience, Tries};
pub use stream::{ByteStream, EventStream};
pub use tls::{Trust, shown_fingerprint};
pub use transport::{Client, parse_address};
pub use view::PackageFilter;
