//! The table of rooms in ARCHITECTURE.md is true: which crate may use which, and which are pure.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What no pure crate may pull in by itself: clocks, files, threads, networks, databases.
const IMPURE: &[&str] = &[
    "tokio",
    "axum",
    "rusqlite",
    "rustix",
    "reqwest",
    "ureq",
    "hyper",
    "signal-hook",
    "getrandom",
    "fastrand",
    "tempfile",
    "walkdir",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A row of the table: the crate, what it may use, whether it is pure.
struct Room {
    uses: BTreeSet<String>,
    pure: bool,
}

fn table() -> BTreeMap<String, Room> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rooms = text.split("## Rooms").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = rooms
        .lines()
        .filter(|l| l.starts_with("| `"))
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: Vec<String> = rows.iter().map(|r| r[0].trim_matches('`').to_owned()).collect();
    rows.iter()
        .zip(&names)
        .map(|(row, name)| {
            let [_, pure, _, uses] = row[..] else { panic!("a row of four cells: {row:?}") };
            let list = |text: &str| -> BTreeSet<String> {
                text.split(", ").map(str::to_owned).filter(|u| u != "–").collect()
            };
            let uses = match uses.strip_prefix("all but ") {
                Some(but) => {
                    let but = list(but);
                    names.iter().filter(|n| *n != name && !but.contains(*n)).cloned().collect()
                }
                None => list(uses),
            };
            (name.clone(), Room { uses, pure: pure == "yes" })
        })
        .collect()
}

/// Crates of the workspace with their dependencies, those for tests left out.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let short = |name: &str| name.strip_prefix("trainyard-").unwrap_or(name).to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let dependencies = dependencies
                .filter(|d| d["kind"].is_null())
                .map(|d| short(d["name"].as_str().unwrap()))
                .collect();
            (short(package["name"].as_str().unwrap()), dependencies)
        })
        .collect()
}

#[test]
fn every_crate_has_a_row_and_uses_what_it_says() {
    let (table, crates) = (table(), crates());
    let rows: Vec<&String> = table.keys().collect();
    let there: Vec<&String> = crates.keys().collect();
    assert_eq!(rows, there, "the table of rooms and the workspace");
    let mut wrong = Vec::new();
    for (name, room) in &table {
        let own: BTreeSet<String> =
            crates[name].iter().filter(|d| crates.contains_key(*d)).cloned().collect();
        for more in own.difference(&room.uses) {
            wrong.push(format!("{name} uses {more}, and its row does not say so"));
        }
        for less in room.uses.difference(&own) {
            wrong.push(format!("the row of {name} names {less}, which it does not use"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_crates_are_pure() {
    let (table, crates) = (table(), crates());
    let mut wrong = Vec::new();
    for (name, _) in table.iter().filter(|(_, room)| room.pure) {
        for dependency in crates[name].iter().filter(|d| IMPURE.contains(&d.as_str())) {
            wrong.push(format!("{name} is pure and uses {dependency}"));
        }
        for own in crates[name].iter().filter_map(|d| table.get(d).map(|room| (d, room))) {
            if !own.1.pure {
                wrong.push(format!("{name} is pure and uses {}", own.0));
            }
        }
        let bans = root().join("crates").join(name).join("clippy.toml");
        let bans = std::fs::read_to_string(bans).unwrap_or_default();
        if !bans.contains("std::time::SystemTime::now") || !bans.contains("std::fs::read") {
            wrong.push(format!("{name} is pure and its clippy.toml does not ban clocks and files"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
