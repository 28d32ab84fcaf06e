//! Progress bars on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar with this indicatif template. It is hidden unless `live`.
#[must_use]
pub fn bar(live: bool, template: &str) -> ProgressBar {
    if !live {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// A bar for packing files. It keeps moving while a large file is packed.
#[must_use]
pub fn packing(live: bool) -> ProgressBar {
    let bar = bar(live, "packing {bar:30.cyan} {pos}/{len} done in {eta}");
    if live {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
