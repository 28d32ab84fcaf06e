//! A short run of the attacks; `scripts/attack` runs them for minutes.

use std::time::Duration;
use swarm_tests::attack::{self, Options};

// fault: 60
#[test]
fn nothing_of_the_hostile_set_is_taken_crashes_anything_or_takes_much_memory() {
    let options = Options {
        length: Duration::from_secs(25),
        seed: 1,
        only: Vec::new(),
        crowd: 200,
        scale: 40,
        // Only `scripts/attack` measures this.
        p99: Duration::MAX,
    };
    let report = attack::run(&options).unwrap();
    println!("{}", report.text());
    assert_eq!(report.breaches, Vec::<String>::new());
    assert!(report.kinds.len() == 5 && report.kinds.iter().all(|kind| kind.inputs > 0), "{}", report.text());
}
