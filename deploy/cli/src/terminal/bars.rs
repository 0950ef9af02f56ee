//! Lines that are drawn in place on a terminal, by indicatif; their texts are of one line and printable.

use std::time::Duration;

use cairn_formats::printable;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Text, say};

/// Between two turns of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// How a line is laid out.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// A spinner and the text.
    Text,
    /// A name before the text, which is cut at the terminal's edge.
    Named,
}

/// Several lines below each other.
#[derive(Debug, Clone, Default)]
pub struct Bars(MultiProgress);

impl Bars {
    /// Adds a line with a name.
    pub fn add(&self, name: &str) -> Bar {
        let bar = Bar::laid_out(self.0.add(ProgressBar::no_length()), Layout::Named);
        bar.0.set_prefix(printable::line(name).into_owned());
        bar.start();
        bar
    }

    /// The lines are away as long as `talk` runs.
    pub fn aside<T>(&self, talk: impl FnOnce() -> T) -> T {
        self.0.suspend(talk)
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A line of its own. It is drawn from [`Bar::start`] on.
    pub fn alone() -> Self {
        Self::laid_out(ProgressBar::no_length(), Layout::Text)
    }

    fn laid_out(bar: ProgressBar, layout: Layout) -> Self {
        let template = match layout {
            Layout::Text => "{spinner} {msg}",
            Layout::Named => "{spinner} {prefix}: {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub fn start(&self) {
        self.0.enable_steady_tick(TICK);
    }

    /// What the line says now.
    pub fn set(&self, text: &str) {
        self.0.set_message(printable::line(text).into_owned());
    }

    /// Above the line, to stay.
    pub fn keep(&self, text: impl Into<Text>) {
        self.0.suspend(|| say(text));
    }

    pub fn finish(&self) {
        self.0.finish_and_clear();
    }

    /// Name and text, as they are drawn.
    #[cfg(test)]
    pub fn drawn(&self) -> String {
        format!("{} {}", self.0.prefix(), self.0.message())
    }
}
