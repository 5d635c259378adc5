//! `trainyard run`: what a push would run, here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard_diagnostics::{Diagnostic, FileReport, Source, has_errors, render_text};
use trainyard_model::{Object, Value};
use trainyard_workflow::lower::{Lowered, WorkflowFile, lower};
use trainyard_workflow::model::{InputType, TriggerDef};
use trainyard_workflow::permissions::{Level, Permissions};
use trainyard_workflow::select::{EventFacts, select};
use trainyard_workflow::semantics::default_by_type;

use super::view::{Drawing, draw};
use crate::actions::cache::Cache;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::git::Repository;
use crate::paths::data_dir;
use crate::run::driver::{Planned, World, drive};
use crate::run::event::{self, Event};
use crate::run::files::{ReadFile, Tree, TreeLoader, read, relative};
use crate::run::project::Project;
use crate::run::{Settings, fitness, narrow};
use crate::ui::{Event as Show, Output, Ui};
use trainyard_store::Journal;

/// What to do instead of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// Run.
    Nothing,
    /// List workflows and jobs.
    List,
    /// Say what would run, and why not the rest.
    DryRun,
    /// Print the job graph.
    Graph(Drawing),
}

/// A workflow that was looked at.
struct Candidate {
    file: ReadFile,
    verdict: std::result::Result<(), String>,
}

/// Runs the command.
pub fn run(settings: &Settings, instead: Instead, shell_on_failure: bool) -> Result<Exit> {
    let repo = Repository::find(&settings.directory)?;
    // The history opens while git answers.
    let opening = (instead == Instead::Nothing).then(|| {
        std::thread::spawn(|| {
            let data = data_dir()?;
            let journal = Journal::open(&data)?;
            Ok((data, journal))
        })
    });
    // Where the work tree is meant in any case, its files are read while git answers, too.
    let mut settings = settings.clone();
    Project::read(&repo.root)?.apply(&repo.root, &mut settings)?;
    let settings = &settings;
    let work = Tree::Work(repo.root.clone());
    let plain = settings.request.reference.is_none() && settings.request.commit.is_none();
    let (event, early) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| event::build(&repo, &settings.request));
        let early = plain.then(|| read_all(settings, &repo, &work));
        let event = asking.join().map_err(|_| Error::new("the event cannot be made"));
        (event.flatten(), early)
    });
    let event = event?;
    let tree = match event.work_tree {
        true => work,
        false => Tree::Commit(repo.clone(), event.head.sha.clone()),
    };
    let mut candidates = match early {
        Some(early) => early?,
        None => read_all(settings, &repo, &tree)?,
    };
    let mut ui = Ui::new(settings.output);
    let facts = event_facts(&event, &repo, &candidates, &mut ui)?;
    for candidate in &mut candidates {
        candidate.verdict = match &candidate.file.workflow {
            Some(file) => select(&file.workflow, &facts),
            None => Err("it has errors".into()),
        };
    }
    if instead == Instead::List {
        list(&candidates);
        return Ok(Exit::Success);
    }
    for note in &event.notes {
        ui.show(&Show::Note(note));
    }
    let exit = plan(settings, (instead, opening), &repo, &event, &tree, candidates, &mut ui)?;
    match exit == Exit::Failure && shell_on_failure {
        true => super::shell::after_failure(ui.runs(), settings, exit),
        false => Ok(exit),
    }
}

fn read_all(settings: &Settings, repo: &Repository, tree: &Tree) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for path in &workflow_paths(settings, repo, tree)? {
        match read(tree, path, 0)? {
            Some(file) => candidates.push(Candidate { file, verdict: Ok(()) }),
            None => return Err(Error::new(format!("there is no file {path}"))),
        }
    }
    Ok(candidates)
}

