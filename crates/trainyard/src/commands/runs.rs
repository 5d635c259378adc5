//! `trainyard runs`: the latest runs of this machine.

use crate::error::Result;
use crate::exit::Exit;
use crate::paths::data_dir;
use crate::ui::duration;
use trainyard_store::{Journal, RunRow};

/// What to call the state of a run: one whose process is gone did not end.
pub fn status(row: &RunRow) -> String {
    let alive = std::path::Path::new(&format!("/proc/{}", row.process)).exists();
    match (row.status.as_str(), alive) {
        ("running", false) => "interrupted".into(),
        (status, _) => status.to_owned(),
    }
}

/// Lists them, newest first.
pub fn runs(limit: usize) -> Result<Exit> {
    let journal = Journal::open(&data_dir()?)?;
    let rows = journal.runs(limit)?;
    if rows.is_empty() {
        outln!("no runs yet: trainyard run");
    }
    for row in rows {
        let branch = row.reference.trim_start_matches("refs/heads/");
        // Between attempts a run rests.
        let time = match row.attempt {
            1 => row.ended.map(|e| duration(e - row.started)).unwrap_or_default(),
            attempts => format!("{attempts} tries"),
        };
        outln!(
            "{:>5}  {:<11}  {:<20}  {:<12}  {:<14}  {:>7}  {}",
            row.id,
            status(&row),
            cut(&row.workflow, 20),
            cut(&row.event, 12),
            cut(branch, 14),
            time,
            cut(&row.title, 48)
        );
    }
    Ok(Exit::Success)
}

fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
