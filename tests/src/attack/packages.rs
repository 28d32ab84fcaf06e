//! The packages in `formats/tests/verdicts`, and the reference that judges them.

#![allow(dead_code, reason = "the parts of the format's own tests, which use all of them")]

use crate::api::forge;

#[path = "../../../formats/tests/verdicts/model.rs"]
pub mod model;
#[path = "../../../formats/tests/verdicts/mutate.rs"]
pub mod mutate;
#[path = "../../../formats/tests/verdicts/reference.rs"]
pub mod reference;
#[path = "../../../formats/tests/verdicts/table.rs"]
pub mod table;

pub use mutate::Dice;
