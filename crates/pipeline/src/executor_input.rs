//! What a task's process is given, and what is read of what it leaves (`launcher_v2.go`).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::bundle::{Artifact, Bundle};
use crate::placeholder::fill_text;
use crate::spec::{Component, Container, ParameterType};
use crate::values::{fits, kind_of, of_text, text_of, whole};

/// Nesting of `Concat` and `IfPresent`.
const MAX_DEPTH: usize = 32;

/// Where a task writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outputs {
    /// Its output parameters: name, type, file.
    pub parameters: Vec<(String, ParameterType, String)>,
    /// Its output artifacts: name and what they begin as, their places within `uri`.
    pub artifacts: Vec<(String, Artifact)>,
    /// `executor_output.json`
    pub file: String,
}

/// The places that a shell chose for a task's outputs.
#[derive(Debug, Clone, Copy)]
pub struct OutputPlaces<'a> {
    /// `ROOT/PIPELINE/RUN/TASK/UUID`: the task key is in it.
    pub root: &'a str,
    /// The folder of the files of output parameters, as the task sees it.
    pub parameters: &'a str,
    /// The folder of [`Outputs::file`]: that of the artifacts, as the task sees it, so that
    /// `dsl.get_uri` finds the root.
    pub local_root: &'a str,
}

impl Outputs {
    /// Those of a component.
    pub fn of(component: &Component, places: &OutputPlaces<'_>) -> Outputs {
        let artifact = |(name, output): &(String, crate::spec::OutputArtifact)| {
            let made = Artifact {
                name: name.clone(),
                uri: format!("{}/{name}", places.root),
                kind: output.kind.clone(),
                metadata: whole(output.metadata.clone()),
                ..Artifact::default()
            };
            (name.clone(), made)
        };
        Outputs {
            parameters: component
                .output_parameters
                .iter()
                .map(|(name, kind)| (name.clone(), *kind, format!("{}/{name}", places.parameters)))
                .collect(),
            artifacts: component.output_artifacts.iter().map(artifact).collect(),
            file: format!("{}/executor_output.json", places.local_root),
        }
    }
}

/// What a task's process is given.
#[derive(Clone)]
pub struct ExecutorInput<'a> {
    /// Its component.
    pub component: &'a Component,
    /// Its inputs.
    pub inputs: &'a Bundle,
    /// Where it writes.
    pub outputs: &'a Outputs,
    /// Where artifacts are, as the task sees them, by their addresses.
    pub path_of: &'a dyn Fn(&Artifact) -> Option<String>,
    /// Placeholders beyond inputs and outputs.
    pub more: &'a dyn Fn(&str) -> Option<String>,
}

fn runtime(artifact: &Artifact) -> Json {
    let mut made = Map::new();
    // What is recorded is known by its number (`metadata/converter.go`).
    let name = match artifact.id {
        0 => artifact.name.clone(),
        id => id.to_string(),
    };
    made.insert("name".into(), json!(name));
    made.insert("type".into(), json!(artifact.kind));
    made.insert("uri".into(), json!(artifact.uri));
    let metadata =
        if artifact.metadata.is_object() { artifact.metadata.clone() } else { json!({}) };
    made.insert("metadata".into(), metadata);
    if !artifact.custom_path.is_empty() {
        made.insert("customPath".into(), json!(artifact.custom_path));
    }
    Json::Object(made)
}

