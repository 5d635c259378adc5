//! What the user sees of a run: plain text, a terminal, GitHub's commands, JSON lines.

mod excerpt;
mod live;
pub mod text;

pub use text::duration;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use trainyard_job::{Annotation, AnnotationLevel, StepReport};
use trainyard_model::Outcome;

/// Failed steps of which lines are shown, and how many of each.
const MAX_FAILURES: usize = 5;
const MIN_EXCERPT: usize = 8;
const MAX_EXCERPT: usize = 20;
/// Characters of a line of them.
const MAX_LINE: usize = 400;
/// Annotations that stand below a run.
const MAX_ERRORS: usize = 10;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Every step with its log, step by step.
    Plain,
    /// As plain, with GitHub's group and annotation commands.
    Github,
    /// One JSON object a line.
    Json,
    /// Steps with state and duration; logs only where something failed.
    Terminal,
}

impl Output {
    /// What suits standard output.
    pub fn default_for_stdout() -> Output {
        if io::stdout().is_terminal() { Output::Terminal } else { Output::Plain }
    }
}

/// How a job stands that does not run yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits.
    Waits,
    /// It has become several, or a graph of its own: those are shown in its place.
    Gone,
}

/// Something to show.
pub enum Event<'a> {
    /// A run began.
    RunBegan {
        /// Its number on this machine.
        run: i64,
        /// The workflow's name.
        workflow: &'a str,
        /// Its file.
        path: &'a str,
        /// The title.
        title: &'a str,
    },
    /// Something to say once.
    Note(&'a str),
    /// A job is there, and does not run yet. Said to views that are live.
    JobStands {
        /// Its run.
        run: i64,
        /// Its place in the run.
        node: i64,
        /// Its name, as far as it is known.
        job: &'a str,
        /// The matrix that it is a leg of.
        group: Option<&'a str>,
        /// How it stands.
        standing: Standing,
        /// What it waits for.
        why: &'a str,
    },
    /// A job began.
    JobBegan {
        /// Its run.
        run: i64,
        /// Its place in the run.
        node: i64,
        /// Its name.
        job: &'a str,
        /// Where its log will be.
        log: &'a Path,
    },
    /// A step began.
    StepBegan {
        /// Its run.
        run: i64,
        /// Its job's place in the run.
        node: i64,
        /// Its job.
        job: &'a str,
        /// Its number.
        index: usize,
        /// Its name.
        step: &'a str,
    },
    /// A step ended.
    StepEnded {
        /// Its run.
        run: i64,
        /// Its job's place in the run.
        node: i64,
        /// Its number.
        index: usize,
        /// Its job.
        job: &'a str,
        /// Its name.
        step: &'a str,
        /// How.
        report: &'a StepReport,
        /// How long it took.
        millis: i64,
        /// Its log.
        log: &'a Path,
        /// Its pieces of it.
        pieces: &'a [(u64, u64)],
    },
    /// An annotation.
    Annotated {
        /// Its run.
        run: i64,
        /// Its job's place in the run.
        node: i64,
        /// Its job.
        job: &'a str,
        /// What.
        annotation: &'a Annotation,
    },
    /// A job is over, or will never run.
    JobEnded {
        /// Its run.
        run: i64,
        /// Its place in the run.
        node: i64,
        /// Its name.
        job: &'a str,
        /// How.
        outcome: Outcome,
        /// Whether nobody here may run it.
        not_run: bool,
        /// Why.
        reason: &'a str,
        /// How long it took.
        millis: Option<i64>,
    },
    /// A run is over.
    RunEnded(&'a RunSummary),
}

/// What there is to say at the end of a run.
#[derive(Debug, Clone, Default)]
pub struct RunSummary {
    /// Its number.
    pub run: i64,
    /// The workflow.
    pub workflow: String,
    /// How it ended, in a word.
    pub status: String,
    /// Jobs by how they ended.
    pub counts: Vec<(String, usize)>,
    /// When it began, or began again: milliseconds since the epoch.
    pub began: i64,
    /// How long.
    pub millis: i64,
    /// Failed steps.
    pub failures: Vec<FailedStep>,
    /// Annotations of errors, with their jobs and places.
    pub errors: Vec<String>,
    /// Whether it is of a pipeline.
    pub pipeline: bool,
    /// What the pipeline gives: `NAME = VALUE`.
    pub outputs: Vec<String>,
}

/// A step that failed its job.
#[derive(Debug, Clone)]
pub struct FailedStep {
    /// The job's name.
    pub job: String,
    /// The step's name.
    pub step: String,
    /// The job's log.
    pub log: PathBuf,
    /// The step's pieces of it.
    pub pieces: Vec<(u64, u64)>,
}

/// Shows events.
pub struct Ui {
    output: Output,
    out: Box<dyn Write>,
    color: bool,
    /// The runs that it has shown.
    runs: Vec<i64>,
    /// The live view, on a terminal.
    live: Option<live::Screen>,
}

impl Drop for Ui {
    fn drop(&mut self) {
        // Whatever ends the run, the terminal is left as it was.
        if let Some(live) = &mut self.live {
            let _ = live.clear(&mut self.out);
        }
    }
}

impl Ui {
    /// A view of that kind on standard output.
    pub fn new(output: Output) -> Ui {
        let stdout = io::stdout();
        let color = output == Output::Terminal
            && stdout.is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb");
        let live = output == Output::Terminal && stdout.is_terminal() && !dumb;
        let live = live.then(|| live::Screen::new(color));
        Ui {
            live,
            output,
            out: Box::new(io::BufWriter::with_capacity(64 * 1024, stdout)),
            color,
            runs: Vec::new(),
        }
    }

    /// The runs that began while it watched.
    pub fn runs(&self) -> &[i64] {
        &self.runs
    }

    /// Whether it shows what runs while it runs.
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// When [`Ui::tick`] has something to do.
    pub fn due(&self) -> Option<std::time::Duration> {
        self.live.as_ref().and_then(live::Screen::due)
    }

    /// Paints the live view anew if it is time. A terminal that has gone away is no fault.
    pub fn tick(&mut self) {
        if let Some(live) = &mut self.live
            && live.tick(&mut self.out).is_err()
        {
            (self.live, self.out) = (None, Box::new(io::sink()));
        }
    }

    /// Whether the logs of steps are written to the output.
    pub fn copies_logs(&self) -> bool {
        matches!(self.output, Output::Plain | Output::Github)
    }

    /// Shows one event. A reader that has gone away is no fault of the run.
    pub fn show(&mut self, event: &Event<'_>) {
        if let Event::RunBegan { run, .. } = event {
            self.runs.push(*run);
        }
        if let Some(live) = &mut self.live {
            live.take(event);
        }
        let shown = match self.output {
            Output::Json => self.json(event),
            Output::Github => self.github(event),
            Output::Plain => self.plain(event),
            Output::Terminal => self.terminal(event),
        };
        if shown.and_then(|()| self.out.flush()).is_err() {
            self.out = Box::new(io::sink());
        }
    }

    fn paint(&self, style: anstyle::AnsiColor, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let style = anstyle::Style::new().fg_color(Some(style.into()));
        format!("{style}{text}{style:#}")
    }

    fn mark(&self, outcome: Outcome) -> String {
        use anstyle::AnsiColor;
        match outcome {
            Outcome::Success => self.paint(AnsiColor::Green, "✓"),
            Outcome::Failure | Outcome::TimedOut | Outcome::Lost => self.paint(AnsiColor::Red, "✗"),
            Outcome::Cancelled => self.paint(AnsiColor::Yellow, "!"),
            Outcome::Skipped => self.paint(AnsiColor::BrightBlack, "-"),
        }
    }

    fn terminal(&mut self, event: &Event<'_>) -> io::Result<()> {
        if let Some(live) = &mut self.live {
            return match event {
                Event::Note(_) => {
                    live.clear(&mut self.out)?;
                    self.common(event)
                }
                Event::RunEnded(summary) => {
                    live.clear(&mut self.out)?;
                    // The failure and what to do about it come last, and stay on the screen.
                    let (_, rows) = live::size();
                    let failures = summary.failures.len().min(MAX_FAILURES);
                    let room = rows.saturating_sub(8 + failures * (MIN_EXCERPT + 2));
                    let result = live.result(summary.run, room.max(6));
                    live.forget(summary.run);
                    for line in &result {
                        writeln!(self.out, "{line}")?;
                    }
                    let left = rows.saturating_sub(result.len() + 7 + 2 * failures);
                    self.summary(summary, left / failures.max(1))
                }
                _ => Ok(()),
            };
        }
        match event {
            Event::StepEnded { job, step, report, millis, .. } => {
                let mark = self.mark(report.conclusion);
                let time = duration(*millis);
                writeln!(self.out, "  {mark} {job} · {step}{}  {time}", aside(report))
            }
            other => self.common(other),
        }
    }

    fn plain(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::StepEnded { job, step, report, millis, log, pieces, .. } => {
                writeln!(self.out, "── {job} · {step}")?;
                self.copy_log(log, pieces)?;
                let mark = self.mark(report.conclusion);
                let time = duration(*millis);
                writeln!(self.out, "{mark} {job} · {step}{}  {time}", aside(report))
            }
            other => self.common(other),
        }
    }

    fn github(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::StepEnded { job, step, report, log, pieces, .. } => {
                writeln!(self.out, "::group::{job} · {step} ({})", report.conclusion.as_str())?;
                self.copy_log(log, pieces)?;
                writeln!(self.out, "::endgroup::")
            }
            Event::Annotated { annotation: a, .. } => {
                let word = level_word(a.level);
                let mut properties = Vec::new();
                if let Some(file) = &a.file {
                    properties.push(format!("file={file}"));
                }
                for (name, value) in [("line", a.line), ("col", a.column)] {
                    if let Some(value) = value {
                        properties.push(format!("{name}={value}"));
                    }
                }
                let message = a.message.replace('%', "%25").replace('\n', "%0A");
                writeln!(self.out, "::{word} {}::{message}", properties.join(","))
            }
            other => self.common(other),
        }
    }

    fn copy_log(&mut self, log: &Path, pieces: &[(u64, u64)]) -> io::Result<()> {
        text::copy_pieces(log, pieces, &mut self.out)
    }

    fn common(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::RunBegan { run, workflow, path, title } => {
                writeln!(self.out, "▶ {workflow} · {title}  (run {run}, {path})")
            }
            Event::Note(text) => writeln!(self.out, "note: {text}"),
            Event::JobBegan { .. }
            | Event::JobStands { .. }
            | Event::StepBegan { .. }
            | Event::Annotated { .. }
            | Event::StepEnded { .. } => Ok(()),
            Event::JobEnded { job, outcome, not_run, reason, millis, .. } => {
                let mark = self.mark(*outcome);
                let word = if *not_run { "not run" } else { outcome.as_str() };
                let time = millis.map(|m| format!("  {}", duration(m))).unwrap_or_default();
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                writeln!(self.out, "{mark} {job}: {word}{time}{why}")
            }
            Event::RunEnded(summary) => self.summary(summary, MAX_EXCERPT),
        }
    }

    /// What there is to say at the end, with so many lines of each failure.
    fn summary(&mut self, summary: &RunSummary, lines: usize) -> io::Result<()> {
        use anstyle::AnsiColor;
        let lines = lines.clamp(MIN_EXCERPT, MAX_EXCERPT);
        for FailedStep { job, step, log, pieces } in summary.failures.iter().take(MAX_FAILURES) {
            writeln!(self.out)?;
            writeln!(self.out, "{} {job} · {step}", self.paint(AnsiColor::Red, "✗"))?;
            // On a screen a line that wraps pushes another one off it.
            let width = self.live.as_ref().map_or(MAX_LINE, |_| live::size().0.saturating_sub(5));
            for line in excerpt::excerpt(log, pieces, lines) {
                writeln!(self.out, "    {}", live::cut(&line, width))?;
            }
        }
        let more = summary.failures.len().saturating_sub(MAX_FAILURES);
        if more > 0 {
            writeln!(
                self.out,
                "\n... and {more} more failed steps: trainyard view {}",
                summary.run
            )?;
        }
        if summary.status != "success" && !summary.errors.is_empty() {
            writeln!(self.out)?;
            for error in summary.errors.iter().take(MAX_ERRORS) {
                match summary.pipeline && self.output == Output::Github {
                    true => {
                        let error = error.replace('%', "%25").replace('\n', "%0A");
                        writeln!(self.out, "::error::{error}")?;
                    }
                    false => {
                        writeln!(self.out, "{} {error}", self.paint(AnsiColor::Red, "error:"))?;
                    }
                }
            }
            let more = summary.errors.len().saturating_sub(MAX_ERRORS);
            if more > 0 {
                writeln!(self.out, "... and {more} more: trainyard view {}", summary.run)?;
            }
        }
        if !summary.outputs.is_empty() {
            writeln!(self.out)?;
            for output in &summary.outputs {
                writeln!(self.out, "{output}")?;
            }
        }
        let counts: Vec<String> = summary.counts.iter().map(|(k, n)| format!("{n} {k}")).collect();
        writeln!(
            self.out,
            "\n{} · {}: {} in {}",
            summary.workflow,
            summary.status,
            if counts.is_empty() { "no job ran".into() } else { counts.join(", ") },
            duration(summary.millis)
        )?;
        let run = summary.run;
        match summary.failures.is_empty() {
            true => writeln!(self.out, "next: trainyard view {run}"),
            false if summary.pipeline => {
                writeln!(self.out, "next: trainyard logs {run} --failed | rerun {run} --failed")
            }
            false => writeln!(
                self.out,
                "next: trainyard logs {run} --failed | shell {run} | rerun {run} --from"
            ),
        }
    }

    fn json(&mut self, event: &Event<'_>) -> io::Result<()> {
        let value = match event {
            Event::RunBegan { run, workflow, path, title } => json!({
                "event": "run_began", "run": run, "workflow": workflow, "path": path, "title": title,
            }),
            Event::Note(text) => json!({"event": "note", "text": text}),
            Event::JobStands { .. } => return Ok(()),
            Event::JobBegan { run, job, .. } => {
                json!({"event": "job_began", "run": run, "job": job})
            }
            Event::StepBegan { run, job, step, .. } => {
                json!({"event": "step_began", "run": run, "job": job, "step": step})
            }
            Event::StepEnded { run, job, step, report, millis, pieces, .. } => json!({
                "event": "step_ended", "run": run, "job": job, "step": step,
                "outcome": report.outcome.as_str(), "conclusion": report.conclusion.as_str(),
                "reason": report.reason, "milliseconds": millis, "log": pieces,
            }),
            Event::Annotated { run, job, annotation: a, .. } => json!({
                "event": "annotation", "run": run, "job": job, "level": level_word(a.level),
                "message": a.message, "title": a.title, "file": a.file, "line": a.line,
                "column": a.column, "end_line": a.end_line, "end_column": a.end_column,
            }),
            Event::JobEnded { run, job, outcome, not_run, reason, millis, .. } => json!({
                "event": "job_ended", "run": run, "job": job, "outcome": outcome.as_str(),
                "not_run": not_run, "reason": reason, "milliseconds": millis,
            }),
            Event::RunEnded(summary) => json!({
                "event": "run_ended", "run": summary.run, "workflow": summary.workflow,
                "status": summary.status, "milliseconds": summary.millis,
                "jobs": summary.counts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            }),
        };
        writeln!(self.out, "{value}")
    }
}

/// What is said beside a step that ended well or not at all.
fn aside(report: &StepReport) -> String {
    let forgiven = if report.outcome != report.conclusion { " (forgiven)" } else { "" };
    let reason = report.reason.as_ref().filter(|_| report.conclusion != Outcome::Failure);
    let reason = reason.filter(|_| forgiven.is_empty());
    format!("{forgiven}{}", reason.map(|r| format!(" ({r})")).unwrap_or_default())
}

/// The command that makes an annotation.
pub fn level_word(level: AnnotationLevel) -> &'static str {
    match level {
        AnnotationLevel::Notice => "notice",
        AnnotationLevel::Warning => "warning",
        AnnotationLevel::Error => "error",
    }
}
