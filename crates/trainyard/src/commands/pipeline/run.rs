//! `trainyard pipeline run`, and re-runs of what it ran.

use serde_json::Map;
use trainyard_engine::{Command, InstanceId, RunState};
use trainyard_store::{Journal, RunRow};

use super::RunArgs;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::paths::data_dir;
use crate::pipeline::begin::{drive, inputs_of};
use crate::pipeline::driver::Again;
use crate::pipeline::parameters::{of_file, of_line};
use crate::pipeline::places::refused_root;
use crate::pipeline::settings::{PipelineCall, Request};
use crate::run::project::Project;
use crate::ui::{Output, Ui};

/// Runs a pipeline.
pub fn run(args: RunArgs) -> Result<Exit> {
    let (text, pipeline) = super::read(&args.file)?;
    let mut parameters = match &args.params {
        Some(file) => of_file(file)?,
        None => Map::new(),
    };
    let mut given = Vec::new();
    for text in &args.parameters {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                given.push((name.to_owned(), value.to_owned()))
            }
            _ => return Err(Error::new(format!("--param {text}: expected NAME=VALUE"))),
        }
    }
    parameters.extend(of_line(&pipeline, &given)?);
    let root = args.root.as_deref().unwrap_or(&pipeline.default_root);
    if let Some(why) = refused_root(root) {
        return Err(Error::new(why));
    }
    let directory = std::env::current_dir()
        .map_err(|e| Error::new(format!("the current folder cannot be found: {e}")))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cluster = Project::read(&project_root(&directory))?.pipeline;
    let request = Request {
        call: PipelineCall {
            path: args.file.display().to_string(),
            text,
            parameters,
            root: args.root,
            no_cache: args.no_cache,
            executor: args.executor,
            jobs: args.jobs.unwrap_or(cores).max(1),
            pull: match (args.pull, args.offline) {
                (_, true) => Some(false),
                (true, false) => Some(true),
                (false, false) => None,
            },
            directory,
            facts: None,
        },
        cluster,
        output: args.output.unwrap_or_else(default_output),
    };
    // Before anything is made.
    inputs_of(&request, &pipeline)?;
    let data = data_dir()?;
    let journal = Journal::open(&data)?;
    let mut ui = Ui::new(request.output);
    drive(request, journal, data, None, &mut ui).map(|(exit, _)| exit)
}

/// In a step of a job failures are annotations of the job.
fn default_output() -> Output {
    let in_step = std::env::var("GITHUB_ACTIONS").is_ok_and(|v| v == "true");
    match Output::default_for_stdout() {
        Output::Plain if in_step => Output::Github,
        output => output,
    }
}

/// Where `trainyard.toml` is: the repository's root, or here.
pub fn project_root(directory: &std::path::Path) -> std::path::PathBuf {
    let found = directory
        .ancestors()
        .find(|d| d.join(crate::run::project::FILE).is_file() || d.join(".git").exists());
    found.unwrap_or(directory).to_owned()
}

/// The call of a run of a pipeline; none for runs of workflows.
pub fn call_of(row: &RunRow) -> Option<Result<PipelineCall>> {
    let text = row.call.strip_prefix("{\"pipeline\":")?.strip_suffix('}')?;
    Some(
        serde_json::from_str(text).map_err(|e| {
            Error::new(format!("what run {} was asked for cannot be read: {e}", row.id))
        }),
    )
}

/// What is asked of a re-run of a pipeline.
pub struct Rerun {
    /// The run.
    pub row: RunRow,
    /// What it was asked for.
    pub call: PipelineCall,
    /// Its state.
    pub state: RunState,
    /// How many records it has.
    pub sequence: usize,
    /// What first ends it.
    pub ending: Vec<Command>,
    /// What begins again; all if none is named.
    pub nodes: Vec<InstanceId>,
    /// Tasks at once.
    pub jobs: Option<usize>,
    /// How it is shown.
    pub output: Output,
}

/// Begins a run again.
pub fn rerun(mut rerun: Rerun, journal: Journal) -> Result<Exit> {
    let cluster = Project::read(&project_root(&rerun.call.directory))?.pipeline;
    rerun.call.jobs = rerun.jobs.unwrap_or(rerun.call.jobs);
    let request = Request { call: rerun.call, cluster, output: rerun.output };
    let mut commands = rerun.ending;
    commands.push(Command::Rerun { nodes: rerun.nodes, resume: None });
    let again = Again { row: rerun.row, state: rerun.state, sequence: rerun.sequence, commands };
    let mut ui = Ui::new(request.output);
    drive(request, journal, data_dir()?, Some(again), &mut ui).map(|(exit, _)| exit)
}
