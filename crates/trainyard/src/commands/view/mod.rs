//! `trainyard view`: one run with its jobs, steps, reasons, annotations and summary.

mod graph;
mod json;
mod timeline;

use std::collections::BTreeMap;

use trainyard_engine::{AttemptState, NodeState, RunState, apply};
use trainyard_plan::NodeKind;
use trainyard_store::{JobRow, Journal, NoteRow, Parent, PipelineArtifact, RunRow, StepRow};

use super::runs::status;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::paths::{data_dir, job_log};
use crate::run::driver::names_of;
use crate::ui::duration;

pub use graph::{Drawing, draw};

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// Jobs and steps.
    Text,
    /// All of it as JSON.
    Json,
    /// When each job and step ran, and what the run waited for.
    Timeline,
    /// The job graph.
    Graph(Drawing),
}

/// A run with all that belongs to it.
struct Whole {
    row: RunRow,
    /// All attempts at jobs.
    jobs: Vec<JobRow>,
    steps: Vec<StepRow>,
    notes: Vec<NoteRow>,
    /// Jobs that are not over.
    open: Vec<OpenJob>,
    /// Runs that its jobs began.
    children: Vec<Child>,
    /// What the tasks of a pipeline made.
    artifacts: Vec<PipelineArtifact>,
}

/// A run that a job began.
struct Child {
    by: Parent,
    row: RunRow,
    /// Its jobs as they are now.
    jobs: Vec<JobRow>,
}

/// Lines of a child run that stand with its job.
const MAX_CHILD_LINES: usize = 100;

fn children(journal: &Journal, run: i64) -> Result<Vec<Child>> {
    let mut found = Vec::new();
    for (by, id) in journal.children(run)? {
        // It may have been removed since.
        let Some(row) = journal.run(id)? else { continue };
        let jobs = journal.jobs(id)?.into_iter().filter(|j| !j.superseded).collect();
        found.push(Child { by, row, jobs });
    }
    Ok(found)
}

/// A job that is not over: it runs, waits, or was cut short with its process.
pub struct OpenJob {
    /// Its name.
    pub name: String,
    /// How it stands, in words.
    pub state: String,
    /// Its log, if it began.
    pub log: Option<std::path::PathBuf>,
}

/// The jobs of a run that are not over, by its records.
pub fn open_jobs(journal: &Journal, row: &RunRow) -> Result<Vec<OpenJob>> {
    if row.ended.is_some() {
        return Ok(Vec::new());
    }
    let mut state = RunState::empty();
    for record in journal.records(row.id)? {
        let record = serde_json::from_str(&record)
            .map_err(|e| Error::new(format!("a record of run {} cannot be read: {e}", row.id)))?;
        apply(&mut state, &record);
    }
    let lives = status(row) == "running";
    let names = names_of(&state);
    let data = data_dir()?;
    let mut open = Vec::new();
    for (node, instance) in state.instances().filter(|(_, i)| !i.superseded) {
        let plan = state.plan().node(instance.plan);
        if plan.kind == NodeKind::Scope {
            continue;
        }
        let (word, began) = match &instance.state {
            NodeState::Settled(_) | NodeState::Open(_) => continue,
            NodeState::Blocked { .. } => ("waits for its needs", false),
            NodeState::Waiting { .. } => ("waits for its group or its turn", false),
            NodeState::Active { state: AttemptState::Offered, .. } => ("waits for a place", false),
            NodeState::Backoff { .. } => ("waits to be tried again", true),
            NodeState::Active { .. } => ("running", true),
        };
        let log = job_log(&data, row.id, node.0, row.attempt);
        open.push(OpenJob {
            name: names.get(&node).cloned().unwrap_or_else(|| plan.key.clone()),
            state: if lives { word.to_owned() } else { format!("interrupted ({word})") },
            log: Some(log).filter(|l| began && l.is_file()),
        });
    }
    Ok(open)
}

