//! Documents into a [`Pipeline`].

use serde_json::{Map, Value as Json};
use trainyard_diagnostics::{Diagnostic, Source, Span};
use trainyard_yaml::{Kind, Node, parse_all};

use super::fields::{Fields, Reader, json};
use super::{
    ArtifactSource, ArtifactType, Body, Component, Container, Dag, Executor, ImportUri, Importer,
    InputArtifact, InputParameter, Items, Iterator, OutputArtifact, Parameter, ParameterSource,
    ParameterType, Pipeline, Resources, Retry, Selector, Task,
};
use crate::condition::Condition;

/// Nodes of the documents.
const MAX_NODES: usize = 2_000_000;

/// What came of reading.
#[derive(Debug)]
pub struct Read {
    /// The pipeline, if it can be run.
    pub pipeline: Option<Pipeline>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a compiled pipeline: one document, or one with the platform's behind it.
pub fn read(source: &Source) -> Read {
    let mut reader = Reader::default();
    let documents = match documents(source) {
        Ok(documents) => documents,
        Err(diagnostic) => return Read { pipeline: None, diagnostics: vec![diagnostic] },
    };
    let manifest = documents.first().map(json).filter(crate::argo::is_argo);
    let pipeline = match manifest {
        Some(manifest) => match crate::argo::read(&manifest) {
            Ok(pipeline) => Some(pipeline),
            Err(wrong) => {
                for why in wrong {
                    reader.error(
                        Span::new(0, 0),
                        why,
                        "docs/pipelines.md tells what of kfp 1.8 is read",
                    );
                }
                None
            }
        },
        None => pipeline(&mut reader, &documents),
    };
    if let Some(pipeline) = &pipeline {
        crate::check::check(pipeline, &mut reader.diagnostics);
    }
    let bad = trainyard_diagnostics::has_errors(&reader.diagnostics);
    Read { pipeline: pipeline.filter(|_| !bad), diagnostics: reader.diagnostics }
}

/// The documents; JSON that is no YAML (surrogates) is read as JSON.
fn documents(source: &Source) -> Result<Vec<Node>, Diagnostic> {
    let error = match parse_all(source, MAX_NODES) {
        Ok(documents) => return Ok(documents),
        Err(error) => error,
    };
    match serde_json::from_str::<Json>(source.text()) {
        Ok(value) => Ok(vec![plain(&value)]),
        Err(_) => Err(error),
    }
}

/// A node of JSON, at no place.
fn plain(value: &Json) -> Node {
    let kind = match value {
        Json::Null => Kind::Null,
        Json::Bool(on) => Kind::Bool(*on),
        Json::Number(number) => Kind::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::String(text.as_str().into()),
        Json::Array(items) => Kind::Sequence(items.iter().map(plain).collect()),
        Json::Object(map) => {
            let key =
                |k: &String| Node { span: Span::new(0, 0), kind: Kind::String(k.as_str().into()) };
            Kind::Mapping(map.iter().map(|(k, v)| (key(k), plain(v))).collect())
        }
    };
    Node { span: Span::new(0, 0), kind }
}

fn is_platform(node: &Node) -> bool {
    matches!(&node.kind, Kind::Mapping(pairs) if pairs.iter().any(|(k, _)| k.as_str() == Some("platforms")))
}

fn pipeline(r: &mut Reader, documents: &[Node]) -> Option<Pipeline> {
    let Some(first) = documents.first() else {
        r.error(
            Span::new(0, 0),
            "the file is empty",
            "compile a pipeline: kfp dsl compile --py F --output F.yaml",
        );
        return None;
    };
    // What the server gives and takes: the two beside each other.
    let wrapped = match &first.kind {
        Kind::Mapping(pairs) => {
            let get =
                |name: &str| pairs.iter().find(|(k, _)| k.as_str() == Some(name)).map(|(_, v)| v);
            get("pipeline_spec").map(|spec| (spec, get("platform_spec")))
        }
        _ => None,
    };
    let (spec, platform) = match wrapped {
        Some((spec, platform)) => (spec, platform),
        None => (first, documents.get(1)),
    };
    for more in documents.iter().skip(1) {
        let second = documents.get(1).is_some_and(|d| std::ptr::eq(d, more));
        if !is_platform(more) || !second {
            r.error(
                more.span,
                "a second pipeline stands in the file",
                "one pipeline a file, with its platform's document behind it",
            );
            return None;
        }
    }
    let mut fields = r.fields(spec, "pipeline");
    let version = r.text(fields.take("schemaVersion"), "schemaVersion");
    if version != "2.1.0" {
        let message = match version.as_str() {
            "" => "this is no compiled pipeline: it has no schemaVersion".to_owned(),
            other => format!("schemaVersion is '{other}'; 2.1.0 is known"),
        };
        r.error(
            fields.span,
            message,
            "compile it with kfp 2: kfp dsl compile --py F --output F.yaml",
        );
        return None;
    }
    let mut info = match fields.take("pipelineInfo") {
        Some(node) => r.fields(node, "pipelineInfo"),
        None => r.fields(&EMPTY, "pipelineInfo"),
    };
    let name = r.text(info.take("name"), "pipelineInfo.name");
    let display_name = r.text(info.take("displayName"), "pipelineInfo.displayName");
    let description = r.text(info.take("description"), "pipelineInfo.description");
    r.finish(&info);
    if name.is_empty() {
        r.error(fields.span, "the pipeline has no name", "pipelineInfo.name names it");
    }
    let sdk_version = r.text(fields.take("sdkVersion"), "sdkVersion");
    let default_root = r.text(fields.take("defaultPipelineRoot"), "defaultPipelineRoot");
    let mut components = Vec::new();
    for (name, node) in r.entries(fields.take("components"), "components") {
        components.push(component(r, name, node));
    }
    let root = components.len();
    match fields.take("root") {
        Some(node) => components.push(component(r, "root".into(), node)),
        None => {
            r.error(fields.span, "the pipeline has no root", "compile it anew");
            return None;
        }
    }
    let mut executors = Vec::new();
    if let Some(node) = fields.take("deploymentSpec") {
        let mut deployment = r.fields(node, "deploymentSpec");
        for (label, node) in r.entries(deployment.take("executors"), "executors") {
            if let Some(executor) = executor(r, node) {
                executors.push((label, executor));
            }
        }
        r.finish(&deployment);
    }
    r.finish(&fields);
    let (kubernetes, config) = platform.map(|p| platforms(r, p)).unwrap_or_default();
    Some(Pipeline {
        name,
        display_name,
        description,
        sdk_version,
        default_root,
        components,
        root,
        executors,
        kubernetes,
        config,
    })
}

static EMPTY: Node = Node { span: Span { start: 0, end: 0 }, kind: Kind::Null };

/// What the Kubernetes platform says; other platforms are none of ours.
fn platforms(r: &mut Reader, node: &Node) -> (Vec<(String, Json)>, Option<Json>) {
    let mut fields = r.fields(node, "platform document");
    let mut found = (Vec::new(), None);
    for (name, node) in r.entries(fields.take("platforms"), "platforms") {
        let mut platform = r.fields(node, "platform");
        let deployment = platform.take("deploymentSpec");
        let config = platform.take("pipelineConfig").map(json);
        platform.take("platform");
        platform.take("config");
        r.finish(&platform);
        if name != "kubernetes" {
            continue;
        }
        found.1 = config;
        if let Some(node) = deployment {
            let mut deployment = r.fields(node, "deploymentSpec of the platform");
            let executors = r.entries(deployment.take("executors"), "executors of the platform");
            found.0 = executors.into_iter().map(|(label, node)| (label, json(node))).collect();
            r.finish(&deployment);
        }
    }
    r.finish(&fields);
    found
}

fn component(r: &mut Reader, name: String, node: &Node) -> Component {
    let mut fields = r.fields(node, "component");
    let mut made = Component {
        name,
        span: node.span,
        parameters: Vec::new(),
        artifacts: Vec::new(),
        output_parameters: Vec::new(),
        output_artifacts: Vec::new(),
        body: Body::Dag(Dag::default()),
    };
    if let Some(node) = fields.take("inputDefinitions") {
        let mut inputs = r.fields(node, "inputDefinitions");
        for (name, node) in r.entries(inputs.take("parameters"), "parameters") {
            let parameter = input_parameter(r, node);
            made.parameters.push((name, parameter));
        }
        for (name, node) in r.entries(inputs.take("artifacts"), "artifacts") {
            let mut artifact = r.fields(node, "input artifact");
            let kind = artifact_type(r, artifact.take("artifactType"));
            let list = r.flag(artifact.take("isArtifactList"), "isArtifactList");
            let optional = r.flag(artifact.take("isOptional"), "isOptional");
            artifact.take("description");
            r.finish(&artifact);
            made.artifacts.push((name, InputArtifact { kind, list, optional }));
        }
        r.finish(&inputs);
    }
    if let Some(node) = fields.take("outputDefinitions") {
        let mut outputs = r.fields(node, "outputDefinitions");
        for (name, node) in r.entries(outputs.take("parameters"), "parameters") {
            let mut parameter = r.fields(node, "output parameter");
            let kind = parameter_type(r, &mut parameter);
            parameter.take("description");
            r.finish(&parameter);
            made.output_parameters.push((name, kind));
        }
        for (name, node) in r.entries(outputs.take("artifacts"), "artifacts") {
            let mut artifact = r.fields(node, "output artifact");
            let kind = artifact_type(r, artifact.take("artifactType"));
            let mut metadata = artifact.take("metadata").map_or(Json::Null, json);
            for old in ["properties", "customProperties"] {
                if let Some(node) = artifact.take(old) {
                    merge_old(&mut metadata, &json(node));
                }
            }
            let list = r.flag(artifact.take("isArtifactList"), "isArtifactList");
            artifact.take("description");
            r.finish(&artifact);
            made.output_artifacts.push((name, OutputArtifact { kind, metadata, list }));
        }
        r.finish(&outputs);
    }
    let span = fields.span;
    match (fields.take("dag"), fields.take("executorLabel")) {
        (Some(node), None) => made.body = Body::Dag(dag(r, node)),
        (None, Some(node)) => made.body = Body::Executor(r.text(Some(node), "executorLabel")),
        _ => r.error(
            span,
            format!("the component '{}' wants a dag or an executorLabel", made.name),
            "compile the pipeline anew",
        ),
    }
    // What they say of passing pod settings on has no meaning without pods.
    fields.take("singlePlatformSpecs");
    fields.take("taskConfigPassthroughs");
    r.finish(&fields);
    made
}

/// `{"framework": {"constant": {"stringValue": "x"}}}`, as old SDKs wrote metadata.
fn merge_old(metadata: &mut Json, old: &Json) {
    let Json::Object(old) = old else { return };
    if !metadata.is_object() {
        *metadata = Json::Object(Map::new());
    }
    let Json::Object(all) = metadata else { return };
    for (name, value) in old {
        let value = value.get("constant").or(value.get("constantValue")).unwrap_or(value);
        let value = ["stringValue", "intValue", "doubleValue"]
            .iter()
            .find_map(|k| value.get(k))
            .unwrap_or(value);
        all.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

fn input_parameter(r: &mut Reader, node: &Node) -> InputParameter {
    let mut fields = r.fields(node, "input parameter");
    let kind = parameter_type(r, &mut fields);
    let parameter = InputParameter {
        kind,
        default: fields.take("defaultValue").map(json).filter(|v| !v.is_null()),
        optional: r.flag(fields.take("isOptional"), "isOptional"),
        literals: r.items(fields.take("literals"), "literals").iter().map(json).collect(),
        description: r.text(fields.take("description"), "description"),
    };
    r.finish(&fields);
    parameter
}

fn parameter_type(r: &mut Reader, fields: &mut Fields<'_>) -> ParameterType {
    let old = fields.take("type");
    let node = fields.take("parameterType").or(old);
    let text = r.text(node, "parameterType");
    match text.as_str() {
        "NUMBER_DOUBLE" | "DOUBLE" => ParameterType::Double,
        "NUMBER_INTEGER" | "INT" => ParameterType::Integer,
        "STRING" => ParameterType::String,
        "BOOLEAN" => ParameterType::Boolean,
        "LIST" => ParameterType::List,
        "STRUCT" => ParameterType::Struct,
        "TASK_FINAL_STATUS" => ParameterType::FinalStatus,
        "TASK_CONFIG" => ParameterType::TaskConfig,
        other => {
            let span = node.map_or(fields.span, |n| n.span);
            let help = "NUMBER_DOUBLE, NUMBER_INTEGER, STRING, BOOLEAN, LIST, STRUCT, TASK_FINAL_STATUS, TASK_CONFIG";
            r.error(span, format!("there is no parameterType '{other}'"), help);
            ParameterType::String
        }
    }
}

fn artifact_type(r: &mut Reader, node: Option<&Node>) -> ArtifactType {
    let mut fields = r.fields(node.unwrap_or(&EMPTY), "artifactType");
    let made = ArtifactType {
        schema_title: r.text(fields.take("schemaTitle"), "schemaTitle"),
        schema_uri: r.text(fields.take("schemaUri"), "schemaUri"),
        instance_schema: r.text(fields.take("instanceSchema"), "instanceSchema"),
        schema_version: r.text(fields.take("schemaVersion"), "schemaVersion"),
    };
    r.finish(&fields);
    made
}

fn dag(r: &mut Reader, node: &Node) -> Dag {
    let mut fields = r.fields(node, "dag");
    let mut made = Dag::default();
    for (key, node) in r.entries(fields.take("tasks"), "tasks") {
        let task = task(r, key, node);
        made.tasks.push(task);
    }
    if let Some(node) = fields.take("outputs") {
        let mut outputs = r.fields(node, "outputs of a dag");
        for (name, node) in r.entries(outputs.take("parameters"), "parameters") {
            let mut output = r.fields(node, "output parameter of a dag");
            let one = output.take("valueFromParameter").map(|n| selector(r, n, true));
            let of = output.take("valueFromOneof").map(|node| {
                let mut fields = r.fields(node, "valueFromOneof");
                let items = r.items(fields.take("parameterSelectors"), "parameterSelectors");
                r.finish(&fields);
                items.iter().map(|n| selector(r, n, true)).collect::<Vec<_>>()
            });
            r.finish(&output);
            made.parameters.push((name, of.or(one.map(|s| vec![s])).unwrap_or_default()));
        }
        for (name, node) in r.entries(outputs.take("artifacts"), "artifacts") {
            let mut output = r.fields(node, "output artifact of a dag");
            let items = r.items(output.take("artifactSelectors"), "artifactSelectors");
            r.finish(&output);
            let selectors = items.iter().map(|n| selector(r, n, false)).collect();
            made.artifacts.push((name, selectors));
        }
        r.finish(&outputs);
    }
    r.finish(&fields);
    made
}

fn selector(r: &mut Reader, node: &Node, of_parameter: bool) -> Selector {
    let mut fields = r.fields(node, "selector of an output");
    let task = r.text(fields.take("producerSubtask"), "producerSubtask");
    let key = key(r, &mut fields, of_parameter);
    r.finish(&fields);
    Selector { task, key }
}

fn key(r: &mut Reader, fields: &mut Fields<'_>, of_parameter: bool) -> String {
    match of_parameter {
        true => r.text(fields.take("outputParameterKey"), "outputParameterKey"),
        false => r.text(fields.take("outputArtifactKey"), "outputArtifactKey"),
    }
}

fn output_of(r: &mut Reader, node: &Node, of_parameter: bool) -> Selector {
    let mut fields = r.fields(node, "output of a task");
    let task = r.text(fields.take("producerTask"), "producerTask");
    let key = key(r, &mut fields, of_parameter);
    r.finish(&fields);
    Selector { task, key }
}

fn task(r: &mut Reader, key: String, node: &Node) -> Task {
    let mut fields = r.fields(node, "task");
    let mut made = Task {
        name: key.clone(),
        key,
        span: node.span,
        component: String::new(),
        parameters: Vec::new(),
        artifacts: Vec::new(),
        after: r.texts(fields.take("dependentTasks"), "dependentTasks"),
        cache: false,
        cache_key: String::new(),
        condition: None,
        always: false,
        iterator: None,
        parallelism: None,
        retry: None,
    };
    if let Some(node) = fields.take("taskInfo") {
        let mut info = r.fields(node, "taskInfo");
        let name = r.text(info.take("name"), "taskInfo.name");
        r.finish(&info);
        if !name.is_empty() {
            made.name = name;
        }
    }
    if let Some(node) = fields.take("componentRef") {
        let mut component = r.fields(node, "componentRef");
        made.component = r.text(component.take("name"), "componentRef.name");
        r.finish(&component);
    }
    if let Some(node) = fields.take("inputs") {
        let mut inputs = r.fields(node, "inputs of a task");
        for (name, node) in r.entries(inputs.take("parameters"), "parameters") {
            if let Some(parameter) = parameter(r, node) {
                made.parameters.push((name, parameter));
            }
        }
        for (name, node) in r.entries(inputs.take("artifacts"), "artifacts") {
            let mut fields = r.fields(node, "input artifact of a task");
            let output = fields.take("taskOutputArtifact").map(|n| output_of(r, n, false));
            let input = fields
                .take("componentInputArtifact")
                .map(|n| r.text(Some(n), "componentInputArtifact"));
            r.finish(&fields);
            match (output, input) {
                (Some(output), None) => made.artifacts.push((name, ArtifactSource::Output(output))),
                (None, Some(input)) => made.artifacts.push((name, ArtifactSource::Input(input))),
                _ => r.error(
                    node.span,
                    format!("the artifact '{name}' has no source"),
                    "taskOutputArtifact or componentInputArtifact names it",
                ),
            }
        }
        r.finish(&inputs);
    }
    if let Some(node) = fields.take("cachingOptions") {
        let mut caching = r.fields(node, "cachingOptions");
        made.cache = r.flag(caching.take("enableCache"), "enableCache");
        made.cache_key = r.text(caching.take("cacheKey"), "cacheKey");
        r.finish(&caching);
    }
    if let Some(node) = fields.take("triggerPolicy") {
        let mut policy = r.fields(node, "triggerPolicy");
        if let Some(node) = policy.take("condition") {
            made.condition = condition(r, node);
        }
        let strategy = r.text(policy.take("strategy"), "strategy");
        match strategy.as_str() {
            "" | "TRIGGER_STRATEGY_UNSPECIFIED" | "ALL_UPSTREAM_TASKS_SUCCEEDED" => {}
            "ALL_UPSTREAM_TASKS_COMPLETED" => made.always = true,
            other => r.error(
                node.span,
                format!("there is no trigger strategy '{other}'"),
                "ALL_UPSTREAM_TASKS_SUCCEEDED or ALL_UPSTREAM_TASKS_COMPLETED",
            ),
        }
        r.finish(&policy);
    }
    made.iterator = iterator(r, &mut fields);
    if let Some(node) = fields.take("iteratorPolicy") {
        let mut policy = r.fields(node, "iteratorPolicy");
        let limit = r.number(policy.take("parallelismLimit"), "parallelismLimit");
        r.finish(&policy);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let limit = limit.clamp(0.0, f64::from(u32::MAX)) as u32;
        made.parallelism = Some(limit).filter(|l| *l > 0);
    }
    if let Some(node) = fields.take("retryPolicy") {
        made.retry = retry(r, node);
    }
    r.finish(&fields);
    made
}

fn parameter(r: &mut Reader, node: &Node) -> Option<Parameter> {
    let mut fields = r.fields(node, "input parameter of a task");
    let mut sources = Vec::new();
    if let Some(node) = fields.take("taskOutputParameter") {
        sources.push(ParameterSource::Output(output_of(r, node, true)));
    }
    if let Some(node) = fields.take("runtimeValue") {
        let mut value = r.fields(node, "runtimeValue");
        let old = value.take("constantValue").map(|node| {
            let old = json(node);
            ["stringValue", "intValue", "doubleValue"]
                .iter()
                .find_map(|k| old.get(k).cloned())
                .unwrap_or(old)
        });
        let constant = value.take("constant").map(json).or(old);
        let runtime = value.take("runtimeParameter").map(|n| r.text(Some(n), "runtimeParameter"));
        r.finish(&value);
        sources.push(match (constant, runtime) {
            (None, Some(name)) => ParameterSource::Input(name),
            (constant, _) => ParameterSource::Constant(constant.unwrap_or(Json::Null)),
        });
    }
    if let Some(node) = fields.take("componentInputParameter") {
        sources.push(ParameterSource::Input(r.text(Some(node), "componentInputParameter")));
    }
    if let Some(node) = fields.take("taskFinalStatus") {
        let mut status = r.fields(node, "taskFinalStatus");
        sources.push(ParameterSource::FinalStatus(
            r.text(status.take("producerTask"), "producerTask"),
        ));
        r.finish(&status);
    }
    let selector = fields.take("parameterExpressionSelector").and_then(|n| condition(r, n));
    r.finish(&fields);
    if sources.len() != 1 {
        r.error(node.span, "an input parameter has one source", "compile the pipeline anew");
        return None;
    }
    sources.pop().map(|source| Parameter { source, selector })
}

fn condition(r: &mut Reader, node: &Node) -> Option<Condition> {
    let text = r.text(Some(node), "condition");
    match Condition::parse(&text) {
        Ok(condition) => Some(condition),
        Err(why) => {
            r.error(
                node.span,
                format!("the expression '{text}': {why}"),
                "expressions are those that the SDK writes: docs/pipelines.md",
            );
            None
        }
    }
}

fn iterator(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Iterator> {
    if let Some(node) = fields.take("parameterIterator") {
        let mut fields = r.fields(node, "parameterIterator");
        let item = r.text(fields.take("itemInput"), "itemInput");
        let mut items = r.fields(fields.take("items").unwrap_or(&EMPTY), "items");
        let raw = items.take("raw");
        let input = items.take("inputParameter").map(|n| r.text(Some(n), "inputParameter"));
        r.finish(&items);
        r.finish(&fields);
        let items = match (raw, input) {
            (_, Some(input)) => Items::Parameter(input),
            (Some(raw), None) => {
                let text = r.text(Some(raw), "raw");
                match serde_json::from_str::<Vec<Json>>(&text) {
                    Ok(items) => Items::Raw(items.into_iter().map(crate::values::whole).collect()),
                    Err(error) => {
                        r.error(
                            raw.span,
                            format!("the items of the loop are no JSON list: {error}"),
                            "write a list: '[1, 2]'",
                        );
                        Items::Raw(Vec::new())
                    }
                }
            }
            (None, None) => {
                r.error(node.span, "the loop has no items", "compile the pipeline anew");
                Items::Raw(Vec::new())
            }
        };
        return Some(Iterator { items, item });
    }
    let node = fields.take("artifactIterator")?;
    let mut fields = r.fields(node, "artifactIterator");
    let item = r.text(fields.take("itemInput"), "itemInput");
    let mut items = r.fields(fields.take("items").unwrap_or(&EMPTY), "items");
    let input = r.text(items.take("inputArtifact"), "inputArtifact");
    r.finish(&items);
    r.finish(&fields);
    Some(Iterator { items: Items::Artifact(input), item })
}

fn retry(r: &mut Reader, node: &Node) -> Option<Retry> {
    let mut fields = r.fields(node, "retryPolicy");
    let count = r.number(fields.take("maxRetryCount"), "maxRetryCount");
    let mut time = |r: &mut Reader, name: &'static str| {
        let node = fields.take(name);
        let text = r.text(node, name);
        let seconds = text.trim_end_matches('s').parse::<f64>().ok();
        if seconds.is_none() && !text.is_empty() {
            let span = node.map_or(fields.span, |n| n.span);
            r.error(span, format!("{name}: '{text}' is no time"), "seconds, as `30s`");
        }
        #[allow(clippy::cast_possible_truncation)]
        let millis = (seconds.unwrap_or_default() * 1000.0).clamp(0.0, 1e15) as i64;
        millis
    };
    let backoff_ms = time(r, "backoffDuration");
    let max_ms = time(r, "backoffMaxDuration");
    let factor = r.number(fields.take("backoffFactor"), "backoffFactor");
    r.finish(&fields);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = count.clamp(0.0, 1e6) as u32;
    // Argo takes no maximum for an hour (`retryPolicy` in `dag.go`).
    let max_ms = if max_ms == 0 { 3_600_000 } else { max_ms };
    let factor = if factor <= 0.0 { 2.0 } else { factor };
    // None at all is a policy, too: that of a graph around it is not its own then.
    Some(Retry { count, backoff_ms, factor, max_ms })
}

fn executor(r: &mut Reader, node: &Node) -> Option<Executor> {
    let mut fields = r.fields(node, "executor");
    if let Some(node) = fields.take("importer") {
        let made = importer(r, node);
        r.finish(&fields);
        return Some(Executor::Importer(Box::new(made)));
    }
    for vertex in ["resolver", "customJob"] {
        if fields.has(vertex) {
            r.error(
                node.span,
                format!("an executor of the kind '{vertex}' runs at Vertex AI alone"),
                "use a container or an importer",
            );
            return None;
        }
    }
    let Some(node) = fields.take("container") else {
        r.error(
            node.span,
            "an executor is a container or an importer",
            "compile the pipeline anew",
        );
        return None;
    };
    r.finish(&fields);
    let mut fields = r.fields(node, "container");
    let mut made = Container {
        image: r.text(fields.take("image"), "image"),
        command: r.texts(fields.take("command"), "command"),
        args: r.texts(fields.take("args"), "args"),
        ..Container::default()
    };
    for node in r.items(fields.take("env"), "env") {
        let mut variable = r.fields(node, "variable");
        let name = r.text(variable.take("name"), "name");
        let value = r.text(variable.take("value"), "value");
        r.finish(&variable);
        made.env.push((name, value));
    }
    if let Some(node) = fields.take("resources") {
        made.resources = resources(r, node);
    }
    // Vertex AI asks this before its cache.
    fields.take("lifecycle");
    r.finish(&fields);
    Some(Executor::Container(Box::new(made)))
}

fn resources(r: &mut Reader, node: &Node) -> Resources {
    let mut fields = r.fields(node, "resources");
    // The old fields are numbers: cores, and billions of bytes.
    let mut either = |r: &mut Reader, new: &'static str, old: &'static str, unit: &str| {
        let text = r.text(fields.take(new), new);
        let number = r.number(fields.take(old), old);
        match (text.is_empty(), number > 0.0) {
            (true, true) => format!("{}{unit}", trainyard_model::number_to_string(number)),
            _ => text,
        }
    };
    let mut made = Resources {
        cpu_limit: either(r, "resourceCpuLimit", "cpuLimit", ""),
        memory_limit: either(r, "resourceMemoryLimit", "memoryLimit", "G"),
        cpu_request: either(r, "resourceCpuRequest", "cpuRequest", ""),
        memory_request: either(r, "resourceMemoryRequest", "memoryRequest", "G"),
        ..Resources::default()
    };
    if let Some(node) = fields.take("accelerator") {
        let mut accelerator = r.fields(node, "accelerator");
        let old = r.text(accelerator.take("type"), "type");
        let new = r.text(accelerator.take("resourceType"), "resourceType");
        made.accelerator_type = if new.is_empty() { old } else { new };
        let old = r.text(accelerator.take("count"), "count");
        let new = r.text(accelerator.take("resourceCount"), "resourceCount");
        made.accelerator_count = if new.is_empty() { old } else { new };
        r.finish(&accelerator);
    }
    r.finish(&fields);
    made
}

fn importer(r: &mut Reader, node: &Node) -> Importer {
    let mut fields = r.fields(node, "importer");
    let mut uri = r.fields(fields.take("artifactUri").unwrap_or(&EMPTY), "artifactUri");
    let constant = uri.take("constant").map(|n| r.text(Some(n), "constant"));
    let old = uri.take("constantValue").map(json);
    let old = old.and_then(|v| v.get("stringValue")?.as_str().map(str::to_owned));
    let runtime = uri.take("runtimeParameter").map(|n| r.text(Some(n), "runtimeParameter"));
    r.finish(&uri);
    let mut metadata = fields.take("metadata").map_or(Json::Null, json);
    for old in ["properties", "customProperties"] {
        if let Some(node) = fields.take(old) {
            merge_old(&mut metadata, &json(node));
        }
    }
    let made = Importer {
        uri: match runtime {
            Some(name) => ImportUri::Parameter(name),
            None => ImportUri::Constant(constant.or(old).unwrap_or_default()),
        },
        kind: artifact_type(r, fields.take("typeSchema")),
        metadata,
        reimport: r.flag(fields.take("reimport"), "reimport"),
        download: r.flag(fields.take("downloadToWorkspace"), "downloadToWorkspace"),
    };
    r.finish(&fields);
    made
}

/// A file of plain values: the one document of it.
///
/// # Errors
///
/// When it is no YAML, or more than one document.
pub fn plain_values(source: &Source) -> Result<Json, Diagnostic> {
    let documents = documents(source)?;
    match &documents[..] {
        [] => Ok(Json::Null),
        [one] => Ok(json(one)),
        [_, second, ..] => Err(Diagnostic::error(
            "yaml/documents",
            second.span,
            "Expected one document, found a second one",
        )),
    }
}