fn workflow_paths(settings: &Settings, repo: &Repository, tree: &Tree) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for given in &settings.workflows {
        let full = match given.is_absolute() {
            true => given.clone(),
            false => {
                let here = settings.directory.join(given);
                match here.exists() {
                    true => here,
                    // A bare name means a file in the workflow folder.
                    false => repo.root.join(".github/workflows").join(given),
                }
            }
        };
        if full.is_dir() {
            let mut names: Vec<PathBuf> = std::fs::read_dir(&full)
                .map_err(|e| Error::io("read", &full, &e))?
                .flatten()
                .map(|e| e.path())
                .filter(|p| p.extension().is_some_and(|e| e == "yml" || e == "yaml"))
                .collect();
            names.sort();
            paths.extend(names.iter().map(|p| relative(&repo.root, p)));
        } else if full.exists() {
            paths.push(relative(&repo.root, &full));
        } else {
            return Err(Error::new(format!("there is no workflow file {}", given.display()))
                .hint("trainyard run --list shows those there are"));
        }
    }
    if settings.workflows.is_empty() {
        paths = tree.workflow_paths();
        if paths.is_empty() {
            return Err(Error::new(format!(
                "{} has no workflows in .github/workflows",
                repo.root.display()
            ))
            .hint("name files with -W, or add a workflow"));
        }
    }
    Ok(paths)
}

fn event_facts(
    event: &Event,
    repo: &Repository,
    candidates: &[Candidate],
    ui: &mut Ui,
) -> Result<EventFacts> {
    let triggers =
        candidates.iter().filter_map(|c| c.file.workflow.as_ref()?.workflow.trigger(&event.name));
    let wants_files = triggers.into_iter().any(|t| t.paths.is_given());
    let mut files = None;
    if wants_files {
        let base = event.payload.get("pull_request").and_then(|p| p.get("base"));
        let base = base.and_then(|b| b.get("sha")).and_then(|s| s.as_str());
        // A pull request is all its commits since it left the base (three-dot diff).
        let fork = base.and_then(|base| repo.merge_base(base, &event.head.sha));
        let before = fork.as_deref().or(event.head.parent.as_deref());
        let changed = repo.changed_files(before, &event.head.sha, event.work_tree)?;
        if event.work_tree {
            let note = format!(
                "`paths` filters compare {} changed files: {} and what is not committed",
                changed.len(),
                if fork.is_some() { "the pull request" } else { "the last commit" }
            );
            ui.show(&Show::Note(&note));
        }
        files = Some(changed);
    }
    let text = |value: Option<&Value>| value.and_then(|v| v.as_str()).map(str::to_owned);
    let base = event.payload.get("pull_request").and_then(|p| p.get("base"));
    let ran = event.payload.get("workflow_run");
    Ok(EventFacts {
        event: event.name.clone(),
        git_ref: event.reference.clone(),
        base_ref: text(base.and_then(|b| b.get("ref"))),
        action: text(event.payload.get("action")),
        files,
        workflow: text(ran.and_then(|r| r.get("name"))),
        head_branch: text(ran.and_then(|r| r.get("head_branch"))),
    })
}

fn list(candidates: &[Candidate]) {
    for candidate in candidates {
        let Some(file) = &candidate.file.workflow else {
            outln!("{}  (has errors: trainyard check)", candidate.file.path);
            continue;
        };
        let events: Vec<&str> = file.workflow.triggers.iter().map(|t| t.event.as_str()).collect();
        let name = file.workflow.name.as_deref().unwrap_or(&file.path);
        outln!("{}  {name}  [{}]", file.path, events.join(", "));
        for job in &file.workflow.jobs {
            let needs: Vec<&str> = job.needs.iter().map(|(n, _)| n.as_str()).collect();
            let after = match needs.is_empty() {
                true => String::new(),
                false => format!("  after {}", needs.join(", ")),
            };
            outln!("    {}{after}", job.id);
        }
    }
}

/// Shows the errors of files; true if there were any.
fn show_errors(reports: &[(Source, Vec<Diagnostic>)]) -> bool {
    let mut any = false;
    for (source, diagnostics) in reports {
        if has_errors(diagnostics) {
            any = true;
            let report = FileReport { source, diagnostics };
            anstream::eprint!("{}", render_text(&[report], true));
        }
    }
    any
}

/// The history, on its way; none for a dry run.
type Opening = std::thread::JoinHandle<Result<(PathBuf, Journal)>>;

