//! How runs begin: their rows in the history, their contexts, their engines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trainyard_engine::{Command, RunState, start};
use trainyard_model::{Object, Value};
use trainyard_workflow::semantics::WorkflowSemantics;

use super::{Driver, Planned, Run, names_of, now};
use crate::error::{Error, Result};
use crate::run::call::Call;
use crate::run::event::Event;
use crate::ui::{Event as Show, RunSummary};
use trainyard_store::RunRow;

impl Driver<'_, '_> {
    pub(super) fn begin(&mut self, planned: Vec<Planned>) -> Result<()> {
        for run in self.journal.abandoned(process_is_gone)? {
            crate::host::process::kill_abandoned(run, &self.world.data);
        }
        let at = now();
        for plan in planned {
            if plan.again.is_some() {
                self.begin_again(plan)?;
                continue;
            }
            let index = self.runs.len();
            let workflow = &plan.file.workflow;
            let name = workflow.name.clone().unwrap_or_else(|| plan.file.path.clone());
            let event = self.world.event;
            let mut row = RunRow {
                repository: event.repository.clone(),
                root: self.world.repo.root.to_string_lossy().into_owned(),
                path: plan.file.path.clone(),
                workflow: name.clone(),
                event: event.name.clone(),
                reference: event.reference.clone(),
                sha: event.head.sha.clone(),
                status: "running".into(),
                process: i64::from(std::process::id()),
                started: at.0,
                call: self.call(&plan)?,
                ..RunRow::default()
            };
            self.journal.add_run(&mut row)?;
            let github = self.github(&row, &plan);
            let semantics = self.semantics(&plan, &github);
            row.title = title(&plan, &semantics, event);
            self.journal.set_title(row.id, &row.title)?;
            self.ui.show(&Show::RunBegan {
                run: row.id,
                workflow: &name,
                path: &row.path,
                title: &row.title,
            });
            let (state, records) = start(plan.lowered.plan, plan.inputs, at, &semantics);
            self.runs.push(run_of(row, semantics, state, github));
            self.record(index, at, &records)?;
        }
        // The runs' numbers name their folders: they are taken before the first of those is made.
        self.journal.commit()?;
        self.unsettled.extend(0..self.runs.len());
        self.settle_down()
    }

    /// Begins a new attempt at a run.
    fn begin_again(&mut self, mut plan: Planned) -> Result<()> {
        let Some(again) = plan.again.take() else { return Ok(()) };
        let index = self.runs.len();
        let mut row = again.row;
        let before = row.attempt;
        row.attempt += 1;
        row.process = i64::from(std::process::id());
        if !self.journal.begin_again(&row)? {
            return Err(Error::new(format!("run {} goes on meanwhile", row.id))
                .hint("trainyard view shows it"));
        }
        row.status = "running".into();
        let github = self.github(&row, &plan);
        let semantics = self.semantics(&plan, &github);
        self.ui.show(&Show::RunBegan {
            run: row.id,
            workflow: &row.workflow,
            path: &row.path,
            title: &format!("{} · attempt {}", row.title, row.attempt),
        });
        let mut run = run_of(row, semantics, again.state, github);
        run.sequence = again.sequence;
        run.resumed = again.resumed;
        run.summary.began = now().0;
        run.names = names_of(&run.state);
        self.runs.push(run);
        for command in &again.commands {
            // What ends an attempt that never ended belongs to that one.
            let begins = matches!(command, Command::Rerun { .. });
            self.runs[index].row.attempt = if begins { before + 1 } else { before };
            self.runs[index].ending = !begins;
            self.tell(index, command)?;
        }
        Ok(())
    }

    fn semantics(&self, plan: &Planned, github: &Value) -> WorkflowSemantics {
        let vars = self.world.vars.clone();
        let mut semantics = WorkflowSemantics::new(&plan.lowered, github.clone(), vars);
        semantics.legs.clone_from(&self.world.settings.matrix);
        semantics
    }

