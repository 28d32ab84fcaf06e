//! A writer for gauges and counters in Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! The usual crates keep a registry of live counters, which would duplicate the state. Here, each scrape
//! reads the state.

use std::fmt::{Display, Write as _};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Type of a family of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A value that may rise and fall.
    Gauge,
    /// A value that only rises.
    Counter,
}

/// The text written so far.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Writes a family of samples: name in base units, type, one-line description, and values by
    /// label. A family without values is omitted.
    pub fn family<V: Display, const N: usize>(
        &mut self,
        name: &str,
        kind: Type,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, String); N], V)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let kind = match kind {
            Type::Gauge => "gauge",
            Type::Counter => "counter",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(help, false));
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text, true))).collect();
            let labels = if N == 0 { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    /// Writes a gauge with a single value.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Type::Gauge, help, [([], value)]);
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

fn escaped(text: &str, is_label: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if is_label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped_and_an_empty_family_is_left_out() {
        let mut text = Text::default();
        text.family("a_b", Type::Gauge, "One\nline", [([("x", "q\"\\\n".to_owned())], 1)]);
        text.family("empty", Type::Counter, "None", Vec::<([(&'static str, String); 0], u64)>::new());
        text.gauge("c", "Alone", 0.5);
        let want = "# HELP a_b One\\nline\n# TYPE a_b gauge\na_b{x=\"q\\\"\\\\\\n\"} 1\n# HELP c Alone\n# TYPE c gauge\nc 0.5\n";
        assert_eq!(text.finish(), want);
    }
}
