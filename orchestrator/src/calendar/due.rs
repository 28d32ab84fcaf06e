//! When a schedule is due: cron text in a time zone, worked out with that zone's rules, so
//! that half past three stays half past three when the clocks change.
//!
//! In spring a time that does not exist is due at the end of the gap; in autumn a time that
//! comes twice is due once. Nothing here reads a clock.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use swarm_common::{config::nearest, time::TimeMs};
use swarm_core::calendar::Forecast;

/// Characters of a cron text.
const LONGEST: usize = 200;

/// Due times that are looked at to know how far apart they are.
const LOOKED_AT: usize = 16;

/// A run of a whole profile more often than this is a mistake, and a journal full of it.
const SHORTEST_PERIOD_MS: u64 = 10 * 60_000;

/// Why something is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DueError {
    /// The text is no cron text.
    #[error(
        "`{text}` is no schedule ({why}): it takes minute, hour, day of month, month and day of week, \
         such as `30 3 * * *` for every night at 3:30 or `0 4 * * SAT` for Saturdays at 4"
    )]
    Text {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such day ever comes.
    #[error(
        "`{text}` is never due: no year has such a day; `L` in place of the day is the last of each month"
    )]
    Never {
        /// What was given.
        text: String,
    },
    /// It is due too often.
    #[error("`{text}` is due every {seconds} s; a run of a whole profile is due every 10 min at most")]
    TooOften {
        /// What was given.
        text: String,
        /// The shortest time between two due times.
        seconds: u64,
    },
    /// There is no such time zone.
    #[error("`{zone}` is no time zone; {help}")]
    Zone {
        /// What was given.
        zone: String,
        /// What is right.
        help: String,
    },
}

/// Due times.
#[derive(Debug, Clone)]
pub struct DueTimes {
    cron: Cron,
    text: String,
    zone: TimeZone,
}

impl DueTimes {
    /// Reads cron text and the name of a time zone.
    ///
    /// # Errors
    /// One of them is none.
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
            return Err(wrong(&format!("it has {fields} fields where 5 are needed")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|error| wrong(error.to_string().trim_end_matches('.')))?;
        Ok(Self { cron, text, zone })
    }

    /// The text, with single spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The time zone, by the name that the database has it under.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first due time after `after`. `None` if none ever comes.
    #[must_use]
    pub fn next(&self, after: TimeMs) -> Option<TimeMs> {
        let next = self.cron.find_next_occurrence(&self.zoned(after)?, false).ok()?;
        time(&next)
    }

    /// The last due time up to `until`, that itself included.
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

    /// What comes after `after`.
    ///
    /// # Errors
    /// Nothing does, or too often.
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
    // A name is a path into the database, so nothing else is looked up.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
    let known = name.chars().all(plain).then(|| TimeZone::get(name).ok()).flatten();
    known.filter(|zone| zone.iana_name().is_some()).ok_or_else(|| {
        let names: Vec<String> = jiff::tz::db().available().map(|n| n.as_str().to_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "it takes a name such as `Europe/Berlin` or `UTC`".to_owned(),
        };
        DueError::Zone { zone: name.chars().take(LONGEST).collect(), help }
    })
}

#[cfg(test)]
mod tests;
