//! What `deny.toml` says of licences and bans holds for every crate that is pulled in.
//! `cargo deny check` says more (advisories); this needs nothing installed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether an SPDX expression is met: one of its alternatives, all parts of it allowed.
fn allowed(expression: &str, list: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace(['(', ')'], " ");
    text.split(" OR ").any(|part| part.split(" AND ").all(|l| list.iter().any(|a| a == l.trim())))
}

#[test]
fn crates_have_licences_that_are_taken() {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let deny: toml::Table = toml::from_str(&text).unwrap();
    let texts = |value: &toml::Value| -> Vec<String> {
        let list = value.as_array().unwrap().iter();
        list.map(|v| v.as_str().or_else(|| v["name"].as_str()).unwrap().to_owned()).collect()
    };
    let list = texts(&deny["licenses"]["allow"]);
    let banned = deny["bans"]["deny"].as_array().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform"])
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        if !allowed(licence, &list) {
            wrong.push(format!("{name}: '{licence}'"));
        }
        let Some(ban) = banned.iter().find(|b| b["name"].as_str() == Some(name)) else { continue };
        // Those that may bring it in.
        let wrappers = ban.get("wrappers").map(&texts).unwrap_or_default();
        let uses = |node: &&serde_json::Value| {
            node["deps"].as_array().unwrap().iter().any(|d| d["pkg"] == package["id"])
        };
        for node in metadata["resolve"]["nodes"].as_array().unwrap().iter().filter(uses) {
            let user = packages.iter().find(|p| p["id"] == node["id"]).unwrap();
            let user = user["name"].as_str().unwrap();
            if !wrappers.iter().any(|w| w == user) {
                wrong.push(format!("{name} is banned, and {user} uses it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn alternatives() {
    let list = ["MIT".to_owned(), "Zlib".to_owned()];
    for (expression, wanted) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND Zlib", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT)", true),
        ("GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(allowed(expression, &list), wanted, "{expression}");
    }
}
