//! Rows of figures with their references, as text and as the page `docs/benchmarks.md`.

use anyhow::{Context, Result};
use serde::Serialize;
use std::{cmp::Ordering, fmt::Write};

/// What a ratio must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Goal {
    /// At least this multiple of the reference.
    AtLeast(f64),
    /// At most this multiple of the reference.
    AtMost(f64),
    /// No goal; the figure is only shown.
    None,
}

impl Goal {
    /// Whether a ratio meets the goal.
    #[must_use]
    pub fn met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}", short(least)),
            Self::AtMost(most) => format!("≤ {}", short(most)),
            Self::None => "–".into(),
        }
    }
}

/// A figure and its reference.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What is measured, with its unit.
    pub what: String,
    /// Our figure.
    pub ours: f64,
    /// The reference: a peer, a limit of the machine, or the goal itself.
    pub beside: String,
    /// The figure of the reference.
    pub theirs: f64,
    /// `ours / theirs`.
    pub ratio: f64,
    /// The goal for the ratio.
    pub goal: Goal,
}

impl Row {
    /// A figure and another one in the same unit.
    #[must_use]
    pub fn new(
        what: impl Into<String>,
        ours: f64,
        beside: impl Into<String>,
        theirs: f64,
        goal: Goal,
    ) -> Self {
        Self { what: what.into(), ours, beside: beside.into(), theirs, ratio: ours / theirs, goal }
    }

    /// A figure with a limit that the product promises.
    #[must_use]
    pub fn within(what: impl Into<String>, ours: f64, limit: f64) -> Self {
        Self::new(what, ours, "the limit", limit, Goal::AtMost(1.0))
    }

    /// A figure without a reference.
    #[must_use]
    pub fn alone(what: impl Into<String>, figure: f64) -> Self {
        Self::new(what, figure, "–", figure, Goal::None)
    }

    fn verdict(&self) -> &'static str {
        match (self.goal, self.goal.met(self.ratio)) {
            (Goal::None, _) => "",
            (_, true) => "met",
            (_, false) => "missed",
        }
    }

    fn cells(&self) -> [String; 7] {
        [
            self.what.clone(),
            short(self.ours),
            self.beside.clone(),
            short(self.theirs),
            short(self.ratio),
            self.goal.text(),
            self.verdict().into(),
        ]
    }
}

/// The rows about one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    pub title: &'static str,
    /// How it was measured, in one or two sentences.
    pub about: String,
    pub rows: Vec<Row>,
}

const HEAD: [&str; 7] = ["what", "ours", "beside", "theirs", "ratio", "goal", ""];

impl Section {
    /// The section as text for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let rows: Vec<[String; 7]> =
            std::iter::once(HEAD.map(Into::into)).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        let mut text = format!("== {}\n{}\n", self.title, self.about);
        for row in &rows {
            let padded = row.iter().zip(widths).map(|(cell, w)| format!("{cell:<w$}"));
            let line = padded.collect::<Vec<_>>().join("  ");
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// The section as Markdown for the page.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.about);
        let line = |cells: &[String; 7]| format!("| {} |\n", cells.join(" | "));
        text += &line(&HEAD.map(Into::into));
        text += "|---|--:|---|--:|--:|--:|---|\n";
        for row in &self.rows {
            text += &line(&row.cells());
        }
        text
    }
}

/// The page with all sections, and the command and machine that produced it.
#[must_use]
pub fn page(sections: &[Section], machine: &str) -> String {
    let mut text = format!(
        "# Benchmarks\n\nMade by `scripts/bench`, on {machine}. Both sides of a ratio ran in turn on the same machine; \
         figures are medians. Only the ratios apply to other machines. `--peer DIR` also measures the real \
         build-swarm-v3, `--claims N` counts more claims, `--clean-build` adds the time of a build.\n"
    );
    for section in sections {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}", section.markdown());
    }
    text
}

/// The median of some figures.
///
/// # Errors
/// There are no figures.
pub fn median(mut figures: Vec<f64>) -> Result<f64> {
    figures.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    figures.get(figures.len() / 2).copied().context("nothing was measured")
}

/// A figure with its significant digits and thousands separators.
fn short(figure: f64) -> String {
    let decimals = match figure.abs() {
        f if f >= 100.0 || f == 0.0 => 0,
        f if f >= 10.0 => 1,
        f if f >= 1.0 => 3,
        _ => 4,
    };
    let plain = format!("{figure:.decimals$}");
    let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match rest.trim_end_matches('0') {
        "" => grouped,
        rest => format!("{grouped}.{rest}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_held_against_its_goal_and_figures_are_short() {
        let rows = vec![
            Row::new("claims/s", 23_456.7, "the peer", 309.0, Goal::AtLeast(25.0)),
            Row::within("resident MB", 41.0, 40.0),
            Row::new("size MB", 7.3, "–", 7.3, Goal::None),
        ];
        let section = Section { title: "Queue", about: "As measured.".into(), rows };
        let markdown = section.markdown();
        assert!(
            markdown.contains("| claims/s | 23,457 | the peer | 309 | 75.9 | ≥ 25 | met |"),
            "{markdown}"
        );
        assert!(markdown.contains("| resident MB | 41 | the limit | 40 | 1.025 | ≤ 1 | missed |"));
        assert!(section.text().lines().all(|line| !line.ends_with(' ')));
        assert!(page(&[section], "two cores").contains("on two cores"));
        assert_eq!(median(vec![3.0, 1.0, 2.0]).unwrap(), 2.0);
        assert!(median(vec![]).is_err());
        assert_eq!(short(0.0123), "0.0123");
    }
}
