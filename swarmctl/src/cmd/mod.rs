//! The commands, one file each: arguments, requests, and formatting of the answer.

pub mod audit;
pub mod base;
pub mod channel;
pub mod client;
pub mod completions;
pub mod config;
pub mod diff;
pub mod drone;
pub mod effects;
pub mod events;
#[cfg(test)]
pub mod fixtures;
pub mod history;
pub mod init;
pub mod login;
pub mod logs;
pub mod man;
pub mod notify;
pub mod pause;
pub mod profile;
pub mod quarantine;
pub mod queue;
pub mod ready;
pub mod rebuild;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod status;
pub mod why;
