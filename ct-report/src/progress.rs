//! A line on the terminal that says how far long work has come; nothing where standard error is no
//! terminal, or the work is done within a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that takes less is not worth a line.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far work has come; its line goes when it does.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    begin: Instant,
    is_shown: AtomicBool,
}

impl Progress {
    /// Of so many `things`, none is done yet.
    pub(crate) fn new(things: &'static str, n: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(n as u64), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(things);
        Self { bar, begin: Instant::now(), is_shown: AtomicBool::new(false) }
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        if self.begin.elapsed() > PATIENCE && !self.is_shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
