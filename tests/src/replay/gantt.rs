//! A schedule as a diagram: a row for each drone, time from left to right.

use super::{case::Night, farm::Outcome, workload::Workload};
use std::fmt::Write;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 130.0;
const TOP: f64 = 56.0;
const ROW: f64 = 26.0;
/// Width of a letter at the font size of the labels.
const LETTER: f64 = 6.2;

/// The SVG of a schedule. The dashed line is the lower bound, and grey bars are work that was lost or done
/// twice. Bars have tooltips.
#[must_use]
pub fn svg(workload: &Workload, night: &Night, outcome: &Outcome, title: &str) -> String {
    let rows = night.machines.len() as f64;
    let (height, end) = (TOP + rows * ROW + 34.0, outcome.makespan_ms.max(night.bound_ms).max(1.0));
    let x = |ms: f64| LEFT + ms / end * (WIDTH - LEFT - 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">{}</text>\n\
         <text x=\"12\" y=\"40\" fill=\"#555\">{} on {} drones; lower bound {}, ratio {:.3}</text>\n",
        escape(title),
        clock(outcome.makespan_ms),
        night.machines.len(),
        clock(night.bound_ms),
        outcome.makespan_ms / night.bound_ms.max(1.0),
    );
    // Writing to a string cannot fail.
    let step = tick_ms(end);
    let mut at = 0.0;
    while at <= end {
        let _ = writeln!(
            svg,
            "<path d=\"M{0:.1} {TOP}v{1}\" stroke=\"#ddd\"/><text x=\"{0:.1}\" y=\"{2}\" \
             text-anchor=\"middle\" fill=\"#555\">{3}</text>",
            x(at),
            rows * ROW,
            TOP + rows * ROW + 18.0,
            clock(at)
        );
        at += step;
    }
    for (n, machine) in night.machines.iter().enumerate() {
        let y = TOP + n as f64 * ROW + ROW * 0.65;
        let _ = writeln!(svg, "<text x=\"12\" y=\"{y:.1}\">drone{n} · speed {}</text>", machine.speed);
        let turns = machine.turn.map(|(ms, factor)| (ms, format!("falls to {factor} of its speed")));
        let ends = machine.gone_at.is_finite().then(|| (machine.gone_at, "is gone".to_owned()));
        for (ms, what) in turns.into_iter().chain(ends) {
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}v{ROW}\" stroke=\"#c00\" stroke-width=\"2\"><title>drone{n} {what}</title></path>",
                x(ms),
                TOP + n as f64 * ROW
            );
        }
    }
    for bar in &outcome.bars {
        let item = &workload.items[bar.item];
        let (left, width) = (x(bar.start_ms), (x(bar.end_ms) - x(bar.start_ms)).max(0.3));
        let y = TOP + bar.drone as f64 * ROW + 3.0;
        let fill = if bar.counted { colour(&item.name) } else { "#bbb".into() };
        let what = if bar.counted { "" } else { ", did not count" };
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{}\" fill=\"{fill}\" \
             stroke=\"#fff\" stroke-width=\"0.4\"><title>{} {}: {} to {} on drone{}{what}</title></rect>",
            ROW - 6.0,
            escape(&item.name),
            escape(&item.version),
            clock(bar.start_ms),
            clock(bar.end_ms),
            bar.drone
        );
        let letters = (width / LETTER) as usize;
        if letters >= 4 {
            let label: String = item.name.chars().take(letters).collect();
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" pointer-events=\"none\">{}</text>",
                left + 3.0,
                y + 14.0,
                escape(&label)
            );
        }
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {}v{}\" stroke=\"#000\" stroke-dasharray=\"4 3\"><title>lower bound</title></path>\n</svg>",
        x(night.bound_ms),
        TOP - 4.0,
        rows * ROW + 8.0
    );
    svg
}

/// A light colour that depends only on the name.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(2_166_136_261_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(16_777_619));
    format!("hsl({} 60% {}%)", hash % 360, 66 + (hash >> 16) % 14)
}

/// The distance of about ten ticks, rounded to full minutes or hours.
fn tick_ms(end: f64) -> f64 {
    let steps = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0];
    let fit = steps.iter().map(|s| s * 1000.0).find(|s| end / s <= 12.0);
    fit.unwrap_or(end / 10.0)
}

fn clock(ms: f64) -> String {
    let s = (ms / 1000.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}:{:02} min", s / 60, s % 60),
        _ => format!("{}:{:02} h", s / 3600, s % 3600 / 60),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::farm::Bar;

    #[test]
    fn names_cannot_break_the_picture() {
        let item = crate::replay::workload::Item {
            name: "a<b>&\"c".into(),
            version: "1".into(),
            deps: vec![],
            seconds: 10.0,
        };
        let workload = Workload::new("w".into(), vec![item]).unwrap();
        let machine = super::super::fleet::Machine { speed: 1.0, turn: None, gone_at: f64::INFINITY };
        let night = Night {
            machines: vec![machine],
            cores: vec![4],
            history_ms: None,
            setup_ms: 0.0,
            bound_ms: 10_000.0,
        };
        let bar = Bar { drone: 0, item: 0, start_ms: 0.0, end_ms: 10_000.0, counted: true };
        let outcome =
            Outcome { makespan_ms: 10_000.0, work_ratio: 1.0, bars: vec![bar], ..Outcome::default() };
        let svg = svg(&workload, &night, &outcome, "<title>");
        assert!(svg.contains("a&lt;b&gt;&amp;&quot;c") && !svg.contains("<b>"));
        assert_eq!(svg.matches("<rect").count(), 2);
    }
}
