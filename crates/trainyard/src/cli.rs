//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use trainyard_executor_container::Pull;
use trainyard_job::container::ContainerSpec;

use crate::actions::places::{GITHUB, Places};
use crate::builtin;
use crate::commands::actions::{self, ActionsCommand};
use crate::commands::artifacts::{self, ArtifactsCommand};
use crate::commands::cache::{self, CacheCommand};
use crate::commands::logs::Which;
use crate::commands::pipeline::{self, PipelineCommand};
use crate::commands::run::{Instead, output_or_default, read_dotenv};
use crate::commands::view::{As, Drawing};
use crate::commands::{
    check, doctor, du, eval, lineage, logs, prune, prune_pipelines, rerun, run, runs, shell, view,
};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::run::Settings;
use crate::run::call::SecretSource;
use crate::run::event::EventRequest;
use crate::run::kept::Keep;
use crate::ui::Output;
use crate::ui::text::span;

#[derive(Parser)]
#[command(
    name = "trainyard",
    version,
    about = "CI/CD for machine learning: GitHub Actions workflows and Kubeflow pipelines, run faithfully on this machine"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run what an event would run, here
    Run(Box<RunArgs>),
    /// Check workflow and action files
    Check {
        /// Files; all of the repository when none is given
        files: Vec<PathBuf>,
        /// How findings are shown
        #[arg(long, value_enum, default_value = "text")]
        format: check::Format,
        /// The repository's folder
        #[arg(short = 'C', long = "directory", default_value = ".")]
        directory: PathBuf,
        /// The least serious findings that are shown
        #[arg(long, value_enum, default_value = "warning")]
        severity: check::Least,
        /// Make the changes that are certain
        #[arg(long)]
        fix: bool,
        /// Leave shellcheck out
        #[arg(long)]
        no_shellcheck: bool,
        /// List the rules
        #[arg(long)]
        rules: bool,
    },
    /// Kubeflow pipelines: run, check and draw what the kfp SDK compiles
    Pipeline {
        #[command(subcommand)]
        command: PipelineCommand,
    },
    /// Evaluate an expression
    Eval {
        /// The expression, with or without ${{ }}
        #[arg(required_unless_present = "batch")]
        expr: Option<String>,
        /// A context as NAME=JSON
        #[arg(long)]
        context: Vec<String>,
        /// Read JSON lines {"expr","contexts"}, write {"ok"} or {"error"}
        #[arg(long)]
        batch: bool,
    },
    /// List the latest runs
    Runs {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show a run: jobs, steps, annotations, summary
    View {
        /// Its number; the latest when not given
        run: Option<i64>,
        /// As JSON
        #[arg(long, conflicts_with_all = ["timeline", "graph"])]
        json: bool,
        /// When each job and step ran, and the critical path
        #[arg(long, conflicts_with = "graph")]
        timeline: bool,
        /// The job graph
        #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "tree", value_name = "AS")]
        graph: Option<Drawing>,
        /// The run as it was after that attempt
        #[arg(long)]
        attempt: Option<i64>,
    },
    /// Show what steps printed
    Logs {
        /// The run's number; the latest when not given
        run: Option<i64>,
        /// Only this job
        #[arg(long, short = 'j')]
        job: Option<String>,
        /// Only this step, by name or number
        #[arg(long)]
        step: Option<String>,
        /// Only steps that failed
        #[arg(long)]
        failed: bool,
        /// Of that attempt; of each job its newest when not given
        #[arg(long)]
        attempt: Option<i64>,
    },
    /// Begin a run again: all of it, what failed, one job, or from one step
    Rerun {
        /// The run's number; the latest when not given
        run: Option<i64>,
        /// Only jobs that failed, and what depends on them
        #[arg(long)]
        failed: bool,
        /// Only this job, and what depends on it
        #[arg(long, short)]
        job: Option<String>,
        /// Go on in the job's workspace from a step, by name or number; without one, from the step that failed
        #[arg(long, num_args = 0..=1, default_missing_value = "", value_name = "STEP")]
        from: Option<String>,
        /// A secret, NAME=VALUE, or NAME from the environment; values are not kept
        #[arg(long, short = 's')]
        secret: Vec<String>,
        /// A file of NAME=VALUE lines with secrets
        #[arg(long)]
        secret_file: Vec<PathBuf>,
        /// Jobs at once; the number of cores when not given
        #[arg(long)]
        jobs: Option<usize>,
        /// When workspaces are kept for `shell` and `rerun --from`; as in the run when not given
        #[arg(long, value_enum)]
        keep_workspaces: Option<Keep>,
        /// When the run is over, open a shell where the first failed job failed
        #[arg(long)]
        shell_on_failure: bool,
        /// How the run is shown
        #[arg(long, value_enum)]
        output: Option<Output>,
    },
    /// Open a shell where a job failed
    Shell {
        /// The run's number; the latest when not given
        run: Option<i64>,
        /// The job; the first that failed when not given
        #[arg(long, short)]
        job: Option<String>,
        /// A secret, NAME=VALUE, or NAME from the environment; values are not kept
        #[arg(long, short = 's')]
        secret: Vec<String>,
        /// A file of NAME=VALUE lines with secrets
        #[arg(long)]
        secret_file: Vec<PathBuf>,
        /// A command to run there instead of an interactive shell
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Remove the workspaces that are kept of failed jobs, or what pipelines left
    Prune {
        /// The artifacts of pipelines, the environments of their tasks, their workspaces; volumes stay
        #[arg(long)]
        pipelines: bool,
        /// Only those older than this: 12h, 3d, 2w
        #[arg(long)]
        older_than: Option<String>,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// The actions that were fetched: list them, or remove those that are not used
    Actions {
        #[command(subcommand)]
        command: ActionsCommand,
    },
    /// The caches of this machine's runs
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// The artifacts of this machine's runs
    Artifacts {
        #[command(subcommand)]
        command: ArtifactsCommand,
    },
    /// Which task made an artifact of a pipeline, from what, and which used it
    Lineage {
        /// Its number, its address, its output's name, or TASK/NAME
        artifact: String,
        /// Put it there, a file or a folder; the newest one of those that are meant
        #[arg(long, value_name = "PATH")]
        save: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What fills the disk
    Du {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What this machine can do, and what to install for what
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    Completions {
        /// Which
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    #[command(hide = true)]
    InternalAction {
        name: String,
        #[arg(long)]
        post: bool,
    },
    #[command(hide = true)]
    InternalMounts {
        base: PathBuf,
        #[arg(long)]
        mount: Vec<String>,
        #[arg(long)]
        open: Vec<PathBuf>,
        #[arg(long)]
        door: Vec<PathBuf>,
        #[arg(last = true)]
        command: Vec<String>,
    },
    #[command(hide = true)]
    InternalDoor { pid: i32, port: u16 },
    #[command(hide = true)]
    InternalPip {
        real: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Where jobs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Executor {
    /// As processes of this machine, but for those whose label stands for an image
    Host,
    /// In containers alone: every label stands for an image
    Container,
}

#[derive(Args)]
struct RunArgs {
    /// The event
    #[arg(default_value = "push")]
    event: String,
    /// A workflow file or a folder of them
    #[arg(short = 'W', long = "workflows")]
    workflows: Vec<PathBuf>,
    /// The repository's folder
    #[arg(short = 'C', long = "directory", default_value = ".")]
    directory: PathBuf,
    /// Only this job and what it needs
    #[arg(short, long)]
    job: Option<String>,
    /// The branch, tag or full ref of the event
    #[arg(long = "ref")]
    reference: Option<String>,
    /// A commit instead of the work tree as it is
    #[arg(long)]
    commit: Option<String>,
    /// An input of workflow_dispatch, NAME=VALUE
    #[arg(long)]
    input: Vec<String>,
    /// A secret, NAME=VALUE, or NAME from the environment
    #[arg(long, short = 's')]
    secret: Vec<String>,
    /// A file of NAME=VALUE lines with secrets
    #[arg(long)]
    secret_file: Vec<PathBuf>,
    /// A variable of the vars context, NAME=VALUE
    #[arg(long)]
    var: Vec<String>,
    /// A variable for every step, NAME=VALUE, or NAME from the environment
    #[arg(long)]
    env: Vec<String>,
    /// Give steps all variables of the caller
    #[arg(long)]
    inherit_env: bool,
    /// Only legs with this value, KEY:VALUE
    #[arg(long)]
    matrix: Vec<String>,
    /// A file with the event's payload
    #[arg(long)]
    event_path: Option<PathBuf>,
    /// Who acts
    #[arg(long)]
    actor: Option<String>,
    /// List workflows and jobs
    #[arg(long)]
    list: bool,
    /// Say what would run, and why not the rest
    #[arg(long)]
    dry_run: bool,
    /// Print the job graph instead of running it
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "tree", value_name = "AS")]
    graph: Option<Drawing>,
    /// Where jobs run
    #[arg(long, value_enum, default_value = "host")]
    executor: Executor,
    /// LABEL=host runs jobs with that label here, LABEL=image:IMAGE in a container, LABEL=skip not
    #[arg(long)]
    runner: Vec<String>,
    /// Pull images and base images even where they are on this machine
    #[arg(long, conflicts_with = "offline")]
    pull: bool,
    /// Pull no image; one that is not on this machine fails its job
    #[arg(long)]
    offline: bool,
    /// A folder that stands for a repository of actions, OWNER/NAME@REF=DIR
    #[arg(long, value_name = "SLUG@REF=DIR")]
    local_repository: Vec<String>,
    /// A folder that holds OWNER/NAME.git, looked in before the network
    #[arg(long, value_name = "DIR")]
    action_mirror: Vec<PathBuf>,
    /// Run actions/checkout and its kin as they are published, not as they are built in
    #[arg(long)]
    no_builtin_actions: bool,
    /// Jobs at once; the number of cores when not given
    #[arg(long)]
    jobs: Option<usize>,
    /// When workspaces are kept for `shell` and `rerun --from`
    #[arg(long, value_enum, default_value = "failed")]
    keep_workspaces: Keep,
    /// When the run is over, open a shell where the first failed job failed
    #[arg(long)]
    shell_on_failure: bool,
    /// How the run is shown
    #[arg(long, value_enum)]
    output: Option<Output>,
}

/// Reads the command line and does what it says.
pub fn run() -> Result<Exit> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; the rest is a call that is not understood.
            let _ = error.print();
            return Ok(if error.use_stderr() { Exit::Invalid } else { Exit::Success });
        }
    };
    match cli.command {
        Command::Run(args) => {
            let instead = match (args.list, args.dry_run, args.graph) {
                (true, ..) => Instead::List,
                (_, true, _) => Instead::DryRun,
                (_, _, Some(drawing)) => Instead::Graph(drawing),
                _ => Instead::Nothing,
            };
            let shell_on_failure = args.shell_on_failure;
            shell_possible(shell_on_failure, args.keep_workspaces)?;
            run::run(&settings(*args)?, instead, shell_on_failure)
        }
        Command::Rerun {
            run,
            failed,
            job,
            from,
            secret,
            secret_file,
            jobs,
            keep_workspaces,
            shell_on_failure,
            output,
        } => {
            shell_possible(shell_on_failure, keep_workspaces.unwrap_or(Keep::Failed))?;
            rerun::rerun(rerun::Request {
                run,
                failed,
                job,
                from,
                secrets: secrets(&secret, &secret_file)?.0,
                jobs,
                keep: keep_workspaces,
                shell_on_failure,
                output: output_or_default(output),
            })
        }
        Command::Shell { run, job, secret, secret_file, command } => {
            let secrets = secrets(&secret, &secret_file)?.0;
            shell::shell(&shell::Request { run, job, secrets, command })
        }
        Command::Prune { pipelines, older_than, dry_run } => {
            let span = older_than.map(|text| {
                span(&text).ok_or_else(|| {
                    Error::new(format!("--older-than {text}: expected a span such as 12h or 3d"))
                })
            });
            match pipelines {
                true => prune_pipelines::prune(span.transpose()?, dry_run),
                false => prune::prune(span.transpose()?, dry_run),
            }
        }
        Command::Check { rules: true, .. } => Ok(check::rules()),
        Command::Check { files, format, directory, severity, fix, no_shellcheck, .. } => {
            let shellcheck = !no_shellcheck;
            check::check(&check::Request { directory, files, format, severity, fix, shellcheck })
        }
        Command::Pipeline { command } => pipeline::run(command),
        Command::Eval { batch: true, .. } => eval::batch(),
        Command::Eval { expr, context, .. } => eval::one(&expr.unwrap_or_default(), &context),
        Command::Runs { limit } => runs::runs(limit),
        Command::View { run, json, timeline, graph, attempt } => {
            let how = match (json, timeline, graph) {
                (true, ..) => As::Json,
                (_, true, _) => As::Timeline,
                (_, _, Some(drawing)) => As::Graph(drawing),
                _ => As::Text,
            };
            view::view(run, attempt, how)
        }
        Command::Logs { run, job, step, failed, attempt } => {
            logs::logs(run, &Which { job, step, failed, attempt })
        }
        Command::Actions { command } => actions::run(&command),
        Command::Cache { command } => cache::run(&command),
        Command::Artifacts { command } => artifacts::run(&command),
        Command::Lineage { artifact, save: Some(path), .. } => lineage::save(&artifact, &path),
        Command::Lineage { artifact, json, .. } => lineage::lineage(&artifact, json),
        Command::Du { json } => du::du(json),
        Command::Doctor { json } => doctor::doctor(json),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "trainyard", &mut text);
            // A reader that has gone away is no fault.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), &text);
            Ok(Exit::Success)
        }
        Command::InternalAction { name, post } => Ok(builtin::run(&name, post)),
        Command::InternalMounts { base, mount, open, door, command } => {
            let error =
                crate::pipeline::mounts::become_program(&base, &mount, &open, &door, &command);
            Err(Error::new(error.to_string()))
        }
        Command::InternalDoor { pid, port } => Ok(crate::host::containers::open_door(pid, port)),
        Command::InternalPip { real, args } => Err(builtin::pip(&real, &args)),
    }
}

