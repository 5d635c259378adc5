//! Problem matchers that the setup actions add: errors of the tools become annotations
//! (`.github/*.json` of actions/setup-python and actions/setup-node).

use std::path::PathBuf;

use serde_json::{Value, json};

use super::variable;
use crate::error::{Error, Result};

/// The matchers of Python tools.
pub const PYTHON: &[&str] = &["python"];
/// The matchers of Node tools.
pub const NODE: &[&str] = &["tsc", "eslint-stylish", "eslint-compact"];

fn patterns(owner: &str) -> Value {
    match owner {
        "tsc" => json!([{
            "regexp": r"^([^\s].*)[\(:](\d+)[,:](\d+)(?:\):\s+|\s+-\s+)(error|warning|info)\s+TS(\d+)\s*:\s*(.*)$",
            "file": 1, "line": 2, "column": 3, "severity": 4, "code": 5, "message": 6,
        }]),
        "eslint-stylish" => json!([
            {"regexp": r"^\s*([^\s].*)$", "file": 1},
            {
                "regexp": r"^\s+(\d+):(\d+)\s+(error|warning|info)\s+(.*)\s\s+(.*)$",
                "line": 1, "column": 2, "severity": 3, "message": 4, "code": 5, "loop": true,
            },
        ]),
        "eslint-compact" => json!([{
            "regexp": r"^(.+):\sline\s(\d+),\scol\s(\d+),\s([Ee]rror|[Ww]arning|[Ii]nfo)\s-\s(.+)\s\((.+)\)$",
            "file": 1, "line": 2, "column": 3, "severity": 4, "message": 5, "code": 6,
        }]),
        _ => json!([
            {"regexp": r#"^\s*File\s\"(.*)\",\sline\s(\d+),\sin\s(.*)$"#, "file": 1, "line": 2},
            {"regexp": r"^\s*raise\s(.*)\(\'(.*)\'\)$", "message": 2},
        ]),
    }
}

/// Adds them for the rest of the job. A matcher is read from a file, as any action's.
pub fn add(owners: &[&str]) -> Result<()> {
    let folder = PathBuf::from(variable("RUNNER_TEMP")?).join("_matchers");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
    for owner in owners {
        let path = folder.join(format!("{owner}.json"));
        let text = json!({"problemMatcher": [{"owner": owner, "pattern": patterns(owner)}]});
        std::fs::write(&path, text.to_string()).map_err(|e| Error::io("write", &path, &e))?;
        println!("##[add-matcher]{}", path.display());
    }
    Ok(())
}