impl Whole {
    /// The attempts at each job, the newest last, jobs in the order they first began. A matrix that
    /// was expanded anew has other places: what people call a job is its name.
    fn by_name(&self) -> Vec<Vec<&JobRow>> {
        let mut order: Vec<(&str, usize)> = Vec::new();
        let mut jobs: BTreeMap<(&str, usize), Vec<&JobRow>> = BTreeMap::new();
        let mut counts: BTreeMap<(i64, &str), usize> = BTreeMap::new();
        for job in &self.jobs {
            // Of equal names in one attempt each is a job of its own.
            let count = counts.entry((job.attempt, &job.name)).or_default();
            let key = (job.name.as_str(), *count);
            *count += 1;
            if !jobs.contains_key(&key) {
                order.push(key);
            }
            jobs.entry(key).or_default().push(job);
        }
        order.into_iter().filter_map(|key| jobs.remove(&key)).collect()
    }

    /// The jobs as they are now, or as they were after an attempt.
    fn current(&self, attempt: Option<i64>) -> Vec<&JobRow> {
        let until = attempt.unwrap_or(i64::MAX);
        // One of an earlier attempt that was made anew since then counts up to there.
        let counts = |j: &&&JobRow| j.attempt <= until && (attempt.is_some() || !j.superseded);
        let newest = |jobs: Vec<&'_ JobRow>| jobs.iter().rfind(counts).map(|j| (j.node, j.attempt));
        let chosen: Vec<(i64, i64)> = self.by_name().into_iter().filter_map(newest).collect();
        self.jobs.iter().filter(|j| chosen.contains(&(j.node, j.attempt))).collect()
    }

    /// How the run stands, or stood after an attempt: as its jobs did.
    fn status(&self, attempt: Option<i64>) -> String {
        match attempt.filter(|a| *a < self.row.attempt) {
            None => status(&self.row),
            Some(_) => {
                let jobs = self.current(attempt);
                let any = |words: &[&str]| jobs.iter().any(|j| words.contains(&j.outcome.as_str()));
                let word = match () {
                    () if any(&["failure", "timed_out", "lost"]) => "failure",
                    () if any(&["cancelled"]) => "cancelled",
                    () => "success",
                };
                word.to_owned()
            }
        }
    }

    fn steps_of<'a>(&'a self, job: &'a JobRow) -> impl Iterator<Item = &'a StepRow> {
        self.steps.iter().filter(move |s| (s.node, s.attempt) == (job.node, job.attempt))
    }

    /// What a pipeline gave, at an attempt or at the last one.
    fn outputs(&self, attempt: Option<i64>) -> Option<serde_json::Value> {
        let wanted = attempt.unwrap_or(self.row.attempt);
        let of_run = |n: &&NoteRow| n.node == 0 && n.attempt == wanted && n.kind == "outputs";
        self.notes.iter().rfind(of_run).map(outputs)
    }

    fn artifacts_of<'a>(&'a self, job: &'a JobRow) -> impl Iterator<Item = &'a PipelineArtifact> {
        self.artifacts.iter().filter(move |a| (a.node, a.attempt) == (job.node, job.attempt))
    }

    fn children_of<'a>(&'a self, job: &'a JobRow) -> impl Iterator<Item = &'a Child> {
        self.children.iter().filter(move |c| c.is_of(job))
    }

    fn notes_of<'a>(&'a self, job: &'a JobRow) -> impl Iterator<Item = &'a NoteRow> {
        self.notes.iter().filter(move |n| (n.node, n.attempt) == (job.node, job.attempt))
    }
}

/// The latest run, or the one of that number.
pub fn find(journal: &Journal, run: Option<i64>) -> Result<RunRow> {
    let found = match run {
        Some(id) => journal.run(id)?,
        None => journal.latest()?,
    };
    found.ok_or_else(|| {
        Error::new(match run {
            Some(id) => format!("there is no run {id}"),
            None => "there are no runs yet".into(),
        })
        .hint("trainyard runs lists them")
    })
}

