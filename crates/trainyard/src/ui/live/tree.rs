//! What the live view knows of runs, jobs and steps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use trainyard_model::Outcome;

use crate::ui::{Event, Standing};

/// Bytes at the end of a log in which its last line is looked for.
const LAST_LINE: u64 = 4 * 1024;

/// How a job or step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for something.
    Waits,
    Running,
    Ended(Outcome),
    /// Nobody here runs it.
    NotRun,
}

#[derive(Debug)]
pub(super) struct Step {
    pub name: String,
    pub state: State,
    pub began: i64,
    pub millis: i64,
}

#[derive(Debug)]
pub(super) struct Job {
    pub name: String,
    /// The matrix that it is a leg of.
    pub group: Option<String>,
    pub state: State,
    /// What it waits for, or why it ended so.
    pub why: String,
    pub began: i64,
    pub millis: i64,
    pub steps: BTreeMap<usize, Step>,
    pub log: PathBuf,
    /// Where the log of the step that began last begins.
    pub since: u64,
    /// The last line of its log, without colours.
    pub last: String,
    /// The first error that was annotated.
    pub error: String,
}

impl Job {
    /// The step that runs, the last one that began first.
    pub fn running(&self) -> Option<&Step> {
        self.steps.values().rev().find(|s| s.state == State::Running)
    }

    pub fn failed(&self) -> bool {
        matches!(self.state, State::Ended(Outcome::Failure | Outcome::TimedOut | Outcome::Lost))
    }

    /// The step that failed it.
    pub fn failed_step(&self) -> Option<&Step> {
        self.steps.values().find(|s| matches!(s.state, State::Ended(Outcome::Failure)))
    }
}

#[derive(Debug)]
pub(super) struct Run {
    pub number: i64,
    pub workflow: String,
    pub title: String,
    pub began: i64,
    pub jobs: BTreeMap<i64, Job>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub runs: Vec<Run>,
}

impl Tree {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn forget(&mut self, run: i64) {
        self.runs.retain(|r| r.number != run);
    }

    fn job(&mut self, run: i64, node: i64) -> Option<&mut Job> {
        self.runs.iter_mut().find(|r| r.number == run)?.jobs.get_mut(&node)
    }

    pub fn take(&mut self, event: &Event<'_>, at: i64) {
        match event {
            Event::RunBegan { run, workflow, title, .. } => self.runs.push(Run {
                number: *run,
                workflow: (*workflow).to_owned(),
                title: (*title).to_owned(),
                began: at,
                jobs: BTreeMap::new(),
            }),
            Event::JobStands { run, node, job, group, standing, why } => {
                let Some(run) = self.runs.iter_mut().find(|r| r.number == *run) else { return };
                let entry = run.jobs.entry(*node).or_insert_with(|| Job {
                    name: String::new(),
                    group: None,
                    state: State::Waits,
                    why: String::new(),
                    began: at,
                    millis: 0,
                    steps: BTreeMap::new(),
                    log: PathBuf::new(),
                    since: 0,
                    last: String::new(),
                    error: String::new(),
                });
                if *standing == Standing::Gone {
                    run.jobs.remove(node);
                    return;
                }
                entry.name = (*job).to_owned();
                entry.group = group.map(str::to_owned);
                entry.why = (*why).to_owned();
                entry.state = State::Waits;
            }
            Event::JobBegan { run, node, job, log } => {
                if let Some(entry) = self.job(*run, *node) {
                    entry.name = (*job).to_owned();
                    entry.state = State::Running;
                    entry.began = at;
                    entry.why = String::new();
                    entry.log = (*log).to_owned();
                }
            }
            Event::StepBegan { run, node, index, step, .. } => {
                if let Some(job) = self.job(*run, *node) {
                    let (name, state) = ((*step).to_owned(), State::Running);
                    job.last = String::new();
                    job.since = job.log.metadata().map_or(0, |m| m.len());
                    job.steps.insert(*index, Step { name, state, began: at, millis: 0 });
                }
            }
            Event::StepEnded { run, node, index, step, report, millis, .. } => {
                if let Some(job) = self.job(*run, *node) {
                    let (name, began) = ((*step).to_owned(), at - millis);
                    let state = State::Ended(report.conclusion);
                    job.steps.insert(*index, Step { name, state, began, millis: *millis });
                }
            }
            Event::Annotated { run, node, annotation, .. } => {
                if let Some(job) = self.job(*run, *node)
                    && annotation.level == trainyard_job::AnnotationLevel::Error
                    && (job.error.is_empty() || job.error.starts_with("Process completed"))
                {
                    let line = annotation.message.lines().next().unwrap_or_default();
                    job.error = match (&annotation.file, annotation.line) {
                        (Some(file), Some(number)) => format!("{file}:{number}: {line}"),
                        _ => line.to_owned(),
                    };
                }
            }
            Event::JobEnded { run, node, job, outcome, not_run, reason, millis } => {
                if let Some(entry) = self.job(*run, *node) {
                    entry.name = (*job).to_owned();
                    entry.state = if *not_run { State::NotRun } else { State::Ended(*outcome) };
                    entry.why = (*reason).to_owned();
                    entry.millis = millis.unwrap_or(0);
                }
            }
            Event::Note(_) | Event::RunEnded(_) => {}
        }
    }

    /// Looks at the ends of the logs of jobs that run.
    pub fn read_last_lines(&mut self) {
        let running = self.runs.iter_mut().flat_map(|r| r.jobs.values_mut());
        for job in running.filter(|j| j.state == State::Running) {
            if let Some(line) = last_line(&job.log, job.since) {
                job.last = line;
            }
        }
    }
}

/// The last line of a file from there on that says something, without colours; none if it is a
/// command's.
fn last_line(log: &std::path::Path, since: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let end = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(end.saturating_sub(LAST_LINE).max(since))).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_LINE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = anstream::adapter::strip_str(&text).to_string();
    // A progress bar returns to the start of its line and writes it anew.
    // A bracket alone says nothing.
    let says = |l: &&str| l.chars().any(char::is_alphanumeric);
    let line = text.lines().rev().flat_map(|l| l.rsplit('\r')).find(says)?;
    (!line.starts_with("##[")).then(|| line.trim_end().to_owned())
}