fn pair(flag: &str, text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::new(format!("--{flag} {text}: expected NAME=VALUE"))),
    }
}

/// `NAME=VALUE`, or `NAME` whose value is in the caller's environment.
fn pair_or_variable(flag: &str, text: &str) -> Result<(String, String)> {
    if text.contains('=') {
        return pair(flag, text);
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err(Error::new(format!("--{flag} {text}: the variable {text} is not set"))
            .hint(format!("give the value: --{flag} {text}=VALUE"))),
    }
}

/// What `--runner` says: labels that run here or do not, and those that stand for images.
type Labels = (Vec<(String, bool)>, Vec<(String, ContainerSpec)>);

fn labels(given: &[String]) -> Result<Labels> {
    let (mut labels, mut images) = (Vec::new(), Vec::new());
    for text in given {
        let bad = || {
            Error::new(format!(
                "--runner {text}: expected LABEL=host, LABEL=skip or LABEL=image:IMAGE"
            ))
        };
        let (label, target) = text.split_once('=').ok_or_else(bad)?;
        match target {
            "host" => labels.push((label.to_owned(), true)),
            "skip" => labels.push((label.to_owned(), false)),
            _ => {
                let image =
                    target.strip_prefix("image:").filter(|i| !i.is_empty()).ok_or_else(bad)?;
                labels.push((label.to_owned(), true));
                let image = ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() };
                images.push((label.to_owned(), image));
            }
        }
    }
    Ok((labels, images))
}