/// Shows it.
pub fn view(run: Option<i64>, attempt: Option<i64>, how: As) -> Result<Exit> {
    let journal = Journal::open(&data_dir()?)?;
    let row = find(&journal, run)?;
    if let Some(attempt) = attempt.filter(|a| !(1..=row.attempt).contains(a)) {
        return Err(Error::new(format!("run {} has no attempt {attempt}", row.id))
            .hint(format!("it has {}", row.attempt)));
    }
    let (jobs, steps) = (journal.jobs(row.id)?, journal.steps(row.id)?);
    let notes = journal.notes(row.id)?;
    let open = open_jobs(&journal, &row)?;
    let children = children(&journal, row.id)?;
    let artifacts = journal.artifacts_of(row.id)?;
    let whole = Whole { row, jobs, steps, notes, open, children, artifacts };
    match how {
        As::Text => text(&whole, attempt),
        As::Json => outln!("{:#}", json::value(&whole, attempt)),
        As::Timeline => timeline::show(&whole, attempt),
        As::Graph(drawing) => graph::of_run(&whole, drawing)?,
    }
    Ok(Exit::Success)
}

fn head(whole: &Whole, attempt: Option<i64>) {
    let row = &whole.row;
    outln!("{} · {}  (run {}, {})", row.workflow, row.title, row.id, row.path);
    let short = row.sha.get(..7).unwrap_or(&row.sha);
    let time = row.ended.filter(|_| row.attempt == 1);
    let time = time.map(|e| format!(" in {}", duration(e - row.started))).unwrap_or_default();
    let again = match (attempt, row.attempt) {
        (_, 1) => String::new(),
        (Some(attempt), of) => format!(", attempt {attempt} of {of}"),
        (None, last) => format!(", attempt {last}"),
    };
    let status = whole.status(attempt);
    let from = match row.reference.is_empty() {
        true => row.event.clone(),
        false => format!("{} on {} at {short}", row.event, row.reference),
    };
    outln!("{from}: {status}{time}{again}\n");
}

fn text(whole: &Whole, attempt: Option<i64>) {
    head(whole, attempt);
    if whole.row.attempt > 1 && attempt.is_none() {
        attempts(whole);
    }
    for job in whole.current(attempt) {
        let time = duration_of(job).map(|d| format!("  {}", duration(d))).unwrap_or_default();
        let why = brackets(&job.reason);
        let old = if job.attempt < attempt.unwrap_or(whole.row.attempt) {
            format!("  (attempt {})", job.attempt)
        } else {
            String::new()
        };
        outln!("{} {}: {}{time}{why}{old}", mark(&job.outcome), job.name, job.outcome);
        if !job.waited.is_empty() {
            outln!("    waited {}", job.waited);
        }
        for step in whole.steps_of(job) {
            let why = brackets(&step.reason);
            let forgiven = if step.outcome != step.conclusion { " (forgiven)" } else { "" };
            outln!(
                "    {} {}{forgiven}  {}{why}",
                mark(&step.conclusion),
                step.name,
                duration(step.millis)
            );
            for note in whole.notes_of(job).filter(|n| n.kind == "cache" && n.step == step.index) {
                outln!("        {}", note.text);
            }
        }
        for note in whole
            .notes_of(job)
            .filter(|n| !["summary", "cache", "outputs"].contains(&n.kind.as_str()))
        {
            let place =
                if note.place.is_empty() { String::new() } else { format!("{}: ", note.place) };
            outln!("    {}: {place}{}", note.kind, note.text.replace('\n', "\n        "));
        }
        for note in whole.notes_of(job).filter(|n| n.kind == "outputs") {
            for (name, value) in outputs(note).as_object().into_iter().flatten() {
                outln!("    {name} = {value}");
            }
        }
        for artifact in whole.artifacts_of(job) {
            outln!("    → {}", of_artifact(artifact));
        }
        whole.children_of(job).for_each(Child::show);
    }
    // Of jobs that are not over yet.
    for child in whole.children.iter().filter(|c| !whole.jobs.iter().any(|j| c.is_of(j))) {
        child.show();
    }
    for job in whole.open.iter().filter(|_| attempt.is_none()) {
        outln!("○ {}: {}", job.name, job.state);
    }
    if let Some(found) = whole.outputs(attempt) {
        outln!("");
        for (name, value) in found.as_object().into_iter().flatten() {
            outln!("{name} = {value}");
        }
    }
    for job in whole.current(attempt) {
        for note in whole.notes_of(job).filter(|n| n.kind == "summary") {
            outln!("\n{}", note.text.trim_end());
        }
    }
}

