//! `trainyard check`: what GitHub would refuse, before it does, and what it would not.

mod containers;
mod shellcheck;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard_diagnostics::{
    Diagnostic, FileReport, Severity, Source, Span, has_errors, render_github, render_json,
    render_text,
};
use trainyard_lint::{
    Definition, READERS, RULES, Settings, apply_fixes, is_known, lint, without_ignored,
};
use trainyard_workflow::action::Action;
use trainyard_workflow::lower::{WorkflowFile, lower};
use trainyard_workflow::model::Workflow;
use trainyard_workflow::permissions::{Level, Permissions};
use trainyard_workflow::{MAX_FILE_SIZE, read_action, read_workflow};

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::run::files::{Tree, TreeLoader};
use crate::run::project::Project;

/// Rounds of changes.
const MAX_ROUNDS: usize = 5;

/// How findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// With the source line and a caret.
    Text,
    /// One JSON document.
    Json,
    /// GitHub's annotation commands.
    Github,
}

/// What is asked for.
pub struct Request {
    /// The repository's folder.
    pub directory: PathBuf,
    /// Files; none for all workflows and actions of the repository.
    pub files: Vec<PathBuf>,
    /// How findings are shown.
    pub format: Format,
    /// The least serious that is shown.
    pub severity: Least,
    /// Whether what is certain is changed.
    pub fix: bool,
    /// Whether scripts go through shellcheck.
    pub shellcheck: bool,
}

/// How serious a finding must be to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Least {
    /// What GitHub refuses
    Error,
    /// What its author hardly meant, too
    Warning,
    /// What is worth knowing, too
    Info,
}

impl Least {
    fn shows(self, severity: Severity) -> bool {
        severity
            <= match self {
                Least::Error => Severity::Error,
                Least::Warning => Severity::Warning,
                Least::Info => Severity::Info,
            }
    }
}

/// Lists the rules.
pub fn rules() -> Exit {
    for rule in RULES {
        outln!("{:<26} {:<8} {}", rule.id, rule.severity.as_str(), rule.summary);
    }
    for id in READERS {
        outln!("{id:<26} {:<8} (found while reading)", "warning");
    }
    Exit::Success
}