/// Where to look for other repositories, as far as the call says it.
fn places(local: &[String], mirrors: &[PathBuf]) -> Result<Places> {
    let mut places = Places { forge: GITHUB.to_owned(), ..Places::default() };
    for text in local {
        let parts = text.split_once('=').and_then(|(name, folder)| {
            let (slug, reference) = name.split_once('@')?;
            (slug.split('/').count() == 2 && !reference.is_empty())
                .then_some((slug, reference, folder))
        });
        let Some((slug, reference, folder)) = parts else {
            return Err(Error::new(format!(
                "--local-repository {text}: expected OWNER/NAME@REF=DIR"
            )));
        };
        let folder = folder_of("local-repository", std::path::Path::new(folder))?;
        places.local.push((slug.to_owned(), reference.to_owned(), folder));
    }
    for mirror in mirrors {
        let folder = folder_of("action-mirror", mirror)?;
        places.mirrors.push(folder.to_string_lossy().into_owned());
    }
    Ok(places)
}

fn folder_of(flag: &str, path: &std::path::Path) -> Result<PathBuf> {
    let found = std::fs::canonicalize(path).ok().filter(|p| p.is_dir());
    found.ok_or_else(|| Error::new(format!("--{flag}: there is no folder {}", path.display())))
}

/// Whether a shell could be opened after a failure: that is said before a long run, not after it.
fn shell_possible(wanted: bool, keep: Keep) -> Result<()> {
    use std::io::IsTerminal;
    if wanted && !std::io::stdin().is_terminal() {
        return Err(Error::new("--shell-on-failure needs a terminal")
            .hint("trainyard shell RUN -- COMMAND runs a command there afterwards"));
    }
    if wanted && keep == Keep::Never {
        return Err(Error::new("--shell-on-failure opens a shell in a workspace that is kept")
            .hint("leave --keep-workspaces never out"));
    }
    Ok(())
}

