//! The drones of a replay.

use anyhow::{Result, bail};

/// The fleets of the goals: mixed, uniform, and large with many slow drones.
pub const NAMED: &[(&str, &str)] =
    &[("A", "4,4,2,2,1,1,1,0.5"), ("B", "1,1,1,1,1,1,1,1"), ("C", "8,4,4,2,2,2,1,1,1,1,1,1,0.5,0.5,0.5,0.5")];

/// A fleet, given by the speed of each drone.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    pub name: String,
    /// Seconds of work that each drone does per second.
    pub speeds: Vec<f64>,
}

impl std::str::FromStr for Fleet {
    type Err = anyhow::Error;
    /// Parses `A`, `B`, `C`, or speeds separated by commas; `8x1` means eight drones of speed 1.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some((name, speeds)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Self { name: (*name).to_owned(), ..speeds.parse()? });
        }
        let mut speeds = Vec::new();
        for part in text.split(',') {
            let (count, speed) = part.split_once('x').unwrap_or(("1", part));
            match (count.trim().parse::<usize>(), speed.trim().parse::<f64>()) {
                (Ok(count), Ok(speed)) if speed.is_finite() && speed > 0.0 && count <= 10_000 => {
                    speeds.extend(std::iter::repeat_n(speed, count));
                }
                _ => bail!("`{part}` is not a drone's speed; expected a fleet such as 4,4,2,0.5 or 8x1 or A"),
            }
        }
        if speeds.is_empty() || speeds.len() > 10_000 {
            bail!("a fleet has 1 to 10,000 drones; `{text}` has {}", speeds.len());
        }
        Ok(Self { name: text.to_owned(), speeds })
    }
}

impl Fleet {
    /// Index of the fastest drone; the first one if there are several.
    #[must_use]
    pub fn fastest(&self) -> usize {
        (0..self.speeds.len()).rev().max_by(|&a, &b| self.speeds[a].total_cmp(&self.speeds[b])).unwrap_or(0)
    }

    /// The sum of all speeds.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.speeds.iter().sum()
    }
}

/// The real properties of a drone: its speed, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub speed: f64,
    /// When its speed changes, in milliseconds, and the factor by which it is multiplied then.
    pub turn: Option<(f64, f64)>,
    /// When it disappears for good, in milliseconds.
    pub gone_at: f64,
}

impl Machine {
    /// When work that begins at `start_ms` ends, in milliseconds.
    #[must_use]
    pub fn ends_at(&self, start_ms: f64, work_ms: f64) -> f64 {
        let Some((turn, factor)) = self.turn else { return start_ms + work_ms / self.speed };
        let before = (turn - start_ms).max(0.0) * self.speed;
        if work_ms <= before {
            return start_ms + work_ms / self.speed;
        }
        start_ms.max(turn) + (work_ms - before) / (self.speed * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleets_are_named_or_listed() {
        assert_eq!("B".parse::<Fleet>().unwrap().speeds, "8x1".parse::<Fleet>().unwrap().speeds);
        assert_eq!("4, 0.5".parse::<Fleet>().unwrap().speeds, [4.0, 0.5]);
        for bad in ["", "4,,1", "0", "-1", "fast", "1e999"] {
            assert!(bad.parse::<Fleet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_fastest_is_the_first_of_several() {
        assert_eq!("1,4,4,2".parse::<Fleet>().unwrap().fastest(), 1);
    }

    #[test]
    fn work_that_spans_the_turn_goes_on_at_the_new_speed() {
        let machine = Machine { speed: 4.0, turn: Some((100.0, 0.125)), gone_at: f64::INFINITY };
        assert_eq!(machine.ends_at(0.0, 400.0), 100.0);
        assert_eq!(machine.ends_at(50.0, 400.0), 500.0);
        assert_eq!(machine.ends_at(200.0, 50.0), 300.0);
    }
}
