//! Action files (`action.yml`).

use trainyard_expression::{Expr, ExprKind, Template, TemplateKind, parse_in};
use trainyard_job::spec::{CompositeSpec, Condition, DockerSpec, InputSpec, NodeSpec, StageSpec};

use crate::convert::Converter;
use crate::steps;

/// An action as it is understood.
#[derive(Debug, Clone)]
pub struct Action {
    /// `name`
    pub name: Option<String>,
    /// Inputs in order.
    pub inputs: Vec<InputSpec>,
    /// Names of the outputs, in order.
    pub outputs: Vec<String>,
    /// How it runs.
    pub runs: ActionRuns,
}

/// How an action runs.
#[derive(Debug, Clone)]
pub enum ActionRuns {
    /// `using: composite`
    Composite(CompositeSpec),
    /// `using: node20` and its kin.
    Node(Box<NodeSpec>),
    /// `using: docker`
    Docker(Box<DockerSpec>),
}

pub(crate) fn convert(c: &mut Converter<'_, '_>, root: &Template) -> Option<Action> {
    let name = root.get("name").and_then(Template::as_str).map(str::to_owned);
    let inputs: Vec<InputSpec> = root
        .get("inputs")
        .map(Template::pairs)
        .unwrap_or_default()
        .iter()
        .filter_map(|(key, definition)| {
            Some(InputSpec {
                name: key.as_str()?.to_owned(),
                default: definition
                    .get("default")
                    .filter(|t| t.kind != TemplateKind::Null)
                    .cloned(),
                required: definition
                    .get("required")
                    .is_some_and(|t| matches!(&t.kind, TemplateKind::Bool(true))),
                deprecation: definition
                    .get("deprecationMessage")
                    .and_then(Template::as_str)
                    .map(str::to_owned),
            })
        })
        .collect();
    let outputs = root.get("outputs").map(Template::pairs).unwrap_or_default();
    let Some(runs) = root.get("runs") else {
        c.error("action/runs", root.place, "Top level 'runs:' section is required for this action");
        c.help("a composite action needs `runs: {using: composite, steps: [...]}`");
        return None;
    };
    let using = runs.get("using").and_then(Template::as_str).unwrap_or_default();
    let lower = using.to_ascii_lowercase();
    let kind = match lower.as_str() {
        "composite" => {
            let Some(list) = runs.get("steps") else {
                c.error("action/steps", runs.place, "You must define at least one step");
                return None;
            };
            let steps = steps::read(c, list);
            let values = outputs
                .iter()
                .filter_map(|(key, o)| Some((key.as_str()?.to_owned(), o.get("value")?.clone())))
                .collect();
            ActionRuns::Composite(CompositeSpec {
                name: name.clone(),
                inputs: inputs.clone(),
                outputs: values,
                steps,
            })
        }
        "docker" => {
            let Some(image) = runs.get("image").and_then(Template::as_str) else {
                c.error(
                    "action/image",
                    runs.place,
                    "Missing 'image' in 'runs': a Dockerfile or docker://IMAGE",
                );
                return None;
            };
            let text = |key: &str| runs.get(key).and_then(Template::as_str).map(str::to_owned);
            ActionRuns::Docker(Box::new(DockerSpec {
                name: name.clone(),
                inputs: inputs.clone(),
                image: image.to_owned(),
                entrypoint: text("entrypoint"),
                args: runs.get("args").cloned(),
                env: runs.get("env").cloned(),
                pre: stage(c, runs, "pre-entrypoint", "pre-if"),
                post: stage(c, runs, "post-entrypoint", "post-if"),
            }))
        }
        node if ["node12", "node16", "node20", "node24"].contains(&node) => {
            let Some(main) = runs.get("main").and_then(Template::as_str) else {
                c.error(
                    "action/main",
                    runs.place,
                    "Missing 'main' in 'runs': the script of a JavaScript action",
                );
                return None;
            };
            ActionRuns::Node(Box::new(NodeSpec {
                name: name.clone(),
                inputs: inputs.clone(),
                using: lower.clone(),
                main: main.to_owned(),
                pre: stage(c, runs, "pre", "pre-if"),
                post: stage(c, runs, "post", "post-if"),
            }))
        }
        "" => {
            c.error("action/using", runs.place, "Missing 'using' value in 'runs'");
            return None;
        }
        _ => {
            c.error(
                "action/using",
                runs.get("using").map_or(runs.place, |t| t.place),
                format!("'using: {using}' is not supported, use 'docker', 'node12', 'node16', 'node20', 'node24' or 'composite' instead."),
            );
            return None;
        }
    };
    let outputs = outputs.iter().filter_map(|(k, _)| k.as_str().map(str::to_owned)).collect();
    Some(Action { name, inputs, outputs, runs: kind })
}

/// The script of a stage with its condition, in front of which nothing is put
/// (`ActionManifestManager.cs`: `always()` when there is none).
fn stage(
    c: &mut Converter<'_, '_>,
    runs: &Template,
    script: &str,
    condition: &str,
) -> Option<StageSpec> {
    let script = runs.get(script)?.as_str()?.to_owned();
    let always = |place| Condition {
        text: "always()".into(),
        tree: Expr { kind: ExprKind::Call("always".into(), Vec::new()), start: 0 },
        place,
    };
    let Some(template) = runs.get(condition) else {
        return Some(StageSpec { script, condition: always(runs.place) });
    };
    let place = template.place;
    let parsed = match &template.kind {
        TemplateKind::Expression(e) => Ok((e.text.clone(), Some(e.tree.clone()))),
        _ => {
            let text = template.as_str().unwrap_or_default();
            parse_in(text, &c.stage_scope).map(|tree| (text.trim().to_owned(), tree))
        }
    };
    let condition = match parsed {
        Ok((text, Some(tree))) => Condition { text, tree, place },
        Ok((_, None)) => always(place),
        Err(error) => {
            c.error("action/condition", place, format!("{condition}: {}", error.message));
            always(place)
        }
    };
    Some(StageSpec { script, condition })
}