    /// What a re-run will need.
    fn call(&self, plan: &Planned) -> Result<String> {
        let world = self.world;
        let call = Call::new(world.settings, world.event, &plan.lowered, &plan.inputs);
        serde_json::to_string(&call)
            .map_err(|e| Error::new(format!("what re-runs need cannot be kept: {e}")))
    }

    fn github(&self, row: &RunRow, plan: &Planned) -> Value {
        let event = self.world.event;
        let mut github = Object::clone(&event.github);
        let reference = github.get("ref").map(|r| r.to_text().into_owned()).unwrap_or_default();
        let workflow = plan.file.workflow.name.clone().unwrap_or_else(|| plan.file.path.clone());
        for (name, value) in [
            ("run_id", row.id.to_string()),
            ("run_number", row.number.to_string()),
            ("run_attempt", row.attempt.to_string()),
            ("workflow", workflow),
            ("workflow_ref", format!("{}/{}@{reference}", event.repository, plan.file.path)),
            ("workflow_sha", event.head.sha.clone()),
        ] {
            github.insert(name, Value::from(value));
        }
        // A tick names the schedule that it is of.
        let schedule = plan.file.workflow.trigger("schedule").and_then(|t| t.schedule.first());
        if let (Some(schedule), "schedule", Some(Value::Object(payload))) =
            (schedule, event.name.as_str(), github.get("event"))
            && payload.get("schedule").is_none()
        {
            let mut payload = Object::clone(payload);
            payload.insert("schedule", Value::from(schedule.text.as_str()));
            github.insert("event", Value::Object(Arc::new(payload)));
        }
        // A dispatch carries the texts of all inputs, defaults included.
        if let ("workflow_dispatch", None, Value::Object(inputs), Some(Value::Object(payload))) = (
            event.name.as_str(),
            &self.world.settings.request.payload,
            &plan.inputs,
            github.get("event"),
        ) {
            let texts =
                inputs.iter().map(|(k, v)| (k.to_owned(), Value::from(v.to_text().as_ref())));
            let mut payload = Object::clone(payload);
            payload.insert("inputs", Value::object(texts));
            github.insert("event", Value::Object(Arc::new(payload)));
        }
        Value::Object(Arc::new(github))
    }
}

fn run_of(row: RunRow, semantics: WorkflowSemantics, state: RunState, github: Value) -> Run {
    let (run, workflow, began) = (row.id, row.workflow.clone(), row.started);
    Run {
        summary: RunSummary { run, workflow, began, ..RunSummary::default() },
        row,
        semantics,
        state,
        event_text: payload_text(&github),
        github,
        performed: BTreeMap::new(),
        sequence: 0,
        jobs: BTreeMap::new(),
        names: BTreeMap::new(),
        waits: BTreeMap::new(),
        resumed: None,
        not_run: BTreeSet::new(),
        over: false,
        ending: false,
    }
}

/// `run-name`, else what GitHub shows: the commit's first line, or the workflow's name.
fn title(plan: &Planned, semantics: &WorkflowSemantics, event: &Event) -> String {
    if let Some(template) = &plan.file.workflow.run_name {
        let named = semantics.evaluate_early(template, &plan.inputs);
        if let Some(name) = named.filter(|n| !n.trim().is_empty()) {
            return name;
        }
    }
    match event.name.as_str() {
        "push" | "pull_request" | "pull_request_target" => {
            event.head.message.lines().next().unwrap_or_default().to_owned()
        }
        _ => plan.file.workflow.name.clone().unwrap_or_else(|| plan.file.path.clone()),
    }
}

fn payload_text(github: &Value) -> String {
    let payload = github.get("event").cloned().unwrap_or_default();
    serde_json::to_string_pretty(&payload).unwrap_or_else(|_| "{}".into())
}

/// Whether a process is no more.
pub fn process_is_gone(process: i64) -> bool {
    !std::path::Path::new(&format!("/proc/{process}")).exists()
}
