//! Computes when a schedule is due. A cron expression is evaluated in its time zone, so that 3:30 stays 3:30
//! when daylight saving time begins or ends.
//!
//! In spring, a time in the gap is due at the end of the gap; in autumn, a time that occurs twice
//! is due once. Nothing here reads a clock.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use swarm_common::time::TimeMs;
use swarm_core::state::Forecast;
use swarm_daemon::config::nearest;

/// Maximum number of characters in a cron expression.
const LONGEST: usize = 200;

/// How many due times are examined to find the shortest period.
const LOOKED_AT: usize = 16;

/// Running a whole profile more often than this is a mistake and would fill the journal.
const SHORTEST_PERIOD_MS: u64 = 10 * 60_000;

/// Why a schedule is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DueError {
    /// The cron expression is invalid.
    #[error(
        "invalid schedule `{text}` ({why}): expected minute, hour, day of month, month and day of week, \
         such as `30 3 * * *` for every night at 3:30 or `0 4 * * SAT` for Saturdays at 4"
    )]
    Text {
        text: String,
        /// What is wrong with it.
        why: String,
    },
    #[error("`{text}` is never due: no such day exists; use `L` for the last day of each month")]
    Never { text: String },
    /// The schedule is due too often.
    #[error("`{text}` is due every {seconds} s; the minimum interval is 10 min")]
    TooOften {
        text: String,
        /// The shortest time between two due times in seconds.
        seconds: u64,
    },
    /// The time zone does not exist.
    #[error("unknown time zone `{zone}`; {help}")]
    Zone {
        zone: String,
        /// A hint about valid names.
        help: String,
    },
}

/// The due times of a schedule.
#[derive(Debug, Clone)]
pub struct DueTimes {
    cron: Cron,
    text: String,
    zone: TimeZone,
}

impl DueTimes {
    /// Parses a cron expression and a time zone name.
    ///
    /// # Errors
    /// One of them is invalid.
    pub fn read(text: &str, zone: &str) -> Result<Self, DueError> {
        let zone = read_zone(zone)?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let wrong = |why: &str| {
            let shown: String = text.chars().take(LONGEST).collect();
            DueError::Text { text: shown, why: why.to_owned() }
        };
        if text.len() > LONGEST {
            return Err(wrong("it is too long"));
        }
        let fields = text.split(' ').count();
        if fields != 5 && !text.starts_with('@') {
            return Err(wrong(&format!("expected 5 fields, got {fields}")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|error| wrong(error.to_string().trim_end_matches('.')))?;
        Ok(Self { cron, text, zone })
    }

    /// The cron expression, with single spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical name of the time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first due time after `after`; `None` if there is none.
    #[must_use]
    pub fn next(&self, after: TimeMs) -> Option<TimeMs> {
        let next = self.cron.find_next_occurrence(&self.zoned(after)?, false).ok()?;
        time(&next)
    }

    /// The last due time up to and including `until`.
    #[must_use]
    pub fn last(&self, until: TimeMs) -> Option<TimeMs> {
        let last = self.cron.find_previous_occurrence(&self.zoned(until)?, true).ok()?;
        time(&last)
    }

    /// The next `count` due times.
    #[must_use]
    pub fn upcoming(&self, after: TimeMs, count: usize) -> Vec<TimeMs> {
        let first = self.next(after);
        std::iter::successors(first, |&due| self.next(due)).take(count).collect()
    }

    /// The due times after `after`.
    ///
    /// # Errors
    /// The schedule is never due, or too often.
    pub fn forecast(&self, after: TimeMs) -> Result<Forecast, DueError> {
        let times = self.upcoming(after, LOOKED_AT);
        let text = || self.text.clone();
        let next = *times.first().ok_or_else(|| DueError::Never { text: text() })?;
        let gaps = || times.windows(2).map(|pair| pair[1].since(pair[0]));
        let shortest = gaps().min().unwrap_or(u64::MAX);
        if shortest < SHORTEST_PERIOD_MS {
            return Err(DueError::TooOften { text: text(), seconds: shortest / 1000 });
        }
        Ok(Forecast { next, period_ms: gaps().max().unwrap_or(u64::MAX) })
    }

    fn zoned(&self, at: TimeMs) -> Option<Zoned> {
        let ms = i64::try_from(at.0).ok()?;
        Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(self.zone.clone()))
    }
}

fn time(zoned: &Zoned) -> Option<TimeMs> {
    u64::try_from(zoned.timestamp().as_millisecond()).ok().map(TimeMs)
}

fn read_zone(name: &str) -> Result<TimeZone, DueError> {
    // A zone name is a path in the time zone database, so only names with harmless characters are looked up.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
    let known = name.chars().all(plain).then(|| TimeZone::get(name).ok()).flatten();
    known.filter(|zone| zone.iana_name().is_some()).ok_or_else(|| {
        let names: Vec<String> = jiff::tz::db().available().map(|n| n.as_str().to_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "expected a name such as `Europe/Berlin` or `UTC`".to_owned(),
        };
        DueError::Zone { zone: name.chars().take(LONGEST).collect(), help }
    })
}

#[cfg(test)]
mod tests;