impl ExecutorInput<'_> {
    /// `{{$}}`: the message as JSON.
    pub fn to_json(&self) -> Json {
        let mut inputs = Map::new();
        if !self.inputs.parameters.is_empty() {
            inputs.insert("parameterValues".into(), json!(self.inputs.parameters));
        }
        if !self.inputs.artifacts.is_empty() {
            let lists = self.inputs.artifacts.iter().map(|(name, list)| {
                let list: Vec<Json> = list.iter().map(runtime).collect();
                (name.clone(), json!({"artifacts": list}))
            });
            inputs.insert("artifacts".into(), Json::Object(lists.collect()));
        }
        let mut outputs = Map::new();
        if !self.outputs.parameters.is_empty() {
            let files = self.outputs.parameters.iter();
            let files = files.map(|(n, _, file)| (n.clone(), json!({"outputFile": file})));
            outputs.insert("parameters".into(), Json::Object(files.collect()));
        }
        if !self.outputs.artifacts.is_empty() {
            let lists = self.outputs.artifacts.iter();
            let lists = lists.map(|(n, a)| (n.clone(), json!({"artifacts": [runtime(a)]})));
            outputs.insert("artifacts".into(), Json::Object(lists.collect()));
        }
        outputs.insert("outputFile".into(), json!(self.outputs.file));
        json!({"inputs": inputs, "outputs": outputs})
    }

    /// A text with its placeholders filled in.
    pub fn fill(&self, text: &str) -> String {
        if !text.contains("{{$") {
            return text.to_owned();
        }
        fill_text(text, &|name| self.placeholder(name))
    }

    fn placeholder(&self, name: &str) -> Option<String> {
        if name.is_empty() {
            return Some(self.to_json().to_string());
        }
        let Some((of, key, field)) = split(name) else { return (self.more)(name) };
        match (of, field) {
            ("inputs.parameters", "") => {
                let given = self.inputs.parameters.get(key);
                let default = || self.component.parameter(key)?.default.as_ref();
                given.or_else(default).map(text_of)
            }
            ("inputs.artifacts", "uri") => {
                Some(self.inputs.artifacts.get(key)?.first()?.uri.clone())
            }
            ("inputs.artifacts", "path") => {
                (self.path_of)(self.inputs.artifacts.get(key)?.first()?)
            }
            ("outputs.artifacts", "uri") => Some(self.output(key)?.uri.clone()),
            ("outputs.artifacts", "path") => (self.path_of)(self.output(key)?),
            ("outputs.parameters", "output_file") => {
                let found = self.outputs.parameters.iter().find(|(n, ..)| n == key);
                found.map(|(_, _, file)| file.clone())
            }
            _ => None,
        }
    }

    fn output(&self, key: &str) -> Option<&Artifact> {
        self.outputs.artifacts.iter().find(|(n, _)| n == key).map(|(_, a)| a)
    }

    /// The program with its arguments.
    ///
    /// # Errors
    ///
    /// When a template in it cannot be read.
    pub fn command(&self, container: &Container) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        for word in container.command.iter().chain(&container.args) {
            if !is_template(word) {
                words.push(self.fill(word));
                continue;
            }
            let template = serde_json::from_str(word)
                .map_err(|e| format!("the argument {word} cannot be read: {e}"))?;
            self.expand(&template, 0, &mut words)?;
        }
        Ok(words)
    }

    fn expand(&self, template: &Json, depth: usize, out: &mut Vec<String>) -> Result<(), String> {
        let bad = || format!("the argument {template} is neither text, Concat nor IfPresent");
        if depth > MAX_DEPTH {
            return Err(format!("an argument is nested deeper than {MAX_DEPTH}"));
        }
        match template {
            Json::String(text) if is_template(text) => {
                let inner: Json = serde_json::from_str(text).map_err(|e| format!("{text}: {e}"))?;
                self.expand(&inner, depth + 1, out)
            }
            Json::String(text) => {
                out.push(self.fill(text));
                Ok(())
            }
            Json::Array(items) => items.iter().try_for_each(|i| self.expand(i, depth + 1, out)),
            Json::Object(map) => {
                if let Some(Json::Array(parts)) = map.get("Concat") {
                    let mut words = Vec::new();
                    for part in parts {
                        self.expand(part, depth + 1, &mut words)?;
                    }
                    out.push(words.concat());
                    return Ok(());
                }
                let Some(condition) = map.get("IfPresent") else { return Err(bad()) };
                let name = condition["InputName"].as_str().ok_or_else(bad)?;
                let there = self.inputs.parameters.get(name).is_some_and(|v| !v.is_null())
                    || self.inputs.artifacts.get(name).is_some_and(|l| !l.is_empty());
                match condition.get(if there { "Then" } else { "Else" }) {
                    Some(chosen) if !chosen.is_null() => self.expand(chosen, depth + 1, out),
                    _ => Ok(()),
                }
            }
            other => {
                out.push(text_of(other));
                Ok(())
            }
        }
    }
}

