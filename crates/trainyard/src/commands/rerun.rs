//! `trainyard rerun`: a new attempt at a run, whole or in part.

use std::collections::BTreeMap;

use trainyard_engine::{
    AttemptState, Cause, Command, InstanceId, NodeState, RunState, Strength, apply, decide,
};
use trainyard_model::{Outcome, Timestamp, Value};
use trainyard_pipeline::PipelineSemantics;
use trainyard_plan::Semantics;
use trainyard_store::{Journal, RunRow};
use trainyard_workflow::semantics::WorkflowSemantics;

use super::run::read_dotenv;
use super::runs::status;
use super::view::find;
use super::{means_job, pipeline, shell};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::git::Repository;
use crate::paths::data_dir;
use crate::pipeline::begin::pipeline_of;
use crate::pipeline::settings::PipelineCall;
use crate::run::call::{Call, Recalled, SecretSource, secrets_again};
use crate::run::driver::{Again, Planned, World, drive, names_of};
use crate::run::files::Tree;
use crate::run::kept::{self, Keep, Kept};
use crate::ui::{Event as Show, Output, Ui};

/// What is asked for.
pub struct Request {
    /// The run; the latest if none.
    pub run: Option<i64>,
    /// Only jobs that failed, and what depends on them.
    pub failed: bool,
    /// Only that job, and what depends on it.
    pub job: Option<String>,
    /// The step that the job begins with, by name or number; empty for the one that failed.
    pub from: Option<String>,
    /// Secrets given now.
    pub secrets: Vec<(String, String)>,
    /// Jobs at once.
    pub jobs: Option<usize>,
    /// When workspaces are kept; as in the run if it is not said.
    pub keep: Option<Keep>,
    /// Whether a failure opens a shell.
    pub shell_on_failure: bool,
    /// How it is shown.
    pub output: Output,
}

/// A run as its records have it.
pub struct Replayed {
    /// Its state, over.
    pub state: RunState,
    /// Commands that first end it, if it never ended.
    pub ending: Vec<Command>,
    /// How many records it has.
    pub sequence: usize,
}

