//! The tree laid out for a size: as much as there is room for, the most telling first.

use anstyle::AnsiColor;
use trainyard_model::Outcome;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::tree::{Job, Run, State, Step, Tree};
use crate::ui::duration;

/// Signs of something that runs.
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", "⠏", "⠛"];

/// A line of text in colours.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    parts: Vec<(Option<AnsiColor>, String)>,
}

impl Line {
    fn add(mut self, color: Option<AnsiColor>, text: impl Into<String>) -> Line {
        self.parts.push((color, text.into()));
        self
    }

    pub fn width(&self) -> usize {
        self.parts.iter().map(|(_, t)| t.width()).sum()
    }

    pub fn text(&self, color: bool) -> String {
        let mut out = String::new();
        for (paint, text) in &self.parts {
            match paint.filter(|_| color) {
                Some(paint) => {
                    let style = anstyle::Style::new().fg_color(Some(paint.into()));
                    out.push_str(&format!("{style}{text}{style:#}"));
                }
                None => out.push_str(text),
            }
        }
        out
    }

    /// Cut to a width, with `end` at its right edge.
    fn fit(mut self, columns: usize, end: &str) -> Line {
        let room = columns.saturating_sub(1);
        let end = if room > end.width() + 12 { end } else { "" };
        let mut left = room - end.width() - usize::from(!end.is_empty());
        for (_, text) in &mut self.parts {
            if text.width() > left {
                *text = cut(text, left);
            }
            left -= text.width();
        }
        if end.is_empty() {
            return self;
        }
        self.add(None, " ".repeat(left + 1)).add(Some(AnsiColor::BrightBlack), end)
    }
}

/// The beginning of a text, with a sign that there was more. Control characters are left out.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            if width > 0 {
                out.push('…');
            }
            break;
        }
        out.push(c);
        used += wide;
    }
    out
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

fn sign(state: State, at: i64) -> (AnsiColor, &'static str) {
    match state {
        State::Waits => (AnsiColor::BrightBlack, "○"),
        State::Running => {
            let frame = usize::try_from(at / 120).unwrap_or(0) % SPINNER.len();
            (AnsiColor::Cyan, SPINNER[frame])
        }
        State::Ended(Outcome::Success) => (AnsiColor::Green, "✓"),
        State::Ended(Outcome::Failure | Outcome::TimedOut | Outcome::Lost) => (AnsiColor::Red, "✗"),
        State::Ended(Outcome::Cancelled) => (AnsiColor::Yellow, "!"),
        State::Ended(Outcome::Skipped) | State::NotRun => (AnsiColor::BrightBlack, "-"),
    }
}

/// How much is said: the first that fits is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Detail {
    /// Jobs with the steps of those that run or failed, and last lines.
    All,
    /// Of each job that runs its current step with its last line.
    Current,
    /// Jobs that are over well, and those that wait, in one line each.
    Folded,
    /// A line a job that runs.
    Short,
}

const DETAILS: [Detail; 4] = [Detail::All, Detail::Current, Detail::Folded, Detail::Short];

/// The whole tree in no more than the rows there are.
pub(super) fn frame(tree: &Tree, (columns, rows): (usize, usize), at: i64) -> Vec<Line> {
    let room = rows.saturating_sub(1).max(1);
    let mut lines = Vec::new();
    for detail in DETAILS {
        lines = tree.runs.iter().flat_map(|run| of_run(run, detail, columns, at)).collect();
        if lines.len() <= room {
            return lines;
        }
    }
    let more = lines.len() - (room - 1);
    lines.truncate(room - 1);
    let text = format!("  … {more} more lines than there are rows");
    lines.push(Line::default().add(Some(AnsiColor::BrightBlack), text).fit(columns, ""));
    lines
}

fn of_run(run: &Run, detail: Detail, columns: usize, at: i64) -> Vec<Line> {
    let head = Line::default()
        .add(Some(AnsiColor::Cyan), "▶ ")
        .add(None, format!("{} · {}", clean(&run.workflow), clean(&run.title)))
        .add(Some(AnsiColor::BrightBlack), format!("  (run {})", run.number));
    let mut lines = vec![head.fit(columns, &duration(at - run.began))];
    let folds = detail >= Detail::Folded;
    let mut groups: Vec<&str> = Vec::new();
    let (mut done, mut waiting) = (0, 0);
    for job in run.jobs.values() {
        if let Some(group) = &job.group {
            if !groups.contains(&group.as_str()) {
                groups.push(group);
                lines.extend(matrix(run, group, detail, columns, at));
            }
            continue;
        }
        match job.state {
            State::Ended(_) | State::NotRun if folds && !job.failed() => done += 1,
            State::Waits if folds => waiting += 1,
            _ => lines.extend(of_job(job, "", detail, columns, at)),
        }
    }
    for (count, text) in [(done, "jobs are over"), (waiting, "jobs wait")] {
        if count > 0 {
            let line =
                Line::default().add(Some(AnsiColor::BrightBlack), format!("  {count} {text}"));
            lines.push(line.fit(columns, ""));
        }
    }
    lines
}