/// Output parameters as they were kept.
fn outputs(note: &NoteRow) -> serde_json::Value {
    serde_json::from_str(&note.text).unwrap_or_default()
}

/// Numbers of metrics in a line.
const MAX_METRICS: usize = 20;

/// A line about an artifact: what it is; of metrics their numbers.
fn of_artifact(artifact: &PipelineArtifact) -> String {
    let name = &artifact.name;
    let metadata: serde_json::Value = serde_json::from_str(&artifact.metadata).unwrap_or_default();
    let numbers = metadata.as_object().into_iter().flatten().filter(|(_, v)| v.is_number());
    let numbers: Vec<String> =
        numbers.map(|(k, v)| format!("{k} = {v}")).take(MAX_METRICS).collect();
    if artifact.kind.ends_with(".Metrics") && !numbers.is_empty() {
        return format!("{name}: {}", numbers.join(", "));
    }
    let kind =
        if artifact.kind.is_empty() { String::new() } else { format!(" ({})", artifact.kind) };
    format!("{name}{kind} at {}", artifact.uri)
}

impl Child {
    fn is_of(&self, job: &JobRow) -> bool {
        (self.by.node, self.by.attempt) == (job.node, job.attempt)
    }

    fn show(&self) {
        let (row, word) = (&self.row, status(&self.row));
        outln!("    ↳ run {} · {}: {word}", row.id, row.workflow);
        for job in self.jobs.iter().take(MAX_CHILD_LINES) {
            let time = duration_of(job).map(|d| format!("  {}", duration(d))).unwrap_or_default();
            let why = brackets(&job.reason);
            outln!("        {} {}: {}{time}{why}", mark(&job.outcome), job.name, job.outcome);
        }
        if self.jobs.len() > MAX_CHILD_LINES {
            let more = self.jobs.len() - MAX_CHILD_LINES;
            outln!("        and {more} more: trainyard view {}", row.id);
        }
    }
}

/// The attempts at each job, side by side.
fn attempts(whole: &Whole) {
    let by_name = whole.by_name();
    let names = by_name.iter().filter_map(|jobs| jobs.last()).map(|j| j.name.chars().count());
    let width = names.max().unwrap_or(0).clamp(3, 40);
    let cells: Vec<String> =
        (1..=whole.row.attempt).map(|n| format!("{:<18}", format!("#{n}"))).collect();
    outln!("  {:<width$}  {}", "job", cells.join("").trim_end());
    for jobs in by_name {
        let Some(newest) = jobs.last() else { continue };
        let cell = |n: i64| match jobs.iter().find(|j| j.attempt == n) {
            Some(job) => {
                let time =
                    duration_of(job).map(|d| format!(" {}", duration(d))).unwrap_or_default();
                format!("{} {}{time}", mark(&job.outcome), job.outcome)
            }
            None => "·".to_owned(),
        };
        let cells: Vec<String> =
            (1..=whole.row.attempt).map(|n| format!("{:<18}", cell(n))).collect();
        let name: String = newest.name.chars().take(width).collect();
        outln!("  {name:<width$}  {}", cells.join("").trim_end());
    }
    outln!("");
}

fn brackets(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!("  ({reason})") }
}

fn duration_of(job: &JobRow) -> Option<i64> {
    job.started.map(|started| job.ended - started)
}

/// The sign of an outcome.
fn mark(outcome: &str) -> &'static str {
    match outcome {
        "success" | "cached" => "✓",
        "skipped" | "not run" => "-",
        "cancelled" => "!",
        _ => "✗",
    }
}
