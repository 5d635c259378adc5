//! What came of it: written into the history, and shown.

use std::collections::BTreeMap;
use std::time::Instant;

use trainyard_engine::{By, InstanceId, Record, RunState};
use trainyard_job::AnnotationLevel;
use trainyard_model::{JobResult, Outcome, Timestamp};

use super::{Driver, Stands, Wait, now};
use crate::error::{Error, Result};
use crate::host::job::Happening;
use crate::paths::job_log;
use crate::run::services::open_store;
use crate::ui::{Event as Show, FailedStep, duration};
use trainyard_store::{JobRow, NoteRow, StepRow};
use trainyard_workflow::semantics::WorkflowSemantics;

impl Driver<'_, '_> {
    /// Appends records and shows what they mean.
    pub(super) fn record(&mut self, index: usize, at: Timestamp, records: &[Record]) -> Result<()> {
        let run = &mut self.runs[index];
        let lines: Vec<String> = records
            .iter()
            .map(serde_json::to_string)
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| Error::new(format!("a record cannot be written: {e}")))?;
        self.journal.append(run.row.id, run.sequence, at.0, &lines)?;
        run.sequence += lines.len();
        for record in records {
            match record {
                Record::Offered { node, .. } => {
                    self.runs[index].waits.entry(*node).or_default().offered = Some(at.0);
                }
                Record::Leased { node, .. } => {
                    self.runs[index].waits.entry(*node).or_default().leased = Some(at.0);
                }
                Record::Rerun { reset, .. } => {
                    let run = &mut self.runs[index];
                    reset.iter().for_each(|node| {
                        run.waits.remove(node);
                    });
                    // What these jobs made gives way to what they make now.
                    let again =
                        run.state.instances().filter(|(id, i)| i.superseded || reset.contains(id));
                    let nodes: Vec<i64> = again.map(|(id, _)| i64::from(id.0)).collect();
                    let id = run.row.id;
                    let gone = run.state.instances().filter(|(_, i)| i.superseded);
                    for node in gone.map(|(node, _)| i64::from(node.0)) {
                        self.journal.supersede_job(id, node)?;
                        crate::run::kept::forget(&self.world.data, id, node);
                    }
                    let store = open_store(&self.world.data)?;
                    store.supersede_artifacts(id, &nodes).map_err(|e| Error::new(e.to_string()))?;
                }
                Record::Resolved { node, resolved } => {
                    let run = &mut self.runs[index];
                    run.waits.insert(*node, Wait { ready: at.0, ..Wait::default() });
                    let name = full_name(&run.names, &run.state, *node, &resolved.name);
                    run.names.insert(*node, name);
                    if let Some(environment) = &resolved.environment {
                        let note = format!(
                            "the environment '{environment}' has no approvals or wait timers here"
                        );
                        self.ui.show(&Show::Note(&note));
                    }
                }
                Record::Settled { node, .. } => self.settled(index, *node)?,
                _ => {}
            }
            if self.ui.is_live() {
                let run = &self.runs[index];
                let (state, names) = (&run.state, &run.names);
                Stands { run: run.row.id, state, names, ui: &mut *self.ui }.say(record);
            }
        }
        Ok(())
    }

    /// A node is over: shown and kept, if people know it as a job.
    fn settled(&mut self, index: usize, node: InstanceId) -> Result<()> {
        let run = &mut self.runs[index];
        let instance = run.state.instance(node);
        let Some(settled) = instance.settled() else { return Ok(()) };
        let definition = run.semantics.definitions[instance.plan.index()] as usize;
        let definition = &run.semantics.nodes[definition];
        let Some(job) = definition.job else { return Ok(()) };
        let is_group = settled.by == By::Nodes;
        if is_group {
            return Ok(());
        }
        let default = run.semantics.files[definition.file].workflow.jobs[job].id.clone();
        let name = run
            .names
            .get(&node)
            .cloned()
            .unwrap_or_else(|| full_name(&run.names, &run.state, node, &default));
        let not_run = run.not_run.contains(&node);
        let outcome = settled.outcome;
        let word = if not_run { "not run" } else { outcome.as_str() };
        let live = run.jobs.get(&node);
        let started = live.map(|j| j.started).or(instance.began.map(|t| t.0));
        // One whose process was killed has left a log, if it began.
        let path = job_log(&self.world.data, run.row.id, node.0, run.row.attempt);
        let left = instance.began.filter(|_| path.is_file()).map(|_| &path);
        let log = live.map(|j| &j.log).or(left);
        let log = log.map(|l| l.to_string_lossy().into_owned()).unwrap_or_default();
        let wait = run.waits.get(&node).copied();
        let row = JobRow {
            node: i64::from(node.0),
            attempt: run.row.attempt,
            waited: waited(wait, &run.state, node, self.world.settings.jobs),
            ready: wait.map(|w| w.ready),
            path: run.state.path(node),
            name: name.clone(),
            outcome: word.to_owned(),
            reason: settled.reason.0.clone(),
            started,
            ended: settled.at.0,
            log,
            superseded: false,
        };
        self.journal.add_job(run.row.id, &row)?;
        if run.ending {
            // It belongs to the attempt before.
            return Ok(());
        }
        let allowed = outcome == Outcome::Failure && settled.result == JobResult::Success;
        let word = if allowed { "failure (allowed)" } else { word };
        count_one(&mut run.summary.counts, word, 1);
        let failed_steps = live.map(|j| j.failed.clone()).unwrap_or_default();
        let forgiven = settled.result == trainyard_model::JobResult::Success;
        if let Some(live) = live.filter(|_| outcome == Outcome::Failure && !forgiven) {
            for (step, pieces) in failed_steps {
                let (job, log) = (name.clone(), live.log.clone());
                run.summary.failures.push(FailedStep { job, step, log, pieces });
            }
        }
        let millis = started.map(|s| settled.at.0 - s);
        let id = run.row.id;
        let reason = settled.reason.0.clone();
        self.ui.show(&Show::JobEnded {
            run: id,
            node: i64::from(node.0),
            job: &name,
            outcome,
            not_run,
            reason: &reason,
            millis,
        });
        Ok(())
    }

    pub(super) fn happened(
        &mut self,
        index: usize,
        node: InstanceId,
        happening: Happening,
    ) -> Result<()> {
        let run = &mut self.runs[index];
        let id = run.row.id;
        let Some(live) = run.jobs.get_mut(&node) else { return Ok(()) };
        let attempt = run.row.attempt;
        let note = |step: usize, kind: &str, text: String, place: String| NoteRow {
            node: i64::from(node.0),
            attempt,
            step: i64::try_from(step).unwrap_or(0),
            kind: kind.to_owned(),
            text,
            place,
        };
        match happening {
            Happening::StepBegan(step, name) => {
                let number = i64::from(node.0);
                self.ui.show(&Show::StepBegan {
                    run: id,
                    node: number,
                    job: &live.name,
                    index: step,
                    step: &name,
                });
                live.steps.insert(step, (name, Instant::now()));
            }
            Happening::StepEnded(step, report, pieces) => {
                let (name, began) =
                    live.steps.get(&step).cloned().unwrap_or((String::new(), Instant::now()));
                let millis = match report.outcome {
                    Outcome::Skipped => 0,
                    _ => i64::try_from(began.elapsed().as_millis()).unwrap_or(0),
                };
                if report.conclusion == Outcome::Failure {
                    live.failed.push((name.clone(), pieces.clone()));
                }
                let row = StepRow {
                    node: i64::from(node.0),
                    attempt,
                    started: Some(now().0 - millis),
                    index: i64::try_from(step).unwrap_or(0),
                    name: name.clone(),
                    outcome: report.outcome.as_str().into(),
                    conclusion: report.conclusion.as_str().into(),
                    reason: report.reason.clone().unwrap_or_default(),
                    millis,
                    pieces,
                };
                self.journal.add_step(id, &row)?;
                if self.ui.copies_logs() {
                    // A slow reader of our output must not hold up others who write history.
                    self.journal.commit()?;
                }
                self.ui.show(&Show::StepEnded {
                    run: id,
                    node: i64::from(node.0),
                    index: step,
                    job: &live.name,
                    step: &name,
                    report: &report,
                    millis,
                    log: &live.log,
                    pieces: &row.pieces,
                });
            }
            Happening::Annotated(step, annotation) => {
                let place = match (&annotation.file, annotation.line) {
                    (Some(file), Some(line)) => format!("{file}:{line}"),
                    (Some(file), None) => file.clone(),
                    _ => String::new(),
                };
                let kind = match annotation.level {
                    AnnotationLevel::Error => "error",
                    AnnotationLevel::Warning => "warning",
                    AnnotationLevel::Notice => "notice",
                };
                let text = match &annotation.title {
                    Some(title) => format!("{title}: {}", annotation.message),
                    None => annotation.message.clone(),
                };
                let shown = !text.starts_with("Process completed with exit code");
                if annotation.level == AnnotationLevel::Error && shown {
                    let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
                    run.summary.errors.push(format!("{}: {at}{text}", live.name));
                }
                self.journal.add_note(id, &note(step, kind, text, place))?;
                self.ui.show(&Show::Annotated {
                    run: id,
                    node: i64::from(node.0),
                    job: &live.name,
                    annotation: &annotation,
                });
            }
            Happening::Summary(step, text) => {
                self.journal.add_note(id, &note(step, "summary", text, String::new()))?;
            }
            Happening::Reason(step, text) => {
                self.journal.add_note(id, &note(step, "cache", text, String::new()))?;
            }
            // Of a client of ours: a reason like those that built-in actions give.
            Happening::Remarked("cache", text) => {
                let step = live.steps.keys().next_back().copied().unwrap_or(0);
                self.journal.add_note(id, &note(step, "cache", text, String::new()))?;
            }
            Happening::Remarked(kind, text) => {
                let step = live.steps.keys().next_back().copied().unwrap_or(0);
                self.ui.show(&Show::Note(&format!("{}: {kind}: {text}", live.name)));
                self.journal.add_note(id, &note(step, kind, text, String::new()))?;
            }
        }
        Ok(())
    }

    pub(super) fn conclude(&mut self, index: usize) -> Result<()> {
        let run = &mut self.runs[index];
        let Some(settled) = run.state.conclusion() else { return Ok(()) };
        if run.over || !run.jobs.is_empty() {
            return Ok(());
        }
        run.over = true;
        let at = settled.at.0;
        let kept = kept_counts(&run.state, run.row.attempt, &run.semantics);
        run.row.status = settled.result.as_str().to_owned();
        run.summary.status = run.row.status.clone();
        for (word, number) in kept {
            count_one(&mut run.summary.counts, &format!("{word} (before)"), number);
        }
        run.summary.millis = at - run.summary.began;
        if !settled.reason.0.is_empty() {
            let note = format!("{}: {}", run.row.workflow, settled.reason.0);
            self.ui.show(&Show::Note(&note));
        }
        self.journal.end_run(run.row.id, &run.row.status, at)?;
        self.ui.show(&Show::RunEnded(&run.summary));
        Ok(())
    }
}

