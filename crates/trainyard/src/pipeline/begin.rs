//! A run's beginning and its end: what is looked at first, what is laid ready, what is removed again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use trainyard_engine::RunState;
use trainyard_model::Timestamp;
use trainyard_pipeline::{
    Bundle, Executor as Runs, Lowered, Pipeline, PipelineSemantics, RunFacts, lower, root_inputs,
};
use trainyard_store::{Journal, RunRow};

use super::driver::{Again, Driver, Message};
use super::kept::Kept;
use super::places::{Mirror, clean_root, default_root, runs_folder};
use super::settings::{Executor, Request};
use super::task::{Cards, Forks, Pythons, Shared, Stores, version_of};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::host::environment;
use crate::paths::create_dir;
use crate::run::driver::{now, watch_signals};
use crate::ui::{Event as Show, RunSummary, Ui};

/// Reads the pipeline of a call, which was read without errors before.
pub fn pipeline_of(request: &Request) -> Result<(Pipeline, Lowered)> {
    let package = super::package::of_text(&request.call.path, &request.call.text);
    let pipeline = package.pipeline.ok_or_else(|| {
        Error::new(format!("{} is no pipeline that can be run", request.call.path))
    })?;
    let lowered = lower(&pipeline).map_err(Error::new)?;
    Ok((pipeline, lowered))
}

/// The inputs of the run, or all that is wrong with them.
pub fn inputs_of(request: &Request, pipeline: &Pipeline) -> Result<Bundle> {
    root_inputs(pipeline, &request.call.parameters).map_err(|bad| {
        let mut lines = bad.0.into_iter();
        let first = lines.next().unwrap_or_default();
        let rest: Vec<String> = lines.map(|l| format!("\n  {l}")).collect();
        Error::new(format!("{}: {first}{}", request.call.path, rest.concat())).hint(
            "trainyard pipeline describe FILE lists the parameters; --param NAME=VALUE gives one",
        )
    })
}

/// Runs a pipeline to its end.
pub fn drive(
    mut request: Request,
    journal: Journal,
    data: PathBuf,
    again: Option<Again>,
    ui: &mut Ui,
) -> Result<(Exit, i64)> {
    crate::host::process::adopt_orphans();
    crate::host::cgroup::sweep();
    let (pipeline, lowered) = pipeline_of(&request)?;
    let inputs = inputs_of(&request, &pipeline)?;
    create_dir(&data.join("runs"))?;
    create_dir(&runs_folder(&data))?;
    // As long as it lives nothing that a pipeline's run may need is removed by another one.
    let lock = super::kept::lock(&data)?;
    let gone = journal.abandoned(crate::run::driver::process_is_gone)?;
    // Before what takes its time: others wait for the history.
    journal.commit()?;
    gone.into_iter().for_each(|run| crate::host::process::kill_abandoned(run, &data));
    clear_old_work(&journal, &data)?;
    let (sender, receiver) = channel();
    watch_signals(&sender, || Message::Interrupted)?;
    let pipeline = Arc::new(pipeline);
    let at = now();
    let mut row = match &again {
        Some(again) => {
            let mut row = again.row.clone();
            row.attempt += 1;
            row.process = i64::from(std::process::id());
            if !journal.begin_again(&row)? {
                return Err(Error::new(format!("run {} goes on meanwhile", row.id))
                    .hint("trainyard view shows it"));
            }
            row.status = "running".into();
            row
        }
        None => {
            let mut row = RunRow {
                repository: request.call.directory.to_string_lossy().into_owned(),
                root: request.call.directory.to_string_lossy().into_owned(),
                path: request.call.path.clone(),
                workflow: pipeline.name.clone(),
                event: "pipeline".into(),
                status: "running".into(),
                process: i64::from(std::process::id()),
                started: at.0,
                ..RunRow::default()
            };
            journal.add_run(&mut row)?;
            if let Some(parent) = crate::run::child::parent() {
                journal.add_child(parent, row.id)?;
            }
            row
        }
    };
    let facts = match request.call.facts.clone() {
        Some(facts) => facts,
        None => facts_of(&request, &pipeline, &row, &data, at, &inputs),
    };
    if request.call.facts.is_none() {
        request.call.facts = Some(facts.clone());
        row.title = facts.display_name.clone();
        row.call = serde_json::to_string(&serde_json::json!({"pipeline": request.call}))
            .map_err(|e| Error::new(format!("what re-runs need cannot be kept: {e}")))?;
        journal.set_call(row.id, &row.title, &row.call)?;
    }
    if !facts.workspace.is_empty() {
        create_dir(Path::new(&facts.workspace))?;
    }
    let attempt =
        if row.attempt > 1 { format!(" · attempt {}", row.attempt) } else { String::new() };
    ui.show(&Show::RunBegan {
        run: row.id,
        workflow: &row.workflow,
        path: &row.path,
        title: &format!("{}{attempt}", row.title),
    });
    if request.call.executor == Executor::Auto
        && let Some(note) = where_tasks_run(&pipeline)
    {
        ui.show(&Show::Note(&note));
    }
    let semantics = PipelineSemantics::new(Arc::clone(&pipeline), &lowered, facts.clone());
    let mut env = environment::base(false, &[]);
    environment::set(&mut env, "RUNNER_TRACKING_ID", &format!("trainyard_{}_p", row.id));
    environment::set(&mut env, "RUNNER_TEMP", &format!("{}/", runs_folder(&data).display()));
    let shared = Shared {
        pipeline,
        data: data.clone(),
        facts,
        executor: request.call.executor,
        pull: match request.call.pull {
            Some(true) => trainyard_executor_container::Pull::Always,
            Some(false) => trainyard_executor_container::Pull::Never,
            None => trainyard_executor_container::Pull::Missing,
        },
        cluster: request.cluster,
        directory: request.call.directory.clone(),
        engines: Arc::default(),
        stores: Stores::default(),
        kept: Kept::new(&data),
        cards: Cards::default(),
        forks: Forks::default(),
        mirror: Mirror::new(&data, row.id),
        pythons: Pythons::default(),
        env,
    };
    let summary = RunSummary {
        run: row.id,
        workflow: row.workflow.clone(),
        began: at.0,
        pipeline: true,
        ..RunSummary::default()
    };
    let mut driver = Driver {
        journal,
        ui,
        data,
        row,
        state: RunState::empty(),
        semantics,
        shared: Arc::new(shared),
        sequence: 0,
        names: BTreeMap::new(),
        summary,
        live: BTreeMap::new(),
        ending: false,
        performed: BTreeMap::new(),
        queue: VecDeque::new(),
        fingerprints: BTreeMap::new(),
        timers: BTreeSet::new(),
        sender,
        jobs: request.call.jobs.max(1),
        interrupts: 0,
        threads: Vec::new(),
    };
    let worked = driver.begin(lowered, &inputs, again, at).and_then(|()| driver.work(&receiver));
    if worked.is_err() {
        driver.live.values().for_each(|t| t.stop(true));
    }
    let live = std::mem::take(&mut driver.live).into_values().map(|t| t.thread);
    for thread in live.chain(std::mem::take(&mut driver.threads)) {
        // A thread that panicked has said so; there is nothing to add.
        let _ = thread.join();
    }
    driver.shared.forks.close();
    crate::host::process::kill_leftovers(&format!("trainyard_{}_p", driver.row.id));
    clear_work(&driver.data, driver.row.id);
    if lock.alone() {
        let (pipeline, uuid) = (&driver.shared.pipeline.name, &driver.shared.facts.uuid);
        driver.shared.kept.drop_files_of_others(pipeline, uuid);
    }
    worked?;
    let failed = driver.row.status != "success";
    let exit = match (driver.interrupts > 0, failed) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Success,
    };
    Ok((exit, driver.row.id))
}

