//! The commands, one a file.

pub mod actions;
pub mod artifacts;
pub mod cache;
pub mod check;
pub mod du;
pub mod eval;
pub mod logs;
pub mod run;
pub mod runs;
pub mod view;

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
