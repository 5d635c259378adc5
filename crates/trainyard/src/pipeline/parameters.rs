//! Parameters as people write them, on the command line and in files.

use std::path::Path;

use serde_json::{Map, Value as Json};
use trainyard_diagnostics::Source;
use trainyard_pipeline::{ParameterType, Pipeline, of_text, whole};

use crate::error::{Error, Result};

/// Those of a file, YAML or JSON: a mapping. Nothing is converted.
pub fn of_file(path: &Path) -> Result<Map<String, Json>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
    let name = path.display().to_string();
    let read = trainyard_pipeline::plain_values(&Source::new(name.as_str(), text.as_str()));
    let value = read.map_err(|d| Error::new(format!("{name}: {}", d.message)))?;
    match value {
        Json::Object(map) => Ok(map.into_iter().map(|(k, v)| (k, whole(v))).collect()),
        Json::Null => Ok(Map::new()),
        _ => Err(Error::new(format!("{name}: a mapping of parameters is expected"))
            .hint("as in `epochs: 3`")),
    }
}

/// Those of the command line, `NAME=VALUE`: each is read as the type that the pipeline gives it.
pub fn of_line(pipeline: &Pipeline, given: &[(String, String)]) -> Result<Map<String, Json>> {
    let root = &pipeline.components[pipeline.root];
    let mut map = Map::new();
    for (name, text) in given {
        // An unknown one is refused later, with all else that is wrong.
        let kind = root.parameter(name).map_or(ParameterType::String, |p| p.kind);
        if map.contains_key(name) {
            return Err(Error::new(format!("--param {name} is given twice")));
        }
        // `1` is a number; a task that writes it into a file may mean true by it.
        let is_bool = matches!(text.as_str(), "true" | "True" | "false" | "False");
        let read = match kind {
            ParameterType::Boolean if !is_bool => Err(format!("'{text}' is no boolean")),
            kind => of_text(text, kind),
        };
        let value = read.map_err(|why| {
            Error::new(format!("--param {name}: {why}; it is {}", kind.as_str())).hint(match kind {
                ParameterType::List => format!("as in --param '{name}=[1, 2]'"),
                ParameterType::Struct => format!("as in --param '{name}={{\"a\": 1}}'"),
                ParameterType::Boolean => format!("as in --param {name}=true"),
                _ => format!("as in --param {name}=3"),
            })
        })?;
        map.insert(name.clone(), value);
    }
    Ok(map)
}
