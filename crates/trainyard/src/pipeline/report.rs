//! What came of it: written into the history, and shown.

use serde_json::Value as Json;
use trainyard_engine::{By, InstanceId, Record};
use trainyard_job::StepReport;
use trainyard_model::{Outcome, Timestamp, Value};
use trainyard_pipeline::{Bundle, Executor as Runs};
use trainyard_store::{ArtifactUse, JobRow, NoteRow, PipelineArtifact, StepRow};

use super::driver::Driver;
use super::task::TaskEnd;
use crate::error::{Error, Result};
use crate::paths::job_log;
use crate::run::driver::{Stands, count_one, full_name, now};
use crate::ui::{Event as Show, FailedStep, duration};

/// Characters of a value that is kept for people.
const MAX_SHOWN: usize = 2_000;

/// Output parameters as they are shown; what is long is cut, and is a text then. None if there are none.
fn shown(outputs: &Value) -> Option<Json> {
    let parameters = Bundle::of_value(outputs).parameters;
    let shown = parameters.into_iter().map(|(name, value)| {
        let text = value.to_string();
        match text.len() > MAX_SHOWN {
            true => {
                let start: String = text.chars().take(MAX_SHOWN).collect();
                (name, Json::from(format!("{start}…")))
            }
            false => (name, value),
        }
    });
    let shown: serde_json::Map<String, Json> = shown.collect();
    (!shown.is_empty()).then_some(Json::Object(shown))
}

