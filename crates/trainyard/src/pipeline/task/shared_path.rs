//! A hint where a task misses a file that another task of the pipeline names: on a cluster each task has a
//! file system of its own, and a path is no contract between them.

use std::path::Path;

use trainyard_pipeline::{Body, Executor, Pipeline};

/// Words that programs say where a file is missing.
const MISSING: &[&str] =
    &["No such file or directory", "FileNotFoundError", "nonexistent", "not found"];
/// Folders that every image has its own of.
const SYSTEM: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev", "/opt"];

/// The hint, by the end of the failed task's log. `own` is the label of its executor; `data` is the data
/// folder, whose files are no paths of the pipeline's.
pub(super) fn hint(pipeline: &Pipeline, own: &str, data: &Path, log: &str) -> Option<String> {
    let lines = log.lines().rev().filter(|l| MISSING.iter().any(|m| l.contains(m)));
    let paths = lines.flat_map(|line| {
        line.split(|c: char| c.is_whitespace() || "\"'`:,;()[]".contains(c))
            .filter(|word| word.len() > 1 && word.starts_with('/'))
    });
    for path in paths.map(Path::new) {
        let system = SYSTEM.iter().any(|s| path.starts_with(s)) || path.starts_with(data);
        // A file that lies in the root itself has no folder that could be mounted.
        let folder = path.parent().filter(|p| *p != Path::new("/")).unwrap_or(path);
        if system || folder == Path::new("/tmp") {
            continue;
        }
        let named = folder.to_string_lossy();
        let writer = pipeline.executors.iter().find(|(label, executor)| {
            let Executor::Container(container) = executor else { return false };
            let words = container.command.iter().chain(&container.args);
            label != own && words.into_iter().any(|w| w.contains(&*named))
        });
        if let Some((label, _)) = writer {
            return Some(format!(
                "'{}' of this pipeline names {named}, too: tasks do not share it; [pipeline.volumes] in trainyard.toml with \"{named}\" = \"NAME\" mounts a volume there for all of them, and an output artifact needs none",
                task_of(pipeline, label)
            ));
        }
    }
    None
}

/// A task that an executor runs.
fn task_of<'a>(pipeline: &'a Pipeline, label: &'a str) -> &'a str {
    let of =
        |c: &&trainyard_pipeline::Component| matches!(&c.body, Body::Executor(l) if l == label);
    let Some(component) = pipeline.components.iter().find(of) else { return label };
    let tasks = pipeline.components.iter().flat_map(|c| c.tasks());
    tasks.into_iter().find(|t| t.component == component.name).map_or(label, |t| t.key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_two_tasks_name() {
        let text = "pipelineInfo: {name: p}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {first: {componentRef: {name: a}}, second: {componentRef: {name: b}}}}}\ncomponents: {a: {executorLabel: a}, b: {executorLabel: b}}\ndeploymentSpec: {executors: {a: {container: {image: x, command: [sh, -c, 'echo > /data/out/f']}}, b: {container: {image: x, command: [cat, /data/out/f]}}}}\n";
        let source = trainyard_diagnostics::Source::new("p", text);
        let pipeline = trainyard_pipeline::read(&source).pipeline.unwrap();
        let check = |log: &str| {
            hint(&pipeline, "b", Path::new("/home/me/data"), log).unwrap_or_else(|| "none".into())
        };
        let told = check("cat: /data/out/f: No such file or directory\n");
        assert!(told.starts_with("'first' of this pipeline names /data/out, too"), "{told}");
        let told = check("FileNotFoundError: [Errno 2] No such file or directory: '/data/out/f'\n");
        assert!(told.contains("\"/data/out\" = \"NAME\""), "{told}");
        assert_eq!(check("cat: /elsewhere/f: No such file or directory"), "none");
        assert_eq!(check("/home/me/data/out: No such file or directory"), "none");
        assert_eq!(check("read /data/out/f"), "none");
    }
}
