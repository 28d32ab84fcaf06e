//! What a failed request means for a drone: whether it is repeated, or how the drone ends.

use super::ClientError;
use swarm_common::exit::{EXIT_CONFIG, EXIT_REFUSED};

/// Problem types that reject one request and not the result, so that a retry may succeed. An orchestrator
/// whose journal was restored may take back an attempt that it does not know; heartbeats say so if it does
/// not.
const WORTH_REPEATING: [&str; 5] =
    ["not-uploaded", "unknown-upload", "body-broken", "plain-http", "unknown-attempt"];

/// The kind of request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Enrolling,
    /// A claim or heartbeat of an enrolled drone.
    Working,
    /// A file or report of an attempt.
    Delivering,
}

/// The consequence of a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The request is repeated: the problem may end by itself, or other people see it and can resolve it.
    Passing,
    /// The orchestrator itself refuses the request for good. For an enrolment or a working drone this ends
    /// the drone, for a delivery only the delivery.
    Refused,
    /// An admin has to correct the drone's configuration.
    Config,
}

impl Fate {
    /// The exit code of a drone that ends for this reason. `None` if it does not end.
    #[must_use]
    pub fn exit_code(self) -> Option<u8> {
        match self {
            Self::Passing => None,
            Self::Refused => Some(EXIT_REFUSED),
            Self::Config => Some(EXIT_CONFIG),
        }
    }
}

impl ClientError {
    /// What a drone does after this error. Only the orchestrator's own answers are final, and of these only
    /// the ones that it would also give after a restart or with an older backup of its journal.
    #[must_use]
    pub fn fate(&self, stage: Stage) -> Fate {
        let Self::Problem(problem) = self else {
            let is_own_fault = self.is_untrusted() || matches!(self, Self::Local(_));
            return if stage == Stage::Enrolling && is_own_fault { Fate::Config } else { Fate::Passing };
        };
        let is_final = match stage {
            Stage::Enrolling => !self.is_passing(),
            Stage::Working => problem.ends_a_drone(),
            Stage::Delivering => {
                matches!(problem.status, 400 | 403 | 404 | 409 | 410 | 413 | 422)
                    && !WORTH_REPEATING.iter().any(|kind| problem.is(kind))
            }
        };
        if is_final { Fate::Refused } else { Fate::Passing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tried;
    use Fate::{Config, Passing, Refused};
    use swarm_common::wire::problem::Problem;

    fn problem(status: u16, kind: &str) -> ClientError {
        let kind = format!("/problems/{kind}");
        let (title, detail) = (String::new(), String::new());
        ClientError::Problem(Box::new(Problem {
            kind,
            title,
            status,
            detail,
            request_id: None,
            retry_after_s: None,
        }))
    }

    fn proxy(status: Option<u16>) -> ClientError {
        ClientError::Protocol { url: String::new(), status, what: String::new() }
    }

    fn nobody(untrusted: &[bool]) -> ClientError {
        let address: reqwest::Url = "http://nas:8100".parse().unwrap();
        let tried = |&untrusted| Tried { address: address.clone(), why: String::new(), untrusted };
        ClientError::Unreachable { tried: untrusted.iter().map(tried).collect() }
    }

    #[test]
    fn each_condition_is_passing_refused_or_a_wrong_configuration() {
        // condition, enrolling, working, delivering
        let table = [
            (nobody(&[false]), Passing, Passing, Passing),
            (nobody(&[true, false]), Passing, Passing, Passing),
            (nobody(&[true]), Config, Passing, Passing),
            (ClientError::Local("no header".into()), Config, Passing, Passing),
            (proxy(None), Passing, Passing, Passing),
            (proxy(Some(401)), Passing, Passing, Passing),
            (proxy(Some(403)), Passing, Passing, Passing),
            (proxy(Some(404)), Passing, Passing, Passing),
            (proxy(Some(413)), Passing, Passing, Passing),
            (proxy(Some(502)), Passing, Passing, Passing),
            (problem(403, "bad-enrol-token"), Refused, Passing, Refused),
            (problem(409, "name-taken"), Refused, Passing, Refused),
            (problem(401, "unknown-credential"), Refused, Passing, Passing),
            (problem(401, "drone-removed"), Refused, Refused, Passing),
            (problem(401, "other-machine"), Refused, Refused, Passing),
            (problem(409, "earlier-boot"), Refused, Passing, Refused),
            (problem(403, "plain-http"), Refused, Passing, Passing),
            (problem(403, "not-yours"), Refused, Passing, Refused),
            (problem(404, "unknown-attempt"), Refused, Passing, Passing),
            (problem(404, "unknown-upload"), Refused, Passing, Passing),
            (problem(400, "body-broken"), Refused, Passing, Passing),
            (problem(409, "not-uploaded"), Refused, Passing, Passing),
            (problem(409, "stale-attempt"), Refused, Passing, Refused),
            (problem(413, "too-large"), Refused, Passing, Refused),
            (problem(422, "package-rejected/identity"), Refused, Passing, Refused),
            (problem(408, "body-stalled"), Passing, Passing, Passing),
            (problem(429, "slow-down"), Passing, Passing, Passing),
            (problem(500, "internal"), Passing, Passing, Passing),
            (problem(503, "not-leader"), Passing, Passing, Passing),
            (problem(507, "disk-full"), Passing, Passing, Passing),
        ];
        for (error, enrolling, working, delivering) in table {
            let is = [Stage::Enrolling, Stage::Working, Stage::Delivering].map(|stage| error.fate(stage));
            assert_eq!(is, [enrolling, working, delivering], "{error:?}");
        }
        assert_eq!([Passing, Refused, Config].map(Fate::exit_code), [None, Some(77), Some(78)]);
    }
}