/// Counts a word.
pub fn count_one(counts: &mut Vec<(String, usize)>, word: &str, number: usize) {
    match counts.iter_mut().find(|(k, _)| k == word) {
        Some(count) => count.1 += number,
        None => counts.push((word.to_owned(), number)),
    }
}

/// How jobs ended in earlier attempts that this one did not begin again.
fn kept_counts(
    state: &RunState,
    attempt: i64,
    semantics: &WorkflowSemantics,
) -> Vec<(&'static str, usize)> {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for (_, instance) in state.instances().filter(|(_, i)| !i.superseded) {
        let definition = &semantics.nodes[semantics.definitions[instance.plan.index()] as usize];
        let Some(settled) = instance.settled().filter(|s| s.by != By::Nodes) else { continue };
        if definition.job.is_none() || i64::from(instance.run_attempt) == attempt {
            continue;
        }
        let word = match (settled.outcome, settled.by) {
            (Outcome::Skipped, By::Declined) => "not run",
            (outcome, _) => outcome.as_str(),
        };
        match counts.iter_mut().find(|(k, _)| *k == word) {
            Some(count) => count.1 += 1,
            None => counts.push((word, 1)),
        }
    }
    counts
}

/// Milliseconds below which nobody calls it waiting.
const NO_WAIT: i64 = 50;