/// Removes the folders of a run's tasks.
fn clear_work(data: &Path, run: i64) {
    let work = runs_folder(data).join("work");
    let own = format!("{run}-");
    for entry in std::fs::read_dir(&work).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            crate::host::workspace::remove(&entry.path());
        }
    }
}

/// Removes the folders of tasks of runs that go on no more, however they ended.
fn clear_old_work(journal: &Journal, data: &Path) -> Result<()> {
    let entries = std::fs::read_dir(runs_folder(data).join("work"));
    let names = entries.into_iter().flatten().flatten().map(|e| e.file_name());
    let runs: BTreeSet<i64> =
        names.filter_map(|n| n.to_str()?.split('-').next()?.parse().ok()).collect();
    for run in runs {
        if journal.run(run)?.is_none_or(|row| row.status != "running") {
            clear_work(data, run);
        }
    }
    Ok(())
}

/// What `auto` makes of the images; none where all of them are processes.
fn where_tasks_run(pipeline: &Pipeline) -> Option<String> {
    let images = pipeline.executors.iter().filter_map(|(_, executor)| match executor {
        Runs::Container(c) if !c.image.starts_with("argostub/") => Some(c.image.as_str()),
        _ => None,
    });
    let images: BTreeSet<&str> = images.collect();
    let (host, inside): (Vec<&str>, Vec<&str>) =
        images.into_iter().partition(|image| version_of(image).is_some());
    if inside.is_empty() {
        return None;
    }
    let host = match host.is_empty() {
        true => String::new(),
        false => format!("; as processes: {}", host.join(", ")),
    };
    Some(format!("in containers, as they are no Python images: {}{host}", inside.join(", ")))
}

fn facts_of(
    request: &Request,
    pipeline: &Pipeline,
    row: &RunRow,
    data: &Path,
    at: Timestamp,
    inputs: &Bundle,
) -> RunFacts {
    let time = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    let created = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let seed = format!("{}/{}/{}", data.display(), row.id, at.0);
    let uuid = super::task::uuid(&seed, 0, 0);
    let root = request
        .call
        .root
        .clone()
        .or_else(|| Some(pipeline.default_root.clone()).filter(|r| !r.is_empty()))
        .map_or_else(|| default_root(data), |root| clean_root(&root));
    let workspace = pipeline.config.as_ref().and_then(|c| c.get("workspace"));
    let workspace = workspace
        .map(|_| runs_folder(data).join("workspaces").join(&uuid).to_string_lossy().into_owned());
    let display = match pipeline.display_name.is_empty() {
        true => &pipeline.name,
        false => &pipeline.display_name,
    };
    RunFacts {
        display_name: format!("{display} {}", row.number),
        resource_name: format!("{}-{}", pipeline.name, &uuid[..5]),
        uuid,
        scheduled: created.clone(),
        created,
        workspace: workspace.unwrap_or_default(),
        root,
        no_cache: request.call.no_cache,
        parameters: inputs
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), trainyard_pipeline::text_of(value)))
            .collect(),
    }
}
