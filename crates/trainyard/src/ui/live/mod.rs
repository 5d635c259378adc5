//! The live view: a tree of jobs, legs and steps that is painted anew a few times a second, at the
//! bottom of the terminal. What is said in between scrolls by above it.
//!
//! [`tree`] keeps what is known, [`frame`] lays it out for a size, this file paints.

mod frame;
mod tree;

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Event;
pub use frame::cut;
use tree::Tree;

/// Between two frames.
const TICK: Duration = Duration::from_millis(120);
/// A terminal that does not say its size.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// What is on the screen.
pub struct Screen {
    tree: Tree,
    color: bool,
    /// Widths of the lines that were painted last.
    painted: Vec<usize>,
    last: Option<Instant>,
    /// Whether the cursor was hidden.
    hidden: bool,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Columns and rows of the terminal behind standard output.
pub fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => DEFAULT_SIZE,
    }
}

impl Screen {
    /// An empty one.
    pub fn new(color: bool) -> Screen {
        Screen { tree: Tree::default(), color, painted: Vec::new(), last: None, hidden: false }
    }

    /// Takes in what happened; painted with the next frame.
    pub fn take(&mut self, event: &Event<'_>) {
        self.tree.take(event, now());
    }

    /// When the next frame is due; none if nothing is to be seen.
    pub fn due(&self) -> Option<Duration> {
        if self.tree.is_empty() {
            return None;
        }
        Some(self.last.map_or(Duration::ZERO, |at| TICK.saturating_sub(at.elapsed())))
    }

    /// Paints a frame if one is due.
    pub fn tick(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.due().is_some_and(|d| d.is_zero()) {
            self.tree.read_last_lines();
            self.paint(out, size(), now())?;
            self.last = Some(Instant::now());
        }
        Ok(())
    }

    fn paint(&mut self, out: &mut dyn Write, size: (usize, usize), at: i64) -> io::Result<()> {
        let lines = frame::frame(&self.tree, size, at);
        let mut text = self.back(size);
        if !self.hidden {
            text.push_str("\x1b[?25l");
            self.hidden = true;
        }
        self.painted.clear();
        for line in &lines {
            // Line by line: clearing the whole screen at once puts it into the scrollback.
            text.push_str(&line.text(self.color));
            text.push_str("\x1b[K\r\n");
            self.painted.push(line.width());
        }
        text.push_str("\x1b[J");
        // One write a frame: a terminal that draws while it reads shows no half of one.
        out.write_all(b"\x1b[?2026h")?;
        out.write_all(text.as_bytes())?;
        out.write_all(b"\x1b[?2026l")?;
        out.flush()
    }

    /// Rows that the painted lines take. A terminal that became narrower has broken long lines.
    fn rows(&self, (columns, rows): (usize, usize)) -> usize {
        let lines: usize = self.painted.iter().map(|w| w.div_ceil(columns).max(1)).sum();
        lines.min(rows.saturating_sub(1))
    }

    /// What takes the cursor back to the first painted line.
    fn back(&self, size: (usize, usize)) -> String {
        match self.rows(size) {
            0 => String::new(),
            up => format!("\r\x1b[{up}A"),
        }
    }

    /// Takes the tree off the screen, so that something else can be written.
    pub fn clear(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let size = size();
        let mut text = self.back(size);
        for _ in 0..self.rows(size) {
            text.push_str("\x1b[2K\x1b[1B");
        }
        text.push_str(&self.back(size));
        self.painted.clear();
        if std::mem::take(&mut self.hidden) {
            text.push_str("\x1b[?25h");
        }
        self.last = None;
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// The jobs of a run as they ended, folded to so many lines.
    pub fn result(&self, run: i64, lines: usize) -> Vec<String> {
        let (columns, _) = size();
        let result = frame::result(&self.tree, run, (columns, lines));
        result.iter().map(|l| l.text(self.color)).collect()
    }

    /// Forgets a run that is over.
    pub fn forget(&mut self, run: i64) {
        self.tree.forget(run);
    }
}

#[cfg(test)]
mod tests;
