//! The rules of the core, tried step by step on small swarms: one file for each subject.

mod bases;
mod calendar;
mod channel;
mod clock;
mod clones;
mod collisions;
mod fitness;
mod following;
mod healing;
mod healing_restraint;
mod judging;
mod keys;
mod kit;
mod night;
mod nix;
mod old_journal;
mod power_cut;
mod processors;
mod queue;
mod rebuild;
mod rest;
mod restored;
mod scheduling;
mod slots;
mod toolchains;
mod views;