/// A matrix: one line of numbers, and the legs that run or failed.
fn matrix(run: &Run, group: &str, detail: Detail, columns: usize, at: i64) -> Vec<Line> {
    let legs: Vec<&Job> = run.jobs.values().filter(|j| j.group.as_deref() == Some(group)).collect();
    let count = |wanted: fn(&Job) -> bool| legs.iter().filter(|j| wanted(j)).count();
    let failed = count(Job::failed);
    let running = count(|j| j.state == State::Running);
    let good = count(|j| j.state == State::Ended(Outcome::Success));
    let waits = count(|j| j.state == State::Waits);
    let cancelled = count(|j| j.state == State::Ended(Outcome::Cancelled));
    let not_run = count(|j| matches!(j.state, State::NotRun | State::Ended(Outcome::Skipped)));
    let state = match (running + waits, failed) {
        (0, 0) if cancelled > 0 => State::Ended(Outcome::Cancelled),
        (0, 0) if good > 0 => State::Ended(Outcome::Success),
        (0, 0) => State::Ended(Outcome::Skipped),
        (0, _) => State::Ended(Outcome::Failure),
        _ if running > 0 => State::Running,
        _ => State::Waits,
    };
    let (color, mark) = sign(state, at);
    let mut line = Line::default().add(Some(color), mark).add(None, format!(" {}", clean(group)));
    for (number, text, color) in [
        (failed, "failed", AnsiColor::Red),
        (good, "done", AnsiColor::Green),
        (running, "running", AnsiColor::Cyan),
        (waits, "waiting", AnsiColor::BrightBlack),
        (cancelled, "cancelled", AnsiColor::Yellow),
        (not_run, "not run", AnsiColor::BrightBlack),
    ] {
        if number > 0 {
            line = line.add(Some(color), format!("  {number} {text}"));
        }
    }
    line = line.add(Some(AnsiColor::BrightBlack), format!("  of {}", legs.len()));
    let began = legs.iter().filter(|j| j.state != State::Waits).map(|j| j.began).min();
    let end = legs.iter().map(|j| j.began + j.millis).max().unwrap_or(at);
    let until = if running > 0 { at } else { end };
    let time = began.map(|b| duration((until - b).max(0))).unwrap_or_default();
    let mut lines = vec![line.fit(columns, &time)];
    let shown = legs.iter().filter(|j| j.failed() || j.state == State::Running);
    // Failed ones first: they do not change any more, and are what one looks for.
    let (bad, live): (Vec<&&Job>, Vec<&&Job>) = shown.partition(|j| j.failed());
    for job in bad.into_iter().chain(live) {
        lines.extend(of_job(job, "  ", detail, columns, at));
    }
    lines
}

fn time_of(job: &Job, at: i64) -> String {
    match job.state {
        State::Running => duration(at - job.began),
        State::Ended(_) if job.millis > 0 || !job.steps.is_empty() => duration(job.millis),
        _ => String::new(),
    }
}

fn of_job(job: &Job, indent: &str, detail: Detail, columns: usize, at: i64) -> Vec<Line> {
    let grey = Some(AnsiColor::BrightBlack);
    let (color, mark) = sign(job.state, at);
    let mut line = Line::default()
        .add(None, indent)
        .add(Some(color), mark)
        .add(None, format!(" {}", clean(&job.name)));
    let short = detail >= Detail::Short;
    match job.state {
        State::Running if short => {
            if let Some(step) = job.running() {
                line = line.add(grey, format!(" › {}", clean(&step.name)));
            }
        }
        State::Running => {}
        _ if !job.why.is_empty() => line = line.add(grey, format!("  {}", clean(&job.why))),
        _ => {}
    }
    if let Some(step) = job.failed_step().filter(|_| job.failed() && short) {
        line = line.add(Some(AnsiColor::Red), format!(" › {}", clean(&step.name)));
    }
    let mut lines = vec![line.fit(columns, &time_of(job, at))];
    if short {
        return lines;
    }
    let shown = |step: &&Step| match job.state {
        State::Running if detail == Detail::All => true,
        State::Running => step.state == State::Running,
        _ => job.failed() && step.state == State::Ended(Outcome::Failure),
    };
    for step in job.steps.values().filter(shown) {
        let (color, mark) = sign(step.state, at);
        let name = if step.state == State::Running { None } else { grey };
        let line = Line::default()
            .add(None, format!("{indent}  "))
            .add(Some(color), mark)
            .add(name, format!(" {}", clean(&step.name)));
        let millis = if step.state == State::Running { at - step.began } else { step.millis };
        lines.push(line.fit(columns, &duration(millis)));
    }
    let last = if job.failed() { &job.error } else { &job.last };
    // The exit code of a step says less than its name.
    let says = !last.is_empty() && !last.starts_with("Process completed");
    if says && (job.failed() || job.state == State::Running) {
        let color = if job.failed() { Some(AnsiColor::Red) } else { grey };
        let line = Line::default().add(color, format!("{indent}    {}", clean(last)));
        lines.push(line.fit(columns, ""));
    }
    lines
}

/// The jobs of a run that is over, in no more than so many lines.
pub(super) fn result(tree: &Tree, run: i64, (columns, rows): (usize, usize)) -> Vec<Line> {
    let Some(run) = tree.runs.iter().find(|r| r.number == run) else { return Vec::new() };
    let mut lines = Vec::new();
    for detail in [Detail::Current, Detail::Folded, Detail::Short] {
        lines = of_run(run, detail, columns, run.began);
        // Its name and time stand in the line that sums it up.
        lines.remove(0);
        if lines.len() <= rows {
            return lines;
        }
    }
    let more = lines.len() - rows.saturating_sub(1).min(lines.len());
    lines.truncate(rows.saturating_sub(1));
    let text = format!("  … and {more} more: trainyard view {}", run.number);
    lines.push(Line::default().add(Some(AnsiColor::BrightBlack), text));
    lines
}
