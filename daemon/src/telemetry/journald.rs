//! Priorities for the systemd journal: `<3>` before a line is a syslog level, see sd-daemon(3).

use std::{env, fmt, fs::File, io, os::fd::AsFd, os::unix::fs::MetadataExt};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Writer},
    },
    registry::LookupSpan,
};

/// Whether standard error is connected to the systemd journal, whose device and inode are in
/// `JOURNAL_STREAM`, see systemd.exec(5). A child that inherits the variable may have another standard error.
pub(super) fn reads_stderr() -> bool {
    let stderr = || File::from(io::stderr().as_fd().try_clone_to_owned().ok()?).metadata().ok();
    env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stderr().is_some_and(|of| stream == format!("{}:{}", of.dev(), of.ino())))
}

/// The prefix of an error message that is printed to standard error.
#[must_use]
pub fn error_prefix() -> &'static str {
    if reads_stderr() { "<3>" } else { "" }
}

/// The usual format, with a priority if the systemd journal reads the lines.
pub(super) struct Prioritized {
    on: bool,
    format: Format,
}

impl Prioritized {
    pub(super) fn new(on: bool) -> Self {
        Self { on, format: Format::default() }
    }
}

impl<S, N> FormatEvent<S, N> for Prioritized
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.on {
            write!(to, "<{}>", priority(*event.metadata().level()))?;
        }
        self.format.format_event(context, to, event)
    }
}

/// The syslog level. `debug` and `trace` both map to the lowest.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_journal_gets_a_priority_before_each_line_and_nobody_else_does() {
        for on in [true, false] {
            let lines = Lines::default();
            let writer = lines.clone();
            let layer = tracing_subscriber::fmt::layer()
                .event_format(Prioritized::new(on))
                .with_ansi(false)
                .with_writer(move || writer.clone());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::error!("a");
                tracing::warn!("b");
                tracing::info!("c");
                tracing::debug!("d");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let begins: Vec<_> = text.lines().map(|line| line.starts_with('<').then(|| &line[..3])).collect();
            let expected = ["<3>", "<4>", "<6>", "<7>"].map(|begin| on.then_some(begin));
            assert_eq!(begins, expected, "{text}");
        }
    }
}