/// Secrets by name and value, and where each came from; a later one wins.
#[allow(clippy::type_complexity)]
fn secrets(
    given: &[String],
    files: &[PathBuf],
) -> Result<(Vec<(String, String)>, Vec<(String, SecretSource)>)> {
    let (mut secrets, mut sources) = (Vec::new(), Vec::new());
    for file in files {
        let full = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        for (name, value) in read_dotenv(file)? {
            sources.push((name.clone(), SecretSource::File(full.clone())));
            secrets.push((name, value));
        }
    }
    for text in given {
        let (name, value) = pair_or_variable("secret", text)?;
        let source = if text.contains('=') { SecretSource::Given } else { SecretSource::Variable };
        sources.retain(|(n, _)| *n != name);
        sources.push((name.clone(), source));
        secrets.push((name, value));
    }
    Ok((secrets, sources))
}

fn settings(args: RunArgs) -> Result<Settings> {
    let list = |flag: &str, items: &[String], read: fn(&str, &str) -> Result<(String, String)>| {
        items.iter().map(|t| read(flag, t)).collect::<Result<Vec<_>>>()
    };
    let (secrets, secret_sources) = secrets(&args.secret, &args.secret_file)?;
    let mut payload = None;
    if let Some(path) = &args.event_path {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        let value = trainyard_model::Value::from_json(&text)
            .map_err(|e| Error::new(format!("{}: this is not JSON: {e}", path.display())))?;
        payload = Some(value);
    }
    let mut matrix = Vec::new();
    for text in &args.matrix {
        let (key, value) = text
            .split_once(':')
            .ok_or_else(|| Error::new(format!("--matrix {text}: expected KEY:VALUE")))?;
        matrix.push((key.to_owned(), value.to_owned()));
    }
    let (labels, images) = labels(&args.runner)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Settings {
        directory: args.directory,
        workflows: args.workflows,
        request: EventRequest {
            event: args.event,
            reference: args.reference,
            commit: args.commit,
            payload,
            actor: args.actor,
            inputs: list("input", &args.input, pair)?,
        },
        job: args.job,
        matrix,
        secrets,
        secret_sources,
        keep: args.keep_workspaces,
        vars: list("var", &args.var, pair)?,
        env: list("env", &args.env, pair_or_variable)?,
        env_variables: args.env.iter().filter(|t| !t.contains('=')).cloned().collect(),
        inherit_env: args.inherit_env,
        labels,
        images,
        images_only: args.executor == Executor::Container,
        pull: match (args.pull, args.offline) {
            (_, true) => Pull::Never,
            (true, false) => Pull::Always,
            (false, false) => Pull::Missing,
        },
        places: places(&args.local_repository, &args.action_mirror)?,
        quota: None,
        builtin_actions: !args.no_builtin_actions,
        jobs: args.jobs.unwrap_or(cores).max(1),
        output: output_or_default(args.output),
    })
}
