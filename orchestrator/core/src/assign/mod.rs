//! Assigns packages to drones.
//!
//! Order: plans first, then by run class, then by the longest chain of waiting work. A package goes
//! to the drone that will *finish* it soonest, considering the work each drone still has and the
//! work that will soon be ready. A claim by a drone that another would beat is held back, with that
//! as the reason. This is list scheduling by upward rank and earliest finish time with insertion,
//! as in HEFT (Topcuoglu et al. 2002). Giving the longest job to whichever drone asks first would
//! lose half of a mixed fleet's time.
//!
//! An attempt that takes much longer than it should is a straggler; another drone that would still
//! finish sooner may get the same package as a deliberate duplicate. An attempt that is only
//! overdue is duplicated by a drone that has nothing better to do (LATE, Zaharia et al. 2008), so
//! that the end of a run does not depend on one drone's health.
//!
//! A package that another run has too, with the same build key, is not built twice: it waits for the other
//! run's build, unless building it again takes less than half as long, and is then reused.
//!
//! Only drones that are waiting for work, working, or have just worked are considered. A drone that
//! is merely online could hold work back for ever.
//!
//! [`claim`](mod@claim) answers a drone, [`choice`] chooses its work, [`board`] tracks when slots
//! are busy, [`late`] predicts when attempts end, [`twin`] knows what is being built for other runs, [`fit`]
//! determines which drones may build a package, and [`reasons`] says why a drone gets nothing.

mod board;
mod choice;
mod claim;
mod fit;
mod late;
mod reasons;
mod twin;

pub(crate) use choice::outlook;
pub(crate) use claim::{claim, next_build_ids, would_be_told};

/// The maximum number of deliberate duplicates of one package at a time.
pub const MOST_DUPLICATES: usize = 2;

/// The maximum time that a claim waits for work, in milliseconds.
pub const LONGEST_WAIT_MS: u64 = 60_000;