fn is_template(word: &str) -> bool {
    let word = word.trim_start();
    let Some(rest) = word.strip_prefix('{').map(str::trim_start) else { return false };
    rest.starts_with("\"IfPresent\":") || rest.starts_with("\"Concat\":")
}

/// `inputs.artifacts['x'].uri` → `inputs.artifacts`, `x`, `uri`
fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (of, rest) = name.split_once('[')?;
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (key, field) = rest[1..].rsplit_once(&format!("{quote}]"))?;
    Some((of, key, field.strip_prefix('.').unwrap_or(field)))
}

/// What a task left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// Its outputs.
    pub outputs: Bundle,
}

/// Reads what a task left. `output` is the text of its executor output, if it wrote one; `file` gives
/// the text of an output parameter's file.
///
/// # Errors
///
/// A parameter that is in neither, or is of another type.
pub fn collect(
    outputs: &Outputs,
    output: Option<&str>,
    file: &dyn Fn(&str) -> Option<Result<String, String>>,
) -> Result<Collected, String> {
    let output: Json = match output.filter(|text| !text.trim().is_empty()) {
        Some(text) => serde_json::from_str(text)
            .map_err(|e| format!("its executor output ({}) is no JSON: {e}", outputs.file))?,
        None => Json::Null,
    };
    let mut made = Bundle::default();
    for (name, kind, path) in &outputs.parameters {
        let old = &output["parameters"][name];
        let old = ["stringValue", "intValue", "doubleValue"].iter().find_map(|k| old.get(k));
        let value = match output["parameterValues"].get(name).or(old) {
            Some(value) => {
                let value = whole(value.clone());
                let fitting = match kind {
                    ParameterType::Integer => value.is_i64(),
                    kind => fits(&value, *kind),
                };
                if !fitting {
                    return Err(format!(
                        "its output '{name}' is {}, and it gave {}",
                        kind.as_str(),
                        kind_of(&value)
                    ));
                }
                value
            }
            None => match file(path) {
                Some(text) => {
                    of_text(&text.map_err(|e| format!("its output '{name}': {e}"))?, *kind)
                        .map_err(|why| format!("its output '{name}' ({}): {why}", kind.as_str()))?
                }
                None => {
                    return Err(format!(
                        "it ended well and gave no output '{name}': neither in {} nor in {path}",
                        outputs.file
                    ));
                }
            },
        };
        made.parameters.insert(name.clone(), value);
    }
    for (name, artifact) in &outputs.artifacts {
        let told = &output["artifacts"][name]["artifacts"][0];
        let mut artifact = artifact.clone();
        let text = |key: &str| told[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        if let Some(uri) = text("uri") {
            artifact.uri = uri;
        }
        if let Some(path) = text("custom_path").or_else(|| text("customPath")) {
            artifact.custom_path = path;
        }
        merge(&mut artifact.metadata, &told["metadata"]);
        made.artifacts.insert(name.clone(), vec![artifact]);
    }
    Ok(Collected { outputs: made })
}

/// What a task says of an artifact comes beside what its component says.
fn merge(metadata: &mut Json, told: &Json) {
    let Json::Object(told) = told else { return };
    if !metadata.is_object() {
        *metadata = json!({});
    }
    if let Json::Object(all) = metadata {
        for (key, value) in told {
            all.insert(key.clone(), whole(value.clone()));
        }
    }
}

/// Variables of a container, with placeholders filled in.
impl ExecutorInput<'_> {
    /// The variables that a component sets.
    pub fn env(&self, container: &Container) -> BTreeMap<String, String> {
        container.env.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Body, InputParameter};

    fn component() -> Component {
        Component {
            name: "comp".into(),
            span: trainyard_diagnostics::Span::new(0, 0),
            parameters: vec![(
                "d".into(),
                InputParameter {
                    kind: ParameterType::Integer,
                    default: Some(json!(7)),
                    optional: true,
                    literals: Vec::new(),
                    description: String::new(),
                },
            )],
            artifacts: Vec::new(),
            output_parameters: vec![("o".into(), ParameterType::Double)],
            output_artifacts: Vec::new(),
            body: Body::Executor("e".into()),
        }
    }

    fn words(args: &[&str]) -> String {
        let component = component();
        let places = OutputPlaces { root: "s3://b/r", parameters: "/out", local_root: "/s3/b/r" };
        let mut outputs = Outputs::of(&component, &places);
        let made = Artifact { name: "m".into(), uri: "s3://b/r/m".into(), ..Artifact::default() };
        outputs.artifacts.push(("m".into(), made));
        let mut inputs = Bundle::default();
        for (name, value) in [
            ("n", json!(2)),
            ("text", json!("it's {{$.inputs.parameters['n']}}")),
            ("list", json!(["a", 1.5, {"k": true}])),
            ("null", Json::Null),
        ] {
            inputs.parameters.insert(name.into(), value);
        }
        let given = Artifact { name: "data".into(), uri: "gs://x/y".into(), ..Artifact::default() };
        inputs.artifacts.insert("data".into(), vec![given]);
        let input = ExecutorInput {
            component: &component,
            inputs: &inputs,
            outputs: &outputs,
            path_of: &|a| Some(a.uri.replace("://", "/")),
            more: &|name| (name == "pipeline_job_name").then(|| "run".to_owned()),
        };
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        let container = Container { args, ..Container::default() };
        match input.command(&container) {
            Ok(words) => words.join(" | "),
            Err(why) => format!("error: {why}"),
        }
    }

    #[test]
    fn placeholders() {
        insta::assert_snapshot!(words(&["--n={{$.inputs.parameters['n']}}", "{{$.inputs.parameters['text']}}", "{{$.inputs.parameters['list']}}"]), @r#"--n=2 | it's {{$.inputs.parameters['n']}} | ["a",1.5,{"k":true}]"#);
        insta::assert_snapshot!(words(&["{{$.inputs.parameters['d']}}", "{{$.inputs.parameters['none']}}"]), @"7 | {{$.inputs.parameters['none']}}");
        insta::assert_snapshot!(words(&["{{$.inputs.artifacts['data'].uri}}", "{{$.inputs.artifacts[\"data\"].path}}", "{{$.outputs.artifacts['m'].path}}", "{{$.outputs.parameters['o'].output_file}}"]), @"gs://x/y | gs/x/y | s3/b/r/m | /out/o");
        insta::assert_snapshot!(words(&["{{$.pipeline_job_name}}", "{{$.inputs.artifacts['data'].metadata['x']}}"]), @"run | {{$.inputs.artifacts['data'].metadata['x']}}");
    }

    #[test]
    fn templates() {
        insta::assert_snapshot!(words(&[r#"{"Concat": ["--a=", "{{$.inputs.parameters['n']}}", {"IfPresent": {"InputName": "none", "Then": "x", "Else": "!"}}]}"#]), @"--a=2!");
        insta::assert_snapshot!(words(&["a", r#"{"IfPresent": {"InputName": "n", "Then": ["--n", "{{$.inputs.parameters['n']}}"]}}"#, "b"]), @"a | --n | 2 | b");
        insta::assert_snapshot!(words(&["a", r#"{"IfPresent": {"InputName": "null", "Then": "x"}}"#, r#"{"IfPresent": {"InputName": "data", "Then": "data"}}"#]), @"a | data");
        // A default is no value given.
        insta::assert_snapshot!(words(&[r#"{"IfPresent": {"InputName": "d", "Then": "x", "Else": "y"}}"#]), @"y");
        insta::assert_snapshot!(words(&[r#"{"Concat": broken"#]), @r#"error: the argument {"Concat": broken cannot be read: expected value at line 1 column 12"#);
        insta::assert_snapshot!(words(&[r#"{"other": 1}"#]), @r#"{"other": 1}"#);
    }

    #[test]
    fn the_message() {
        insta::assert_snapshot!(words(&["{{$}}"]), @r#"{"inputs":{"parameterValues":{"list":["a",1.5,{"k":true}],"n":2,"null":null,"text":"it's {{$.inputs.parameters['n']}}"},"artifacts":{"data":{"artifacts":[{"name":"data","type":{},"uri":"gs://x/y","metadata":{}}]}}},"outputs":{"parameters":{"o":{"outputFile":"/out/o"}},"artifacts":{"m":{"artifacts":[{"name":"m","type":{},"uri":"s3://b/r/m","metadata":{}}]}},"outputFile":"/s3/b/r/executor_output.json"}}"#);
    }

    #[test]
    fn what_a_task_leaves() {
        let outputs = Outputs {
            parameters: vec![
                ("a".into(), ParameterType::Integer, "/p/a".into()),
                ("b".into(), ParameterType::List, "/p/b".into()),
            ],
            artifacts: vec![(
                "m".into(),
                Artifact {
                    name: "m".into(),
                    uri: "/r/m".into(),
                    metadata: json!({"x": 1, "y": 2}),
                    ..Artifact::default()
                },
            )],
            file: "/r/executor_output.json".into(),
        };
        let check = |output: Option<&str>, a: Option<&str>, b: Option<&str>| {
            let file = |path: &str| {
                let text = if path == "/p/a" { a } else { b };
                text.map(|t| Ok(t.to_owned()))
            };
            match collect(&outputs, output, &file) {
                Ok(collected) => serde_json::to_string(&collected.outputs).unwrap(),
                Err(why) => format!("error: {why}"),
            }
        };
        insta::assert_snapshot!(check(None, Some("1\n"), Some("[2.0]")), @r#"{"p":{"a":1,"b":[2]},"a":{"m":[{"name":"m","uri":"/r/m","type":{},"metadata":{"x":1,"y":2}}]}}"#);
        insta::assert_snapshot!(check(Some(r#"{"parameterValues": {"a": 3}, "artifacts": {"m": {"artifacts": [{"uri": "/elsewhere", "metadata": {"y": 4.0, "z": "s"}, "custom_path": "/c"}]}}}"#), Some("9"), Some("[]")), @r#"{"p":{"a":3,"b":[]},"a":{"m":[{"name":"m","uri":"/elsewhere","type":{},"metadata":{"x":1,"y":4,"z":"s"},"custom_path":"/c"}]}}"#);
        insta::assert_snapshot!(check(Some("{}"), Some("1"), None), @"error: it ended well and gave no output 'b': neither in /r/executor_output.json nor in /p/b");
        insta::assert_snapshot!(check(None, Some("one"), Some("[]")), @"error: its output 'a' (NUMBER_INTEGER): 'one' is no integer");
        insta::assert_snapshot!(check(Some(r#"{"parameterValues": {"a": "1"}}"#), None, Some("[]")), @"error: its output 'a' is NUMBER_INTEGER, and it gave a text");
        insta::assert_snapshot!(check(Some(r#"{"parameterValues": {"a": 1.5}}"#), None, Some("[]")), @"error: its output 'a' is NUMBER_INTEGER, and it gave a number");
        insta::assert_snapshot!(check(Some("no"), Some("1"), Some("[]")), @"error: its executor output (/r/executor_output.json) is no JSON: expected ident at line 1 column 2");
    }
}