/// Runs the command.
pub fn check(request: &Request) -> Result<Exit> {
    let files = match request.files.is_empty() {
        true => of_repository(&request.directory)?,
        false => request.files.clone(),
    };
    let settings = settings_of(&request.directory)?;
    let mut reports = look(&files, &settings, request.shellcheck)?;
    if request.fix {
        let mut all = 0;
        // One change may show another.
        for _ in 0..MAX_ROUNDS {
            let fixed = fix(&files, &reports)?;
            if fixed == 0 {
                break;
            }
            all += fixed;
            reports = look(&files, &settings, request.shellcheck)?;
        }
        eprintln!("{all} {} fixed", if all == 1 { "finding" } else { "findings" });
    }
    let mut hidden = 0;
    for (_, diagnostics) in &mut reports {
        let before = diagnostics.len();
        diagnostics.retain(|d| request.severity.shows(d.severity));
        hidden += before - diagnostics.len();
    }
    let failed = reports.iter().any(|(_, d)| has_errors(d));
    let findings: usize = reports.iter().map(|(_, d)| d.len()).sum();
    let views: Vec<FileReport<'_>> =
        reports.iter().map(|(source, diagnostics)| FileReport { source, diagnostics }).collect();
    match request.format {
        Format::Json => outln!("{}", render_json(&views)),
        Format::Github => {
            let _ = write!(anstream::stdout(), "{}", render_github(&views));
        }
        Format::Text => {
            let _ = write!(anstream::stdout(), "{}", render_text(&views, true));
            let more = match hidden {
                0 => String::new(),
                1 => ", 1 less serious with --severity info".to_owned(),
                more => format!(", {more} less serious with --severity info"),
            };
            let many =
                |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            eprintln!("{}, {}{more}", many(files.len(), "file"), many(findings, "finding"));
        }
    }
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

/// What `trainyard.toml` says of the rules.
fn settings_of(directory: &Path) -> Result<Settings> {
    let full = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let root = full.ancestors().find(|d| d.join(".git").exists()).unwrap_or(&full);
    let check = Project::read(root)?.check;
    if let Some(name) = check.off.iter().find(|n| !is_known(n)) {
        return Err(Error::new(format!("trainyard.toml: there is no rule '{name}'"))
            .hint("trainyard check --rules lists them"));
    }
    Ok(Settings { off: check.off, labels: check.labels })
}

/// Reads all files and says what is found in each, comments that leave findings heeded.
fn look(
    files: &[PathBuf],
    settings: &Settings,
    shellcheck: bool,
) -> Result<Vec<(Source, Vec<Diagnostic>)>> {
    let mut reports = Vec::with_capacity(files.len());
    let mut scripts = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let Read { source, mut diagnostics, definition } = one(file);
        let lints = match &definition {
            Some(Owned::Workflow(w)) => lint(&source, Definition::Workflow(w), settings),
            Some(Owned::Action(a)) => lint(&source, Definition::Action(a), settings),
            None => Vec::new(),
        };
        diagnostics.extend(lints);
        if let Some(Owned::Workflow(workflow)) = &definition {
            diagnostics.extend(containers::of_workflow(workflow));
        }
        // Rules of the reader are turned off like the others.
        diagnostics
            .retain(|d| d.severity == Severity::Error || !settings.off.iter().any(|o| o == d.rule));
        if shellcheck && !settings.off.iter().any(|o| o == "script/shellcheck") {
            scripts.extend(match &definition {
                Some(Owned::Workflow(w)) => shellcheck::of_workflow(number, &source, w),
                Some(Owned::Action(a)) => shellcheck::of_action(number, &source, a),
                None => Vec::new(),
            });
        }
        reports.push((source, diagnostics));
    }
    let sources: Vec<&Source> = reports.iter().map(|(source, _)| source).collect();
    for (number, found) in shellcheck::run(&scripts, &sources)? {
        reports[number].1.extend(found);
    }
    for (source, diagnostics) in &mut reports {
        diagnostics.sort_by_key(|d| (d.span.start, d.severity));
        diagnostics.dedup();
        *diagnostics = without_ignored(source, std::mem::take(diagnostics));
    }
    Ok(reports)
}

/// Changes the files; how many findings that takes away.
fn fix(files: &[PathBuf], reports: &[(Source, Vec<Diagnostic>)]) -> Result<usize> {
    let mut count = 0;
    for (path, (source, diagnostics)) in files.iter().zip(reports) {
        let (text, made) = apply_fixes(source.text(), diagnostics);
        if made > 0 {
            std::fs::write(path, text).map_err(|e| Error::io("write", path, &e))?;
            count += made;
        }
    }
    Ok(count)
}

fn of_repository(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let full = std::fs::canonicalize(directory).map_err(|e| Error::io("open", directory, &e))?;
    let root = full.ancestors().find(|d| d.join(".github").is_dir()).unwrap_or(&full).to_owned();
    collect(&root.join(".github"), 0, &mut files);
    for name in ["action.yml", "action.yaml"] {
        files.extend(Some(root.join(name)).filter(|p| p.is_file()));
    }
    let used: Vec<PathBuf> = files.iter().flat_map(|f| local_actions(f, &root)).collect();
    files.extend(used);
    files.sort();
    files.dedup();
    if files.is_empty() {
        return Err(Error::new(format!("{} has no workflows", root.display()))
            .hint("name files: trainyard check FILE..."));
    }
    let here = std::env::current_dir().unwrap_or_default();
    let short = |f: PathBuf| {
        let f = f.strip_prefix("./").map(Path::to_owned).unwrap_or(f);
        f.strip_prefix(&here).map(Path::to_owned).unwrap_or(f)
    };
    Ok(files.into_iter().map(short).collect())
}

