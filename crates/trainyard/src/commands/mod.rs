//! The commands, one a file.

pub mod actions;
pub mod artifacts;
pub mod cache;
pub mod check;
pub mod doctor;
pub mod du;
pub mod eval;
pub mod lineage;
pub mod logs;
pub mod pipeline;
pub mod prune;
pub mod prune_pipelines;
pub mod rerun;
pub mod run;
pub mod runs;
pub mod shell;
pub mod view;

/// Whether somebody who writes `wanted` means the job of that name and path.
fn means_job(wanted: &str, name: &str, path: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
        || path.eq_ignore_ascii_case(wanted)
        || path.split('[').next().is_some_and(|p| p.eq_ignore_ascii_case(wanted))
}

/// Shows a list: as one JSON array, or a line each, or the words for none.
fn show_rows<T>(
    rows: &[T],
    json: bool,
    value: impl Fn(&T) -> serde_json::Value,
    line: impl Fn(&T),
    none: &str,
) {
    match (json, rows.is_empty()) {
        (true, _) => {
            outln!("{:#}", serde_json::Value::from(rows.iter().map(value).collect::<Vec<_>>()))
        }
        (false, true) => outln!("{none}"),
        (false, false) => rows.iter().for_each(line),
    }
}
