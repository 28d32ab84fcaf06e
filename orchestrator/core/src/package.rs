//! The table of a package's states: which steps are possible, and the state that follows.

use swarm_common::state::PackageState;

/// An event in the life of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The last dependency of its build became installable.
    Unblock,
    /// A drone was assigned the package.
    Delegate,
    /// A second drone was assigned the package, because the first is late.
    Duplicate,
    /// The package's attempt ended without a result.
    Return,
    /// A result was verified and stored, or an earlier result was reused.
    Receive,
    /// The package was judged to be broken.
    Quarantine,
    /// An earlier run judged the package to be broken.
    Hold,
    /// The package's run was cancelled.
    Cancel,
    /// An admin asked for another try.
    Release,
    /// An admin asked for another try, and the package has to wait for a dependency.
    Wait,
}

impl Step {
    pub const ALL: &'static [Self] = &[
        Self::Unblock,
        Self::Delegate,
        Self::Duplicate,
        Self::Return,
        Self::Receive,
        Self::Quarantine,
        Self::Hold,
        Self::Cancel,
        Self::Release,
        Self::Wait,
    ];
}

/// The state table: the state after a step, or `None` if the step is not allowed.
///
/// `Receive` is allowed from `Blocked` (reuse needs no dependencies) and from `Needed` (a drone
/// believed lost delivers). Only an admin can move a package out of `Quarantined`, and nothing
/// moves it out of `Received`.
#[must_use]
pub fn next(state: PackageState, step: Step) -> Option<PackageState> {
    use PackageState::*;
    match (state, step) {
        (Blocked, Step::Unblock) => Some(Needed),
        (Needed, Step::Delegate) => Some(Delegated),
        (Delegated, Step::Duplicate) => Some(Delegated),
        (Delegated, Step::Return) => Some(Needed),
        (Blocked | Needed | Delegated, Step::Receive) => Some(Received),
        (Needed | Delegated, Step::Quarantine) => Some(Quarantined),
        (Blocked | Needed, Step::Hold) => Some(Quarantined),
        (Blocked | Needed | Delegated, Step::Cancel) => Some(Cancelled),
        (Quarantined, Step::Release) => Some(Needed),
        (Quarantined, Step::Wait) => Some(Blocked),
        // An admin retries a package that waits for its backoff to end.
        (Needed, Step::Release) => Some(Needed),
        (Received | Quarantined | Cancelled, _) => None,
        (Blocked | Needed | Delegated, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PackageState::*;

    #[test]
    fn the_table_allows_exactly_these_steps() {
        let allowed = [
            (Blocked, Step::Unblock, Needed),
            (Blocked, Step::Receive, Received),
            (Blocked, Step::Hold, Quarantined),
            (Blocked, Step::Cancel, Cancelled),
            (Needed, Step::Delegate, Delegated),
            (Needed, Step::Receive, Received),
            (Needed, Step::Quarantine, Quarantined),
            (Needed, Step::Hold, Quarantined),
            (Needed, Step::Cancel, Cancelled),
            (Needed, Step::Release, Needed),
            (Delegated, Step::Duplicate, Delegated),
            (Delegated, Step::Return, Needed),
            (Delegated, Step::Receive, Received),
            (Delegated, Step::Quarantine, Quarantined),
            (Delegated, Step::Cancel, Cancelled),
            (Quarantined, Step::Release, Needed),
            (Quarantined, Step::Wait, Blocked),
        ];
        for &state in PackageState::ALL {
            for &step in Step::ALL {
                let expected = allowed.iter().find(|a| (a.0, a.1) == (state, step)).map(|a| a.2);
                assert_eq!(next(state, step), expected, "{state} {step:?}");
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_received() {
        assert!(Step::ALL.iter().all(|&step| next(Received, step).is_none()));
    }
}