/// Begins it.
pub fn rerun(request: Request) -> Result<Exit> {
    let data = data_dir()?;
    let journal = Journal::open(&data)?;
    let row = find(&journal, request.run)?;
    if status(&row) == "running" {
        return Err(Error::new(format!("run {} is not over", row.id)));
    }
    if let Some(call) = pipeline::call_of(&row) {
        return of_pipeline(request, journal, row, call?);
    }
    let again = |wanted: &[(String, SecretSource)]| {
        secrets_again(wanted, request.secrets.clone(), read_dotenv)
    };
    let Recalled { mut settings, missing, event, lowered, inputs } =
        Call::recall(&row.call, again)?;
    if let Some(name) = missing.first() {
        return Err(Error::new(format!("the run had the secret {name}, whose value is not kept"))
            .hint(format!("give it again: --secret {name}=VALUE")));
    }
    settings.keep = request.keep.unwrap_or(settings.keep);
    settings.output = request.output;
    settings.jobs = request.jobs.unwrap_or(settings.jobs).max(1);
    let vars = settings.vars.iter().map(|(k, v)| (k.to_uppercase(), Value::from(v.as_str())));
    let semantics = WorkflowSemantics::new(
        &lowered,
        Value::Object(std::sync::Arc::new(event.github.clone())),
        Value::object(vars),
    );
    let replayed = replay(&journal, &row, &semantics)?;
    if replayed.state.plan() != &lowered.plan {
        return Err(Error::new("this version makes another plan of the workflow than the run has")
            .hint("trainyard run makes a new run"));
    }
    let names = names_of(&replayed.state);
    let chosen = choose(&replayed.state, &names, &request, row.id)?;
    let (nodes, resume, resumed) = match &request.from {
        None => (chosen, None, None),
        Some(step) => {
            let (node, step, kept) = from_step(&data, &row, &replayed.state, &chosen, step)?;
            // From here on it is this call's; what ends before the job begins puts it aside again.
            (vec![node], Some((node, step)), Some(kept.take(&data)?))
        }
    };
    let begin = Command::Rerun { nodes, resume };
    let mut probe = replayed.state.clone();
    if let Err(refusal) = decide(&mut probe, &begin, Timestamp::default(), &semantics) {
        return Err(Error::new(format!("run {} cannot begin again: {refusal}", row.id)));
    }
    let mut commands = replayed.ending.clone();
    commands.push(begin);
    let repo = Repository::find(&settings.directory).map_err(|error| {
        error.hint(format!("the run was of the repository in {}", settings.directory.display()))
    })?;
    let tree = match event.work_tree {
        true => Tree::Work(repo.root.clone()),
        false => Tree::Commit(repo.clone(), event.head.sha.clone()),
    };
    let mut ui = Ui::new(settings.output);
    let root = &lowered.files[0];
    if event.work_tree
        && tree.read(&root.path).ok().flatten().is_some_and(|t| t != root.source.text())
    {
        let note = format!(
            "{} has changed since: a re-run is of the workflow as it was (trainyard run takes the new one)",
            root.path
        );
        ui.show(&Show::Note(&note));
    }
    if resumed.is_some() && event.work_tree {
        let note = "it goes on in the workspace as it was kept: what changed in the repository since is not in it";
        ui.show(&Show::Note(note));
    }
    if resumed.as_ref().is_some_and(kept::Held::in_container) {
        let note = "its container is a new one: what earlier steps left outside the workspace and the home folder is not in it";
        ui.show(&Show::Note(note));
    }
    let (file, run) = (std::sync::Arc::clone(root), row.id);
    let (state, sequence) = (replayed.state_before(&journal, run)?, replayed.sequence);
    let again = Some(Again { row, state, sequence, commands, resumed });
    let world = World::new(&settings, &repo, &event, &tree, data);
    let exit = drive(&world, journal, vec![Planned { file, lowered, inputs, again }], &mut ui)?;
    match exit == Exit::Failure && request.shell_on_failure {
        true => shell::after_failure(&[run], &settings, exit),
        false => Ok(exit),
    }
}

/// Begins a run of a pipeline again. `--from TASK` is that task and all that depends on it: a task has
/// no steps to go on from.
fn of_pipeline(
    mut request: Request,
    journal: Journal,
    row: RunRow,
    call: PipelineCall,
) -> Result<Exit> {
    if let Some(task) = request.from.take().filter(|t| !t.is_empty()) {
        request.job = request.job.or(Some(task));
    } else if request.job.is_none() {
        // Alone it means what failed, as for workflows.
        request.failed |= request.from.is_some();
    }
    let output = request.output;
    let asked = crate::pipeline::settings::Request {
        call,
        cluster: crate::pipeline::settings::Cluster::default(),
        output,
    };
    let (pipeline, lowered) = pipeline_of(&asked)?;
    let call = asked.call;
    let facts = call.facts.clone().unwrap_or_default();
    let semantics = PipelineSemantics::new(std::sync::Arc::new(pipeline), &lowered, facts);
    let replayed = replay(&journal, &row, &semantics)?;
    if replayed.state.plan() != &lowered.plan {
        return Err(Error::new("this version makes another plan of the pipeline than the run has")
            .hint("trainyard pipeline run makes a new run"));
    }
    let names = names_of(&replayed.state);
    let nodes = choose(&replayed.state, &names, &request, row.id)?;
    let begin = Command::Rerun { nodes: nodes.clone(), resume: None };
    let mut probe = replayed.state.clone();
    if let Err(refusal) = decide(&mut probe, &begin, Timestamp::default(), &semantics) {
        return Err(Error::new(format!("run {} cannot begin again: {refusal}", row.id)));
    }
    let (state, sequence) = (replayed.state_before(&journal, row.id)?, replayed.sequence);
    let (ending, jobs) = (replayed.ending, request.jobs);
    let rerun = pipeline::Rerun { row, call, state, sequence, ending, nodes, jobs, output };
    pipeline::rerun(rerun, journal)
}

