//! `trainyard pipeline`: compiled Kubeflow pipelines, run and looked at.

mod check;
mod describe;
mod graph;
mod run;

use std::path::PathBuf;

use clap::Subcommand;
use trainyard_diagnostics::{FileReport, has_errors, render_text};
use trainyard_pipeline::Pipeline;

use super::view::Drawing;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::pipeline::package::{Package, open};
use crate::pipeline::settings::Executor;
use crate::ui::Output;

pub use run::{Rerun, call_of, project_root, rerun};

/// What is asked for.
#[derive(Subcommand)]
pub enum PipelineCommand {
    /// Run a compiled pipeline here
    Run(Box<RunArgs>),
    /// Check compiled pipelines
    Check {
        /// Files: .yaml, .json, .zip or .tar.gz
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a pipeline's graph
    Graph {
        /// The file
        file: PathBuf,
        /// As what
        #[arg(long = "as", value_enum, default_value = "tree", value_name = "AS")]
        drawing: Drawing,
    },
    /// Say what a pipeline takes, gives and runs
    Describe {
        /// The file
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// A run.
#[derive(clap::Args)]
pub struct RunArgs {
    /// The compiled pipeline: .yaml, .json, .zip or .tar.gz
    pub file: PathBuf,
    /// A parameter, NAME=VALUE
    #[arg(long = "param", short = 'p')]
    pub parameters: Vec<String>,
    /// A file of parameters, YAML or JSON; --param counts more
    #[arg(long)]
    pub params: Option<PathBuf>,
    /// Where artifacts are kept: a folder, or s3://, gs://, minio:// BUCKET/PREFIX
    #[arg(long)]
    pub root: Option<String>,
    /// Run every task, whatever ran before
    #[arg(long)]
    pub no_cache: bool,
    /// Where tasks run
    #[arg(long, value_enum, default_value = "auto")]
    pub executor: Executor,
    /// Tasks at once; the number of cores when not given
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Pull images even where they are on this machine
    #[arg(long, conflicts_with = "offline")]
    pub pull: bool,
    /// Pull no image
    #[arg(long)]
    pub offline: bool,
    /// How the run is shown
    #[arg(long, value_enum)]
    pub output: Option<Output>,
}

/// Does it.
pub fn run(command: PipelineCommand) -> Result<Exit> {
    match command {
        PipelineCommand::Run(args) => run::run(*args),
        PipelineCommand::Check { files, json } => check::check(&files, json),
        PipelineCommand::Graph { file, drawing } => graph::graph(&file, drawing),
        PipelineCommand::Describe { file, json } => describe::describe(&file, json),
    }
}

/// The pipeline of a package, if it can be run; else what is wrong with it is shown.
fn valid(package: Package) -> Result<(String, Pipeline)> {
    let Package { source, pipeline, diagnostics } = package;
    if !diagnostics.is_empty() {
        let report = [FileReport { source: &source, diagnostics: &diagnostics }];
        eprint!("{}", render_text(&report, false));
    }
    match pipeline.filter(|_| !has_errors(&diagnostics)) {
        Some(pipeline) => Ok((source.text().to_owned(), pipeline)),
        None => Err(Error::new(format!("{} is no pipeline that can be run", source.path()))),
    }
}

/// Reads a package that can be run.
fn read(file: &std::path::Path) -> Result<(String, Pipeline)> {
    valid(open(file)?)
}
