//! `trainyard check`: what GitHub would refuse, before it does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard_diagnostics::{
    Diagnostic, FileReport, Source, Span, has_errors, render_github, render_json, render_text,
};
use trainyard_workflow::lower::{WorkflowFile, lower};
use trainyard_workflow::permissions::{Level, Permissions};
use trainyard_workflow::{MAX_FILE_SIZE, read_action, read_workflow};

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::run::files::{Tree, TreeLoader};

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

/// Runs the command. Without files: all workflows and actions of the repository.
pub fn check(directory: &Path, files: &[PathBuf], format: Format) -> Result<Exit> {
    let files = match files.is_empty() {
        true => of_repository(directory)?,
        false => files.to_vec(),
    };
    let mut failed = false;
    let mut reports: Vec<(Source, Vec<Diagnostic>)> = Vec::new();
    for file in &files {
        let (source, diagnostics) = one(file);
        failed |= has_errors(&diagnostics);
        if format == Format::Text {
            let report = FileReport { source: &source, diagnostics: &diagnostics };
            let _ = write!(anstream::stdout(), "{}", render_text(&[report], true));
        }
        // Text needs only those with findings kept, for the count.
        if format != Format::Text || !diagnostics.is_empty() {
            reports.push((source, diagnostics));
        }
    }
    let views: Vec<FileReport<'_>> =
        reports.iter().map(|(source, diagnostics)| FileReport { source, diagnostics }).collect();
    match format {
        Format::Json => outln!("{}", render_json(&views)),
        Format::Github => {
            let _ = write!(anstream::stdout(), "{}", render_github(&views));
        }
        Format::Text => {
            let findings: usize = reports.iter().map(|(_, d)| d.len()).sum();
            eprintln!("{} files, {findings} findings", files.len());
        }
    }
    Ok(if failed { Exit::Failure } else { Exit::Success })
}

fn of_repository(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let root =
        directory.ancestors().find(|d| d.join(".github").is_dir()).unwrap_or(directory).to_owned();
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
    let text = std::fs::read_to_string(file).unwrap_or_default();
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
        if path.is_dir() {
            if depth < 8 {
                collect(&path, depth + 1, files);
            }
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

fn one(path: &Path) -> (Source, Vec<Diagnostic>) {
    let shown = path.to_string_lossy().into_owned();
    let fault = |text: String, rule, message: String| {
        let source = Source::new(shown.clone(), text);
        (source, vec![Diagnostic::error(rule, Span::new(0, 0), message)])
    };
    let bytes = match path.metadata() {
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
        let (_, diagnostics) = read_action(&source, 0);
        return (source, diagnostics);
    }
    let (workflow, mut diagnostics) = read_workflow(&source, 0);
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
    (source, diagnostics)
}

/// The repository of a workflow file that stands in `.github/workflows`.
fn repository_of(path: &Path) -> Option<PathBuf> {
    let full = std::fs::canonicalize(path).ok()?;
    let folder = full.parent()?;
    folder.ends_with(".github/workflows").then(|| folder.parent()?.parent().map(Path::to_owned))?
}