impl Replayed {
    /// The state as the records have it, before what ends it.
    fn state_before(&self, journal: &Journal, run: i64) -> Result<RunState> {
        match self.ending.is_empty() {
            true => Ok(self.state.clone()),
            false => records(journal, run).map(|(state, _)| state),
        }
    }
}

fn records(journal: &Journal, run: i64) -> Result<(RunState, usize)> {
    let records = journal.records(run)?;
    let mut state = RunState::empty();
    for record in &records {
        let record = serde_json::from_str(record)
            .map_err(|e| Error::new(format!("a record of run {run} cannot be read: {e}")))?;
        apply(&mut state, &record);
    }
    if records.is_empty() {
        return Err(Error::new(format!("run {run} has no records: it never began")));
    }
    Ok((state, records.len()))
}

/// The run, and what ends it if its process died.
fn replay(journal: &Journal, row: &RunRow, semantics: &dyn Semantics) -> Result<Replayed> {
    let (mut state, sequence) = records(journal, row.id)?;
    let mut ending = Vec::new();
    if state.conclusion().is_none() {
        let (cause, strength) = (Cause::User, Strength::Force);
        ending.push(Command::Cancel { target: InstanceId::ROOT, cause, strength });
        for (node, instance) in state.instances() {
            let leased = matches!(
                instance.state,
                NodeState::Active { state: AttemptState::Leased | AttemptState::Running, .. }
            );
            if leased {
                ending.push(Command::Lost { node, epoch: instance.epoch });
            }
        }
        for command in &ending {
            // A cancel may have been on its way already.
            let _ = decide(&mut state, command, Timestamp::default(), semantics);
        }
    }
    Ok(Replayed { state, ending, sequence })
}

/// The nodes that are asked for; none for all.
fn choose(
    state: &RunState,
    names: &BTreeMap<InstanceId, String>,
    request: &Request,
    run: i64,
) -> Result<Vec<InstanceId>> {
    let current = || state.instances().filter(|(id, i)| !i.superseded && *id != InstanceId::ROOT);
    let failed = |id: &InstanceId| {
        let settled = state.instance(*id).settled();
        settled.is_some_and(|s| {
            !matches!(s.outcome, Outcome::Success | Outcome::Skipped)
                && s.by != trainyard_engine::By::Nodes
        })
    };
    let mut nodes: Vec<InstanceId> = match &request.job {
        Some(job) => {
            let mut found = named(state, names, job, current().map(|(id, _)| id))?;
            let inner =
                |id: &InstanceId| state.instance(*id).parent.is_some_and(|p| found.contains(&p));
            let below = |id: &InstanceId| {
                let mut at = Some(*id);
                while let Some(current) = at {
                    if found.contains(&current) {
                        return true;
                    }
                    at = state.instance(current).parent;
                }
                false
            };
            if request.failed || request.from.is_some() {
                // Which of what is below it: that is seen next.
                current().map(|(id, _)| id).filter(below).collect()
            } else {
                // Of a matrix all legs are below the one that is named.
                let outer: Vec<InstanceId> =
                    found.iter().filter(|id| !inner(id)).copied().collect();
                found = outer;
                found
            }
        }
        None => current()
            .map(|(id, _)| id)
            .filter(|_| request.failed || request.from.is_some())
            .collect(),
    };
    if let (Some(job), true) = (&request.job, nodes.is_empty()) {
        return Err(Error::new(format!("run {run} has no job '{job}'"))
            .hint(format!("trainyard view {run} shows its jobs")));
    }
    if request.failed || (request.from.is_some() && request.job.is_none()) {
        nodes.retain(failed);
        if nodes.is_empty() {
            let error = Error::new(format!("no job of run {run} failed"));
            return Err(error.hint(match request.from.is_some() {
                true => "name the job that is to go on from a step: --job NAME".to_owned(),
                false => format!("trainyard rerun {run} runs all of them again"),
            }));
        }
    }
    Ok(nodes)
}

