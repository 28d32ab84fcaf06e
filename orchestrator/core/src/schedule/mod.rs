//! Who gets which package.
//!
//! Order: plans first, then by run class, then the longest chain of waiting work. A
//! package goes to the drone that will *finish* it soonest, counting what each still has
//! to do and what will soon be there to be built: a claim by a drone that another would
//! beat is held back, with that as the reason (list scheduling by upward rank and earliest
//! finish time with insertion, as in HEFT, Topcuoglu et al. 2002). Handing the longest job
//! to whichever drone asks first is what loses half of a mixed fleet's time.
//!
//! An attempt that takes much longer than it should is a straggler; another drone that
//! would still be done sooner may be given the same package as a deliberate duplicate. One
//! that is merely overdue is doubled by a drone that has nothing better to do (LATE, Zaharia
//! et al. 2008): what the night ends with must not hang on one drone's health.
//!
//! Only drones that wait for work, do some or have just done so are counted on. One that is merely online
//! could hold work back for ever.
//!
//! [`claim`](mod@claim) answers a drone, [`choice`] weighs, [`board`] holds who is busy
//! until when, [`late`] knows how long an attempt will go on, [`fit`] which drone may have
//! which package at all.

mod board;
mod choice;
mod claim;
mod fit;
mod late;

pub(crate) use choice::outlook;
pub(crate) use claim::{claim, would_be_told};

/// Deliberate duplicates of one package at a time.
pub const MOST_DUPLICATES: usize = 2;

/// The longest wait of one claim.
pub const LONGEST_WAIT_MS: u64 = 60_000;