#[allow(clippy::too_many_arguments)]
fn plan(
    settings: &Settings,
    (instead, opening): (Instead, Option<Opening>),
    repo: &Repository,
    event: &Event,
    tree: &Tree,
    candidates: Vec<Candidate>,
    ui: &mut Ui,
) -> Result<Exit> {
    let data = crate::paths::data_dir().ok();
    let mut broken = Vec::new();
    let mut refused: Vec<(String, String)> = Vec::new();
    let mut planned = Vec::new();
    for candidate in candidates {
        let ReadFile { path, source, workflow, diagnostics } = candidate.file;
        let Some(file) = workflow else {
            broken.push((source, diagnostics));
            continue;
        };
        if let Err(why) = candidate.verdict {
            refused.push((path, why));
            continue;
        }
        let others = data.as_ref().map(|d| (&settings.places, Cache::new(d)));
        let mut loader = TreeLoader::new(tree, others);
        let mut lowered = lower(Arc::clone(&file), &mut loader, &Permissions::all(Level::Write));
        let found = by_file(&lowered);
        let called = loader.broken.into_values();
        if found.iter().any(|(_, d)| has_errors(d)) {
            broken.extend(found);
            broken.extend(called);
            continue;
        }
        let inputs = root_inputs(&file, event, settings)?;
        if let Some(job) = &settings.job
            && !narrow::to_job(&mut lowered, &file, job)
        {
            refused.push((path, format!("it has no job '{job}'")));
            continue;
        }
        planned.push(Planned { file, lowered, inputs, again: None });
    }
    // A file with errors is a failed run on GitHub; here it is said before anything runs.
    if show_errors(&broken) {
        return Ok(Exit::Invalid);
    }
    if planned.is_empty() {
        return Err(nothing(event, settings, &refused));
    }
    narrow::check_legs(&planned, &settings.matrix)?;
    if let Instead::Graph(drawing) = instead {
        for plan in &planned {
            if drawing == Drawing::Tree {
                outln!("{}", plan.file.path);
            }
            outln!("{}", draw(&plan.lowered.plan, drawing, &|_| String::new()).trim_end());
        }
        return Ok(Exit::Success);
    }
    let Some(opening) = opening else {
        for plan in &planned {
            outln!("would run {}", plan.file.path);
            for line in plan.lowered.plan.dump().lines() {
                outln!("    {line}");
            }
            for remark in fitness::remarks(&plan.lowered, &settings.labels) {
                outln!("    {remark}");
            }
        }
        for (path, why) in &refused {
            outln!("would not run {path}: {why}");
        }
        return Ok(Exit::Success);
    };
    let opened = opening.join().map_err(|_| Error::new("the local history cannot be opened"))?;
    let (data, journal) = opened?;
    drive(&World::new(settings, repo, event, tree, data), journal, planned, ui)
}

/// What lowering found, file by file.
fn by_file(lowered: &Lowered) -> Vec<(Source, Vec<Diagnostic>)> {
    let mut reports: Vec<(Source, Vec<Diagnostic>)> =
        lowered.files.iter().map(|f| (f.source.clone(), Vec::new())).collect();
    for (file, diagnostic) in &lowered.diagnostics {
        reports[*file].1.push(diagnostic.clone());
    }
    reports
}

fn nothing(event: &Event, settings: &Settings, refused: &[(String, String)]) -> Error {
    let mut message = format!("no workflow runs on {} to {}:", event.name, event.reference);
    for (path, why) in refused {
        message.push_str(&format!("\n  {path}: {why}"));
    }
    let hint = match (&settings.job, event.name.as_str()) {
        (Some(_), _) => "trainyard run --list shows the jobs".to_owned(),
        (None, "push") => {
            "name the event: trainyard run pull_request, or --ref BRANCH for another branch".into()
        }
        _ => "trainyard run --list shows the events of each workflow".into(),
    };
    Error::new(message).hint(hint)
}

