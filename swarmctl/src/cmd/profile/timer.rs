//! `profile update --every`: tells the orchestrator that a timer runs the command, so that `status` warns
//! when it no longer does.

use crate::{cmd::drone::parse_span, failure::Failure, session::Session};
use swarm_client::Client;
use swarm_common::{name::Name, wire::calendar::TimerRequest};

/// How often a timer runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// The interval in milliseconds.
    Ms(u64),
    /// No timer runs it any more.
    Never,
}

impl std::str::FromStr for Every {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            span => parse_span(span).map(Self::Ms).map_err(|why| format!("{why}, or never")),
        }
    }
}

/// Tells the orchestrator that the timer of a profile has run, or that there is none any more.
pub(super) async fn tell(
    session: &Session,
    client: &Client,
    name: &Name,
    every: Option<Every>,
) -> Result<(), Failure> {
    match every {
        None => Ok(()),
        Some(Every::Never) => session.change(async |key| client.remove_timer(name, key).await).await,
        Some(Every::Ms(every_ms)) => {
            let request = TimerRequest { every_ms, machine: host_name()? };
            session.change(async |key| client.put_timer(name, &request, key).await).await
        }
    }
}

/// The name of this machine without its domain.
fn host_name() -> Result<Name, Failure> {
    let full = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let host = full.split('.').next().unwrap_or_default();
    host.parse().map_err(|error| Failure::Failed(format!("this machine's host name: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_is_a_span_or_never() {
        assert_eq!("1d".parse(), Ok(Every::Ms(86_400_000)));
        assert_eq!("never".parse(), Ok(Every::Never));
        assert_eq!(
            "daily".parse::<Every>(),
            Err("expected a number with s, min, h or d, such as 30min, or never".to_owned())
        );
    }
}
