//! Known answers: matrix, filter patterns and cron, each row with its source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use serde_json::Value as Json;
use trainyard_diagnostics::{Source, has_errors};
use trainyard_model::{Timestamp, Value};
use trainyard_workflow::select::{EventFacts, select};
use trainyard_workflow::{cron, glob, matrix, read_workflow};

fn rows(file: &str) -> Vec<Json> {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verdict(failures: &[String], rows: usize) {
    assert!(rows > 0);
    assert!(failures.is_empty(), "{} of {rows} rows:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn matrix_rows() {
    let rows = rows("matrix.jsonl");
    let mut failures = Vec::new();
    for row in &rows {
        let value = Value::from_json(&row["matrix"].to_string()).unwrap();
        let found = matrix::expand(&value);
        // JSON is YAML: what only the reader refuses shows when it reads the same matrix.
        let text = format!(
            "on: push\njobs: {{a: {{runs-on: x, strategy: {{matrix: {}}}, steps: [{{run: x}}]}}}}",
            row["matrix"]
        );
        let refused = has_errors(&read_workflow(&Source::new("m.yml", text), 0).1);
        if refused != row["error"].as_bool().unwrap_or(false) {
            failures.push(format!("{row}\n  -> refused by the reader: {refused}"));
            continue;
        }
        if refused {
            continue;
        }
        if let (Ok(cells), None) = (&found, row["error"].as_bool()) {
            let values: Vec<Value> = cells.iter().map(|c| c.values.clone()).collect();
            let wanted = Value::from_json(&row["cells"].to_string()).unwrap();
            let names: Vec<String> = cells.iter().map(|c| c.segments.join(", ")).collect();
            let wanted_names = row["names"]
                .as_array()
                .map(|a| a.iter().map(|n| n.as_str().unwrap().to_owned()).collect::<Vec<_>>());
            let display = row["display"].as_array().is_none_or(|wanted| {
                let job = row["job"].as_str().unwrap();
                cells
                    .iter()
                    .map(|c| matrix::display_name(job, &c.segments))
                    .eq(wanted.iter().map(|n| n.as_str().unwrap().to_owned()))
            });
            if Value::array(values) == wanted && wanted_names.is_none_or(|w| w == names) && display
            {
                continue;
            }
        }
        failures.push(format!("{row}\n  -> {found:?}"));
    }
    verdict(&failures, rows.len());
}

#[test]
fn filter_rows() {
    let rows = rows("filter.jsonl");
    let mut failures = Vec::new();
    for row in &rows {
        if let Some(pattern) = row["pattern"].as_str() {
            let invalid = row["invalid"].as_bool().unwrap_or(false);
            if glob::Pattern::parse(pattern).is_err() != invalid {
                failures.push(row.to_string());
            }
            continue;
        }
        let patterns: Vec<_> = row["patterns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| glob::Pattern::parse(p.as_str().unwrap()).unwrap())
            .collect();
        let found = glob::any_matches(&patterns, row["ref"].as_str().unwrap());
        if Some(found) != row["match"].as_bool() {
            failures.push(row.to_string());
        }
    }
    verdict(&failures, rows.len());
}

#[test]
fn filter_event_rows() {
    let rows = rows("filter_event.jsonl");
    let mut failures = Vec::new();
    for row in &rows {
        let text = format!("on: {}\njobs: {{a: {{runs-on: x, steps: [{{run: x}}]}}}}", row["on"]);
        let (workflow, diagnostics) = read_workflow(&Source::new("e.yml", text), 0);
        let wanted_error = row["error"].as_bool().or(row["invalid"].as_bool()).unwrap_or(false);
        let Some(workflow) = workflow else {
            if !wanted_error {
                failures.push(format!("{row}\n  -> {diagnostics:?}"));
            }
            continue;
        };
        let field = |name: &str| row[name].as_str().map(str::to_owned);
        let files = row["files"]
            .as_array()
            .map(|list| list.iter().map(|f| f.as_str().unwrap().to_owned()).collect::<Vec<_>>());
        let facts = EventFacts {
            event: field("event").unwrap_or_default(),
            git_ref: field("ref").unwrap_or_default(),
            base_ref: field("base_ref"),
            action: field("action"),
            files,
            workflow: field("workflow"),
            head_branch: field("head_branch"),
        };
        let found = select(&workflow, &facts);
        if wanted_error || Some(found.is_ok()) != row["match"].as_bool() {
            failures.push(format!("{row}\n  -> {found:?}"));
        }
    }
    verdict(&failures, rows.len());
}

#[test]
fn cron_rows() {
    let rows = rows("cron.jsonl");
    let mut failures = Vec::new();
    for row in &rows {
        let mut found = cron::Cron::parse(row["cron"].as_str().unwrap());
        if row["timezone"].as_str().is_some_and(|zone| cron::time_zone(zone).is_none()) {
            found = Err("unknown time zone".into());
        }
        let valid = row["valid"].as_bool().unwrap();
        let Ok(schedule) = found.as_ref().filter(|_| valid) else {
            if found.is_ok() != valid {
                failures.push(format!("{row} -> {found:?}"));
            }
            continue;
        };
        let warned = schedule.shortest_gap_minutes() < 5;
        if warned != row["warning"].as_bool().unwrap_or(false) {
            failures.push(format!("{row} -> gap {}", schedule.shortest_gap_minutes()));
        }
        let instant =
            |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let zone = cron::time_zone(row["timezone"].as_str().unwrap_or("UTC")).unwrap();
        let mut at = instant(row["from"].as_str().unwrap());
        for wanted in row["next"].as_array().into_iter().flatten() {
            let next = schedule.next_after(at, &zone);
            if next != Some(instant(wanted.as_str().unwrap())) {
                failures.push(format!("{row} -> {next:?}"));
                break;
            }
            at = next.unwrap();
        }
    }
    verdict(&failures, rows.len());
}

/// `Result` with `Option`'s filter, to fold two conditions into one `let else`.
trait Filter<T> {
    fn filter(self, test: impl FnOnce(&T) -> bool) -> Result<T, ()>;
}

impl<T, E> Filter<T> for Result<T, E> {
    fn filter(self, test: impl FnOnce(&T) -> bool) -> Result<T, ()> {
        match self {
            Ok(value) if test(&value) => Ok(value),
            _ => Err(()),
        }
    }
}