/// The typed inputs of a dispatch; null for other events.
fn root_inputs(file: &WorkflowFile, event: &Event, settings: &Settings) -> Result<Value> {
    let Some(trigger) =
        file.workflow.trigger("workflow_dispatch").filter(|_| event.name == "workflow_dispatch")
    else {
        return Ok(Value::object(Vec::<(&str, Value)>::new()));
    };
    let given: Vec<(String, String)> = match event.payload.get("inputs") {
        Some(Value::Object(inputs)) => {
            inputs.iter().map(|(k, v)| (k.to_owned(), v.to_text().into_owned())).collect()
        }
        _ => settings.request.inputs.clone(),
    };
    typed_inputs(trigger, &given).map_err(|e| Error::new(format!("{}: {e}", file.path)))
}

fn typed_inputs(
    trigger: &TriggerDef,
    given: &[(String, String)],
) -> std::result::Result<Value, String> {
    for (name, _) in given {
        if !trigger.inputs.iter().any(|i| i.name.eq_ignore_ascii_case(name)) {
            let known: Vec<&str> = trigger.inputs.iter().map(|i| i.name.as_str()).collect();
            return Err(format!(
                "Unexpected inputs provided: '{name}' (declared: {})",
                known.join(", ")
            ));
        }
    }
    let mut inputs = Object::new();
    for input in &trigger.inputs {
        let text = given.iter().find(|(k, _)| k.eq_ignore_ascii_case(&input.name));
        let default = input.default.as_ref().and_then(|t| t.evaluate(&Nothing).ok());
        let value = match (text, default) {
            (Some((_, text)), _) => typed(input.kind, &input.options, &input.name, text)?,
            (None, Some(default)) => match input.kind {
                InputType::Boolean => match default.to_text().as_ref() {
                    "true" => Value::Bool(true),
                    _ => Value::Bool(false),
                },
                InputType::Number => {
                    Value::Number(trainyard_model::parse_number(&default.to_text()))
                }
                _ => Value::string(default.to_text().into_owned()),
            },
            (None, None) if input.required => {
                return Err(format!(
                    "Required input '{}' not provided (--input {}=VALUE)",
                    input.name, input.name
                ));
            }
            // A choice that nobody made is its first option.
            (None, None) => match (input.kind, input.options.first()) {
                (InputType::Choice, Some(first)) => Value::from(first.as_str()),
                _ => default_by_type(input.kind),
            },
        };
        inputs.insert(input.name.as_str(), value);
    }
    Ok(Value::Object(Arc::new(inputs)))
}

fn typed(
    kind: InputType,
    options: &[String],
    name: &str,
    text: &str,
) -> std::result::Result<Value, String> {
    match kind {
        InputType::Boolean => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => {
                Err(format!("the input '{name}' is a boolean, '{text}' is neither true nor false"))
            }
        },
        InputType::Number => match trainyard_model::parse_number(text) {
            n if n.is_nan() => Err(format!("the input '{name}' is a number, '{text}' is none")),
            n => Ok(Value::Number(n)),
        },
        InputType::Choice if !options.is_empty() && !options.iter().any(|o| o == text) => {
            Err(format!("the input '{name}' is one of {}, not '{text}'", options.join(", ")))
        }
        _ => Ok(Value::from(text)),
    }
}

/// Defaults of a dispatch are literals.
struct Nothing;

impl trainyard_expression::Environment for Nothing {
    fn context(&self, _: &str) -> Value {
        Value::Null
    }
}

/// `NAME=VALUE` lines as `--secret-file` has them; values may be quoted.
pub fn read_dotenv(path: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err(Error::new(format!(
                "{}:{}: expected NAME=VALUE",
                path.display(),
                number + 1
            )));
        };
        let value = value.trim();
        let quoted = |q: char| value.len() >= 2 && value.starts_with(q) && value.ends_with(q);
        let value = match (quoted('"'), quoted('\'')) {
            (true, _) => value[1..value.len() - 1].replace("\\n", "\n").replace("\\\"", "\""),
            (_, true) => value[1..value.len() - 1].to_owned(),
            _ => value.to_owned(),
        };
        pairs.push((name.trim().to_owned(), value));
    }
    Ok(pairs)
}

/// What the terminal suits when nothing was asked for.
pub fn output_or_default(output: Option<Output>) -> Output {
    output.unwrap_or_else(Output::default_for_stdout)
}