impl Driver<'_> {
    /// Appends records and shows what they mean.
    pub(super) fn record(&mut self, at: Timestamp, records: &[Record]) -> Result<()> {
        let lines: Vec<String> = records
            .iter()
            .map(serde_json::to_string)
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| Error::new(format!("a record cannot be written: {e}")))?;
        self.journal.append(self.row.id, self.sequence, at.0, &lines)?;
        self.sequence += lines.len();
        for record in records {
            match record {
                Record::Resolved { node, resolved } => {
                    let name = full_name(&self.names, &self.state, *node, &resolved.name);
                    self.names.insert(*node, name);
                }
                Record::Rerun { reset, .. } => {
                    let gone = self.state.instances().filter(|(_, i)| i.superseded);
                    for node in gone.map(|(node, _)| i64::from(node.0)).collect::<Vec<_>>() {
                        self.journal.supersede_job(self.row.id, node)?;
                    }
                    for node in reset {
                        self.names.remove(node);
                    }
                }
                Record::Retrying { node, reason, due, .. } => {
                    let name = self.names.get(node).cloned().unwrap_or_default();
                    let pause = duration((due.0 - at.0).max(0));
                    let attempt = self.state.instance(*node).attempt;
                    let note = format!(
                        "{name}: attempt {attempt} failed ({}); the next one in {pause}",
                        reason.0
                    );
                    self.ui.show(&Show::Note(&note));
                    self.task_note(*node, "warning", &format!("attempt {attempt}: {}", reason.0))?;
                }
                Record::Settled { node, .. } => self.settled(*node)?,
                _ => {}
            }
            if self.ui.is_live() && !self.ending {
                let (state, names) = (&self.state, &self.names);
                Stands { run: self.row.id, state, names, ui: &mut *self.ui }.say(record);
            }
        }
        Ok(())
    }

    /// A node is over: shown and kept, unless it is only what is in it.
    fn settled(&mut self, node: InstanceId) -> Result<()> {
        let instance = self.state.instance(node);
        let Some(settled) = instance.settled() else { return Ok(()) };
        if node == InstanceId::ROOT || (settled.by == By::Nodes && settled.reason.0.is_empty()) {
            return Ok(());
        }
        let default = &self.state.plan().node(instance.plan).key;
        let name = self
            .names
            .get(&node)
            .cloned()
            .unwrap_or_else(|| full_name(&self.names, &self.state, node, default));
        let outputs = shown(&settled.outputs);
        let (outcome, cached) = (settled.outcome, settled.by == By::Cache);
        let word = if cached { "cached" } else { outcome.as_str() };
        let live = self.live.get(&node);
        let started = live.map(|t| t.started).or(instance.began.map(|t| t.0));
        let path = job_log(&self.data, self.row.id, node.0, self.row.attempt);
        let log = instance.began.filter(|_| path.is_file()).map(|_| path);
        let row = JobRow {
            node: i64::from(node.0),
            attempt: self.row.attempt,
            path: self.state.path(node),
            name: name.clone(),
            outcome: word.to_owned(),
            reason: settled.reason.0.clone(),
            started,
            ended: settled.at.0,
            log: log.as_ref().map(|l| l.to_string_lossy().into_owned()).unwrap_or_default(),
            ..JobRow::default()
        };
        let reason = settled.reason.0.clone();
        let millis = started.filter(|_| !cached).map(|s| row.ended - s);
        self.journal.add_job(self.row.id, &row)?;
        if let Some(outputs) = outputs {
            self.task_note(node, "outputs", &outputs.to_string())?;
        }
        if self.ending {
            // It belongs to the attempt before.
            return Ok(());
        }
        count_one(&mut self.summary.counts, word, 1);
        if matches!(outcome, Outcome::Failure | Outcome::TimedOut) {
            if let Some(log) = &log {
                let bytes = log.metadata().map_or(0, |m| m.len());
                let (job, step) = (name.clone(), self.step_name(node));
                let pieces = vec![(0, bytes)];
                self.summary.failures.push(FailedStep { job, step, log: log.clone(), pieces });
            }
            self.summary.errors.push(format!("{name}: {reason}"));
        }
        self.ui.show(&Show::JobEnded {
            run: self.row.id,
            node: i64::from(node.0),
            job: &name,
            outcome,
            not_run: false,
            reason: &reason,
            millis,
        });
        Ok(())
    }

    /// What a task's one step is called: what runs.
    fn step_name(&self, node: InstanceId) -> String {
        let definition = self.semantics.definition(self.state.instance(node).plan);
        match self.shared.pipeline.executor_of(definition) {
            Some((_, Runs::Container(container))) => container.image.clone(),
            Some((_, Runs::Importer(_))) => "import".to_owned(),
            None => String::new(),
        }
    }

    /// The process of a task is over.
    pub(super) fn step_ended(&mut self, node: InstanceId, end: &TaskEnd) -> Result<()> {
        let Some(live) = self.live.get(&node) else { return Ok(()) };
        let (name, log, started) = (live.name.clone(), live.log.clone(), live.started);
        let from = live.from;
        let bytes = log.metadata().map_or(0, |m| m.len());
        let step = self.step_name(node);
        let millis = now().0 - started;
        let row = StepRow {
            node: i64::from(node.0),
            attempt: self.row.attempt,
            index: 0,
            name: step.clone(),
            outcome: end.outcome.as_str().into(),
            conclusion: end.outcome.as_str().into(),
            reason: end.reason.clone(),
            started: Some(started),
            millis,
            pieces: vec![(from, bytes)],
        };
        self.journal.add_step(self.row.id, &row)?;
        if self.ui.copies_logs() && bytes > from {
            self.journal.commit()?;
        }
        let report = StepReport { outcome: end.outcome, conclusion: end.outcome, reason: None };
        self.ui.show(&Show::StepEnded {
            run: self.row.id,
            node: i64::from(node.0),
            index: 0,
            job: &name,
            step: &step,
            report: &report,
            millis,
            log: &log,
            pieces: &row.pieces,
        });
        Ok(())
    }

    /// Something that people should know of a task.
    pub(super) fn task_note(&mut self, node: InstanceId, kind: &str, text: &str) -> Result<()> {
        let row = NoteRow {
            node: i64::from(node.0),
            attempt: self.row.attempt,
            step: 0,
            kind: kind.to_owned(),
            text: text.to_owned(),
            place: String::new(),
        };
        Ok(self.journal.add_note(self.row.id, &row)?)
    }

    pub(super) fn cache_note(&mut self, node: InstanceId, text: &str) -> Result<()> {
        self.task_note(node, "cache", text)
    }

    /// Notes what a task uses.
    pub(super) fn note_uses(
        &mut self,
        node: InstanceId,
        path: &str,
        inputs: &Bundle,
    ) -> Result<()> {
        for (input, list) in &inputs.artifacts {
            for artifact in list.iter().filter(|a| a.id != 0) {
                self.journal.add_artifact_use(&ArtifactUse {
                    artifact: artifact.id,
                    run: self.row.id,
                    node: i64::from(node.0),
                    attempt: self.row.attempt,
                    task: path.to_owned(),
                    input: input.clone(),
                    at: now().0,
                })?;
            }
        }
        Ok(())
    }

    /// Records what a task made; each artifact gets its number.
    pub(super) fn keep_artifacts(
        &mut self,
        node: InstanceId,
        path: &str,
        outputs: &mut Bundle,
    ) -> Result<()> {
        let definition = self.semantics.definition(self.state.instance(node).plan);
        let anew = match self.shared.pipeline.executor_of(definition) {
            Some((_, Runs::Importer(importer))) => importer.reimport,
            _ => true,
        };
        for (name, list) in &mut outputs.artifacts {
            for artifact in list {
                let kind = &artifact.kind;
                let kind = [&kind.schema_title, &kind.schema_uri, &kind.instance_schema]
                    .into_iter()
                    .find(|t| !t.is_empty())
                    .cloned()
                    .unwrap_or_default();
                let metadata = artifact.metadata.to_string();
                // What was imported before is the same artifact, by which equal tasks are known.
                let known = match anew {
                    true => None,
                    false => self.journal.imported(&artifact.uri, &kind, &metadata)?,
                };
                if let Some(known) = known {
                    artifact.id = known;
                    continue;
                }
                artifact.id = self.journal.add_artifact(&PipelineArtifact {
                    id: 0,
                    run: self.row.id,
                    node: i64::from(node.0),
                    attempt: self.row.attempt,
                    task: path.to_owned(),
                    name: name.clone(),
                    uri: artifact.uri.clone(),
                    kind,
                    metadata,
                    digest: artifact.digest.clone(),
                    bytes: artifact.bytes,
                    at: now().0,
                })?;
            }
        }
        Ok(())
    }

    /// The run is over.
    pub(super) fn conclude(&mut self) -> Result<()> {
        let Some(settled) = self.state.conclusion() else { return Ok(()) };
        let at = settled.at.0;
        self.row.status = settled.result.as_str().to_owned();
        if let Some(outputs) = shown(&settled.outputs) {
            let lines = outputs.as_object().into_iter().flatten();
            self.summary.outputs = lines.map(|(k, v)| format!("{k} = {v}")).collect();
            self.task_note(InstanceId::ROOT, "outputs", &outputs.to_string())?;
        }
        self.summary.status.clone_from(&self.row.status);
        self.summary.millis = at - self.summary.began;
        self.journal.end_run(self.row.id, &self.row.status, at)?;
        self.journal.commit()?;
        self.ui.show(&Show::RunEnded(&self.summary));
        Ok(())
    }
}
