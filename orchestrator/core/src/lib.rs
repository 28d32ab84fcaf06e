//! The functional core of Build Swarm: the rules for the queue, scheduling, failures and healing,
//! as plain functions over plain data.
//!
//! ```text
//! decide(&Swarm, &Request) -> Result<(Vec<Event>, Reply), Refusal>   changes nothing
//! apply(&mut Swarm, &Record)                                         total, never fails
//! settle(&Swarm) -> Vec<Event>                                       what follows from the state
//! ```
//!
//! The modules are layers, and none imports one of a later layer:
//!
//! 1. [`state`], what a swarm is made of, on top of modules that know nothing of swarms: [`graph`],
//!    [`estimate`], [`policy`], [`shared`], [`reason`], and `record`, the form in which state and events are stored
//! 2. [`command`], [`event`], [`reply`] and [`refusal`], the input and output, and [`text`], their English
//! 3. the rules, which answer questions about the state: [`eligibility`], [`fence`], [`plan`], [`keys`],
//!    [`channel`], [`closure`], [`follow`], [`base`], [`heal`], [`judge`], [`assign`] ...
//! 4. [`decide`], `apply` and [`settle`], which `handle` runs for a request
//!
//! [`view`], what users see, and [`invariants`] are beside the last layer: they use the rules and change
//! nothing.
//!
//! A request carries its time and its randomness, so the same events always give the same
//! [`Swarm`]. The core has no clock, randomness, I/O, logging or async; the shell
//! (`swarm-orchestrator`) and the simulation provide them.

mod apply;
pub mod assign;
pub mod base;
pub mod calendar;
mod candidate;
mod changes;
pub mod channel;
pub mod closure;
pub mod command;
pub mod decide;
pub mod decision;
pub mod eligibility;
pub mod estimate;
pub mod event;
pub mod explain;
pub mod fence;
pub mod follow;
pub mod graph;
mod handle;
pub mod heal;
pub mod invariants;
pub mod judge;
pub mod keys;
mod legacy;
pub mod package;
pub mod plan;
pub mod policy;
pub mod quarantine;
pub mod reason;
mod record;
pub mod refusal;
pub mod reply;
pub mod retention;
pub mod settle;
pub mod shared;
mod standstill;
pub mod state;
mod tangle;
pub mod text;
pub mod view;

pub use command::{Command, Request};
pub use event::{Event, Record};
pub use policy::Policy;
pub use reason::Reason;
pub use refusal::Refusal;
pub use reply::Reply;
pub use state::Swarm;