/// The files of local actions that a workflow or action names, wherever they lie.
fn local_actions(file: &Path, root: &Path) -> Vec<PathBuf> {
    let small = file.metadata().is_ok_and(|m| m.is_file() && m.len() <= 4 * MAX_FILE_SIZE as u64);
    let text =
        if small { std::fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    let used = text.lines().filter_map(|line| {
        let (_, uses) = line.split_once("uses:")?;
        let uses = uses.trim().trim_matches(['"', '\'']);
        uses.strip_prefix("./").or(uses.strip_prefix("$/"))
    });
    let manifest = |path: &str| {
        let folder = root.join(path.split([' ', ',', '}']).next().unwrap_or(path));
        ["action.yml", "action.yaml"].map(|n| folder.join(n)).into_iter().find(|p| p.is_file())
    };
    used.filter_map(manifest).collect()
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Links are not followed: a folder may hold itself.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if depth < 8 {
                collect(&path, depth + 1, files);
            }
        } else if !path.is_file() {
        } else if is_action(&path)
            || (folder.ends_with(".github/workflows")
                && path.extension().is_some_and(|e| e == "yml" || e == "yaml"))
        {
            files.push(path);
        }
    }
}

fn is_action(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n == "action.yml" || n == "action.yaml")
}

/// What was read of a file without errors.
enum Owned {
    Workflow(Box<Workflow>),
    Action(Box<Action>),
}

/// A file with what its reading found.
struct Read {
    source: Source,
    diagnostics: Vec<Diagnostic>,
    definition: Option<Owned>,
}

fn one(path: &Path) -> Read {
    let shown = path.to_string_lossy().into_owned();
    let fault = |text: String, rule, message: String| {
        let source = Source::new(shown.clone(), text);
        let diagnostics = vec![Diagnostic::error(rule, Span::new(0, 0), message)];
        Read { source, diagnostics, definition: None }
    };
    let bytes = match path.metadata() {
        Ok(meta) if !meta.is_file() => {
            let message = "This is no file".to_owned();
            return fault(String::new(), "file/unreadable", message);
        }
        Ok(meta) if meta.len() > 4 * MAX_FILE_SIZE as u64 => {
            let message =
                format!("The file is larger than the {MAX_FILE_SIZE} characters that GitHub reads");
            return fault(String::new(), "file/too-large", message);
        }
        _ => std::fs::read(path),
    };
    let text = match bytes {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                let message = "The file is not text in UTF-8".to_owned();
                return fault(String::new(), "file/encoding", message);
            }
        },
        Err(error) => {
            let message = format!("The file cannot be read: {error}");
            return fault(String::new(), "file/unreadable", message);
        }
    };
    let source = Source::new(shown.clone(), text);
    if is_action(path) {
        let (action, diagnostics) = read_action(&source, 0);
        let definition = action.map(|a| Owned::Action(Box::new(a)));
        return Read { source, diagnostics, definition };
    }
    let (workflow, mut diagnostics) = read_workflow(&source, 0);
    let definition = workflow.clone().map(|w| Owned::Workflow(Box::new(w)));
    if let (Some(workflow), Some(root)) = (workflow, repository_of(path)) {
        let relative = crate::run::files::relative(&root, path);
        let file = Arc::new(WorkflowFile {
            path: relative,
            origin: None,
            source: source.clone(),
            workflow,
        });
        let local = crate::run::references::check(&file, &root);
        let tree = Tree::Work(root);
        let mut loader = TreeLoader::new(&tree, None);
        let lowered = lower(file, &mut loader, &Permissions::all(Level::Write));
        let own = lowered.diagnostics.into_iter().filter(|(f, _)| *f == 0).map(|(_, d)| d);
        diagnostics.extend(own);
        diagnostics.extend(local);
        diagnostics.sort_by_key(|d| (d.span.start, d.severity));
        diagnostics.dedup();
    }
    Read { source, diagnostics, definition }
}

/// The repository of a workflow file that stands in `.github/workflows`.
fn repository_of(path: &Path) -> Option<PathBuf> {
    let full = std::fs::canonicalize(path).ok()?;
    let folder = full.parent()?;
    folder.ends_with(".github/workflows").then(|| folder.parent()?.parent().map(Path::to_owned))?
}
