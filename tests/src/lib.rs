//! What the tests of the whole swarm share. The tests themselves stand in `tests/`.

pub mod e2e;