/// What a job waited for between the end of its needs and its first step, and how long.
fn waited(wait: Option<Wait>, state: &RunState, node: InstanceId, places: usize) -> String {
    let Some(wait) = wait else { return String::new() };
    let instance = state.instance(node);
    let mut waits = Vec::new();
    let mut add = |millis: i64, what: String| {
        if millis >= NO_WAIT {
            waits.push(format!("{} for {what}", duration(millis)));
        }
    };
    let settled = instance.settled().map_or(wait.ready, |s| s.at.0);
    let groups: Vec<String> =
        instance.resolved.iter().flat_map(|r| &r.groups).map(|g| format!("'{}'", g.name)).collect();
    let fan = instance.parent.and_then(|p| state.instance(p).fan).and_then(|f| f.max_parallel);
    let what = match (groups.is_empty(), fan) {
        (false, _) => format!("its concurrency group {}", groups.join(", ")),
        (true, Some(max)) => format!("another leg of its matrix (max-parallel: {max})"),
        (true, None) => "its turn".to_owned(),
    };
    add(wait.offered.unwrap_or(settled) - wait.ready, what);
    if let Some(offered) = wait.offered {
        let what = format!("one of the {places} places for jobs (--jobs)");
        add(wait.leased.unwrap_or(settled) - offered, what);
    }
    waits.join(", ")
}

/// The names of all nodes that have one.
pub fn names_of(state: &RunState) -> BTreeMap<InstanceId, String> {
    let mut names = BTreeMap::new();
    for (node, instance) in state.instances() {
        if let Some(resolved) = &instance.resolved {
            let name = full_name(&names, state, node, &resolved.name);
            names.insert(node, name);
        }
    }
    names
}

/// `caller / job`, as GitHub names the jobs of called workflows.
pub fn full_name(
    names: &BTreeMap<InstanceId, String>,
    state: &RunState,
    node: InstanceId,
    own: &str,
) -> String {
    match state.scope_of(node) {
        Some(scope) if scope != InstanceId::ROOT => match names.get(&scope) {
            Some(outer) => format!("{outer} / {own}"),
            None => own.to_owned(),
        },
        _ => own.to_owned(),
    }
}