/// The nodes that a name means: an exact path comes first; names that mean jobs in several places are
/// asked about.
fn named(
    state: &RunState,
    names: &BTreeMap<InstanceId, String>,
    job: &str,
    all: impl Iterator<Item = InstanceId>,
) -> Result<Vec<InstanceId>> {
    let all: Vec<InstanceId> = all.collect();
    let exact: Vec<InstanceId> =
        all.iter().copied().filter(|id| state.path(*id).eq_ignore_ascii_case(job)).collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let name = |id: &InstanceId| names.get(id).map_or("", String::as_str);
    let found: Vec<InstanceId> =
        all.iter().copied().filter(|id| means_job(job, name(id), &state.path(*id))).collect();
    let plans: std::collections::BTreeSet<_> =
        found.iter().map(|id| state.instance(*id).plan).collect();
    if plans.len() > 1 {
        let paths: Vec<String> = found.iter().map(|id| state.path(*id)).collect();
        return Err(Error::new(format!("'{job}' means several jobs"))
            .hint(format!("name one: {}", paths.join(", "))));
    }
    Ok(found)
}

/// The leaf, the step it begins with, and its workspace.
fn from_step(
    data: &std::path::Path,
    row: &RunRow,
    state: &RunState,
    chosen: &[InstanceId],
    step: &str,
) -> Result<(InstanceId, u32, Kept)> {
    let run = row.id;
    let with: Vec<(InstanceId, Kept)> = chosen
        .iter()
        .filter(|id| state.instance(**id).fan.is_none())
        .filter_map(|id| Some((*id, kept::find(data, run, i64::from(id.0))?)))
        .collect();
    let (node, kept) = match with.len() {
        1 => with.into_iter().next(),
        0 => None,
        _ => {
            let names: Vec<&str> = with.iter().map(|(_, k)| k.job.as_str()).collect();
            return Err(Error::new(format!("several jobs could go on: {}", names.join(", ")))
                .hint("name one: --job NAME"));
        }
    }
    .ok_or_else(|| {
        Error::new("the workspace of the job is not kept: it cannot go on from a step").hint(
            "without --from the job runs again from its start; --keep-workspaces always keeps those of jobs that succeed, too",
        )
    })?;
    let named = |text: &str| {
        let number = text.parse::<usize>().ok().and_then(|n| n.checked_sub(kept.pre_stages + 1));
        let ends = kept.marks.iter().filter_map(|m| m.ends.last());
        let by_name = ends.filter(|e| e.name.eq_ignore_ascii_case(text)).map(|e| e.index).next();
        let reached = kept.marks.last().map_or(0, |m| m.index);
        by_name.or(number.filter(|n| *n <= reached))
    };
    let index = match step {
        "" => {
            let failed = |m: &&trainyard_job::StepMark| {
                m.ends
                    .last()
                    .is_some_and(|e| !matches!(e.conclusion, Outcome::Success | Outcome::Skipped))
            };
            let found = kept.marks.iter().find(failed).map(|m| m.index);
            if found.is_none() {
                return Err(Error::new(format!(
                    "no step of '{}' failed or was cut short",
                    kept.job
                ))
                .hint("name the step to go on from: --from STEP"));
            }
            found
        }
        text => named(text),
    };
    let Some(index) = index else {
        let steps: Vec<String> = kept
            .marks
            .iter()
            .filter_map(|m| m.ends.last())
            .map(|e| format!("{}: {}", e.index + 1 + kept.pre_stages, e.name))
            .collect();
        return Err(Error::new(format!("the job '{}' has no step '{step}'", kept.job))
            .hint(format!("its steps: {}", steps.join("; "))));
    };
    let before = kept.marks.iter().rfind(|m| m.index < index);
    if let Some(why) = before.and_then(|m| m.blocked.as_ref()) {
        return Err(Error::new(format!("the job cannot go on from that step: {why}"))
            .hint(format!("from its start: trainyard rerun {run} --job '{}'", kept.job)));
    }
    Ok((node, u32::try_from(index).unwrap_or(u32::MAX), kept))
}
