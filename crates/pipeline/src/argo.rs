//! Argo manifests as `kfp` 1.8 compiles them from `dsl.ContainerOp`: read into the same [`Pipeline`].
//!
//! Their parameters are texts; `{{inputs.parameters.x}}` and its kin become the placeholders of PipelineSpec.
//! A loop over `withItems` is a graph of one task, so that an item is bound as an input. Deliberately absent:
//! what kfp never writes (steps, scripts, suspend, memoize).

use serde_json::{Map, Value as Json, json};
use trainyard_diagnostics::Span;

use crate::check::is_plain;
use crate::condition::Condition;
use crate::spec::{
    ArtifactSource, ArtifactType, Body, Component, Container, Dag, Executor, FixedPath,
    InputArtifact, InputParameter, Items, Iterator, OutputArtifact, Parameter, ParameterSource,
    ParameterType, PathOf, Pipeline, Resources, Retry, Selector, Task,
};
use crate::values::text_of;

/// The input under which the end of the workflow's body is known to its exit handler.
const STATUS: &str = "workflow.status";
/// The input that is one item of a loop.
const ITEM: &str = "item";

/// Whether a document is one of Argo's.
pub(crate) fn is_argo(document: &Json) -> bool {
    document["kind"] == "Workflow"
        && document["apiVersion"].as_str().is_some_and(|v| v.starts_with("argoproj.io/"))
}

struct Reader<'a> {
    templates: &'a [Json],
    components: Vec<Component>,
    executors: Vec<(String, Executor)>,
    kubernetes: Vec<(String, Json)>,
    wrong: Vec<String>,
}

fn list<'a>(of: &'a Json, key: &str) -> &'a [Json] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(of: &Json, key: &str) -> String {
    text_of(&of[key])
}

fn texts(of: &Json, key: &str) -> Vec<String> {
    list(of, key).iter().map(|t| placeholders(&text_of(t))).collect()
}

/// Argo's placeholders as PipelineSpec's.
fn placeholders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        match name_of(name.trim()) {
            Some(known) => out.push_str(&format!("{{{{$.{known}}}}}")),
            None => out.push_str(&format!("{{{{{name}}}}}")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The placeholder that means the same.
fn name_of(name: &str) -> Option<String> {
    Some(match name {
        "workflow.name" | "pod.name" => "pipeline_job_resource_name".to_owned(),
        "workflow.uid" => "pipeline_job_uuid".to_owned(),
        "workflow.creationTimestamp" => "pipeline_job_create_time_utc".to_owned(),
        STATUS => format!("inputs.parameters['{STATUS}']"),
        name => {
            if let Some(input) = name.strip_prefix("inputs.parameters.") {
                return Some(format!("inputs.parameters['{input}']"));
            }
            if name.starts_with("workflow.parameters.") {
                return Some(name.to_owned());
            }
            if name.starts_with("tasks.") || name == ITEM || name.starts_with("item.") {
                return Some(format!("inputs.parameters['{name}']"));
            }
            return None;
        }
    })
}

/// `tasks.A.outputs.parameters.P` → `A`, `P`
fn output_of(name: &str, kind: &str) -> Option<Selector> {
    let rest = name.strip_prefix("tasks.")?;
    let (task, key) = rest.split_once(&format!(".outputs.{kind}."))?;
    Some(Selector { task: task.to_owned(), key: key.to_owned() })
}

/// The names within `{{` and `}}`.
fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        found.push(name.trim());
        rest = after;
    }
    found
}

fn string() -> InputParameter {
    InputParameter {
        kind: ParameterType::String,
        default: None,
        optional: false,
        literals: Vec::new(),
        description: String::new(),
    }
}

fn optional() -> InputParameter {
    InputParameter { optional: true, ..string() }
}

/// Reads a manifest.
///
/// # Errors
///
/// All that is wrong with it.
pub(crate) fn read(document: &Json) -> Result<Pipeline, Vec<String>> {
    let spec = &document["spec"];
    let mut r = Reader {
        templates: list(spec, "templates"),
        components: Vec::new(),
        executors: Vec::new(),
        kubernetes: Vec::new(),
        wrong: Vec::new(),
    };
    let about = text(&document["metadata"]["annotations"], "pipelines.kubeflow.org/pipeline_spec");
    let about: Json = serde_json::from_str(&about).unwrap_or_default();
    let generated = text(&document["metadata"], "generateName");
    let named = text(&document["metadata"], "name");
    let name = match (text(&about, "name"), named.is_empty()) {
        (name, _) if !name.is_empty() => name,
        (_, false) => named,
        _ => generated.trim_end_matches('-').to_owned(),
    };
    for template in r.templates {
        r.template(template);
    }
    let (entry, exit) = (text(spec, "entrypoint"), text(spec, "onExit"));
    let parameters = list(&spec["arguments"], "parameters").iter().map(|p| {
        let given = Some(&p["value"]).filter(|v| !v.is_null());
        let kind = list(&about, "inputs").iter().find(|i| i["name"] == p["name"]);
        let known = kind.map(|k| text(k, "type")).unwrap_or_default();
        let parameter = InputParameter {
            default: given.map(|v| Json::from(text_of(v))),
            description: known,
            ..string()
        };
        (text(p, "name"), parameter)
    });
    let parameters: Vec<(String, InputParameter)> = parameters.collect();
    let mut tasks = vec![r.call(&entry, &entry, &parameters)];
    if !exit.is_empty() {
        let mut task = r.call(&exit, &exit, &parameters);
        task.after = vec![entry.clone()];
        task.always = true;
        let source = ParameterSource::WorkflowStatus(entry.clone());
        task.parameters.push((STATUS.to_owned(), Parameter { source, selector: None }));
        tasks.push(task);
    }
    let root = r.components.len();
    r.components.push(component("root", parameters, Body::Dag(Dag { tasks, ..Dag::default() })));
    let names = r.components.iter().flat_map(|c| {
        let parameters = c.output_parameters.iter().map(|(n, _)| n);
        let artifacts = c.output_artifacts.iter().map(|(n, _)| n);
        parameters.chain(artifacts).chain(c.tasks().iter().map(|t| &t.key))
    });
    let strange: Vec<String> = names
        .filter(|n| !is_plain(n))
        .map(|n| format!("'{}' is no name of a task or an output", n.escape_debug()))
        .collect();
    r.wrong.extend(strange);
    if !r.wrong.is_empty() {
        return Err(r.wrong);
    }
    Ok(Pipeline {
        name: plain(&name),
        display_name: name,
        description: text(&about, "description"),
        sdk_version: format!(
            "kfp-{}",
            text(&document["metadata"]["annotations"], "pipelines.kubeflow.org/kfp_sdk_version")
        ),
        default_root: String::new(),
        components: r.components,
        root,
        executors: r.executors,
        kubernetes: r.kubernetes,
        config: None,
    })
}

/// The name of a pipeline as Kubernetes has it: small letters, digits and dashes.
fn plain(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(kept).take(200).collect();
    match text.trim_matches('-') {
        "" => "pipeline".to_owned(),
        text => text.to_owned(),
    }
}

fn component(name: &str, parameters: Vec<(String, InputParameter)>, body: Body) -> Component {
    Component {
        name: name.to_owned(),
        span: Span::new(0, 0),
        parameters,
        artifacts: Vec::new(),
        output_parameters: Vec::new(),
        output_artifacts: Vec::new(),
        body,
    }
}

fn task(key: &str, component: &str) -> Task {
    Task {
        key: key.to_owned(),
        span: Span::new(0, 0),
        name: key.to_owned(),
        component: component.to_owned(),
        parameters: Vec::new(),
        artifacts: Vec::new(),
        after: Vec::new(),
        cache: false,
        cache_key: String::new(),
        condition: None,
        always: false,
        iterator: None,
        parallelism: None,
        retry: None,
    }
}

impl Reader<'_> {
    fn find(&self, name: &str) -> Option<&Json> {
        self.templates.iter().find(|t| t["name"] == name)
    }

    /// A task of a template, its inputs taken from the graph around it by their names.
    fn call(&mut self, key: &str, template: &str, around: &[(String, InputParameter)]) -> Task {
        let mut made = task(key, template);
        let Some(found) = self.find(template).cloned() else {
            self.wrong.push(format!("there is no template '{template}'"));
            return made;
        };
        for input in list(&found["inputs"], "parameters") {
            let name = text(input, "name");
            if around.iter().any(|(n, _)| *n == name) {
                let source = ParameterSource::Input(name.clone());
                made.parameters.push((name, Parameter { source, selector: None }));
            }
        }
        self.policy(&found, &mut made);
        made
    }

    /// What a template says of its tasks: retries, and whether equal ones stand for them.
    fn policy(&mut self, template: &Json, task: &mut Task) {
        let metadata = &template["metadata"];
        let cached = text(&metadata["labels"], "pipelines.kubeflow.org/enable_caching") == "true";
        let stale = text(&metadata["annotations"], "pipelines.kubeflow.org/max_cache_staleness");
        task.cache = cached && stale != "P0D" && template.get("container").is_some();
        let strategy = &template["retryStrategy"];
        let Ok(count) = text(strategy, "limit").parse::<u32>() else { return };
        let seconds = |key: &str| {
            let text = text(&strategy["backoff"], key);
            let (number, factor) = match text.strip_suffix(['s', 'm', 'h']) {
                Some(number) if text.ends_with('m') => (number, 60.0),
                Some(number) if text.ends_with('h') => (number, 3600.0),
                Some(number) => (number, 1.0),
                None => (text.as_str(), 1.0),
            };
            number.parse::<f64>().ok().map(|n| n * factor)
        };
        #[allow(clippy::cast_possible_truncation)]
        let millis = |s: f64| (s * 1000.0).clamp(0.0, 1e15) as i64;
        task.retry = (count > 0).then(|| Retry {
            count,
            backoff_ms: seconds("duration").map_or(0, millis),
            factor: text(&strategy["backoff"], "factor").parse().unwrap_or(2.0),
            max_ms: seconds("maxDuration").map_or(3_600_000, millis),
        });
    }

    fn template(&mut self, template: &Json) {
        let name = text(template, "name");
        let mut parameters: Vec<(String, InputParameter)> = Vec::new();
        for input in list(&template["inputs"], "parameters") {
            let default = Some(&input["value"]).filter(|v| !v.is_null());
            let default = default.map(|v| Json::from(text_of(v)));
            parameters.push((text(input, "name"), InputParameter { default, ..string() }));
        }
        if template.get("dag").is_some() {
            self.graph(&name, template, parameters);
        } else if template.get("container").is_some() {
            self.container(&name, template, parameters);
        } else if template.get("resource").is_some() {
            self.resource(&name, template, parameters);
        } else {
            self.wrong.push(format!(
                "the template '{name}' is neither a container, a graph nor a resource, which is all that kfp writes"
            ));
        }
    }

    fn graph(&mut self, name: &str, template: &Json, parameters: Vec<(String, InputParameter)>) {
        let mut dag = Dag::default();
        for given in list(&template["dag"], "tasks") {
            let (key, of) = (text(given, "name"), text(given, "template"));
            let Some(called) = self.find(&of).cloned() else {
                self.wrong.push(format!("the task '{key}': there is no template '{of}'"));
                continue;
            };
            let repeated = given.get("withItems").is_some() || given.get("withParam").is_some();
            let made = match repeated {
                true => self.repeated(&key, &of, given, &called),
                false => self.single(&key, &of, given, &called),
            };
            dag.tasks.push(made);
        }
        // What others read of this graph is what its tasks give.
        let mut made = component(name, parameters, Body::Dag(Dag::default()));
        for input in list(&template["inputs"], "artifacts") {
            let kind = ArtifactType::default();
            made.artifacts
                .push((text(input, "name"), InputArtifact { kind, list: false, optional: false }));
        }
        for output in list(&template["outputs"], "parameters") {
            let from = text(&output["valueFrom"], "parameter");
            if let Some(selector) = names(&from).first().and_then(|n| output_of(n, "parameters")) {
                made.output_parameters.push((text(output, "name"), ParameterType::String));
                dag.parameters.push((text(output, "name"), vec![selector]));
            }
        }
        for output in list(&template["outputs"], "artifacts") {
            let from = text(output, "from");
            if let Some(selector) = names(&from).first().and_then(|n| output_of(n, "artifacts")) {
                made.output_artifacts.push((text(output, "name"), artifact()));
                dag.artifacts.push((text(output, "name"), vec![selector]));
            }
        }
        made.body = Body::Dag(dag);
        self.components.push(made);
    }

    /// A task of a graph, its arguments bound there.
    fn single(&mut self, key: &str, of: &str, given: &Json, called: &Json) -> Task {
        let mut made = task(key, of);
        self.policy(called, &mut made);
        made.after = list(given, "dependencies").iter().map(text_of).collect();
        for argument in list(&given["arguments"], "parameters") {
            let (name, value) = (text(argument, "name"), text(argument, "value"));
            self.argument(&mut made, name, &value);
        }
        for argument in list(&given["arguments"], "artifacts") {
            let from = text(argument, "from");
            let name = names(&from).first().map(|n| (*n).to_owned()).unwrap_or_default();
            let source =
                match (output_of(&name, "artifacts"), name.strip_prefix("inputs.artifacts.")) {
                    (Some(output), _) => ArtifactSource::Output(output),
                    (None, Some(input)) => ArtifactSource::Input(input.to_owned()),
                    (None, None) => {
                        self.wrong.push(format!(
                            "the task '{key}': the artifact '{from}' is from nowhere"
                        ));
                        continue;
                    }
                };
            made.artifacts.push((text(argument, "name"), source));
        }
        let when = text(given, "when");
        if !when.is_empty() {
            self.speak(&mut made, &when);
            made.condition = Some(Condition::when(&placeholders(&when)));
        }
        made
    }

    /// What a text speaks of becomes inputs of the task, so that it can be filled in.
    fn speak(&mut self, task: &mut Task, text: &str) {
        for name in names(text) {
            if task.parameters.iter().any(|(n, _)| n == name) {
                continue;
            }
            let parameter = |source| Parameter { source, selector: None };
            if let Some(output) = output_of(name, "parameters") {
                let output = parameter(ParameterSource::Output(output));
                task.parameters.push((name.to_owned(), output));
            } else if let Some(input) = name.strip_prefix("inputs.parameters.") {
                if !task.parameters.iter().any(|(n, _)| n == input) {
                    let source = ParameterSource::Input(input.to_owned());
                    task.parameters.push((input.to_owned(), parameter(source)));
                }
            } else if name == ITEM || name.starts_with("item.") {
                task.parameters.push((name.to_owned(), item(name)));
            }
        }
    }

    fn argument(&mut self, task: &mut Task, name: String, value: &str) {
        let found = names(value);
        let whole = found.first().filter(|n| value.trim() == format!("{{{{{n}}}}}"));
        let parameter = |source| Parameter { source, selector: None };
        let made = match whole.copied() {
            Some(one) if one == ITEM || one.starts_with("item.") => item(one),
            Some(one) => {
                if let Some(output) = output_of(one, "parameters") {
                    parameter(ParameterSource::Output(output))
                } else if let Some(input) = one.strip_prefix("inputs.parameters.") {
                    parameter(ParameterSource::Input(input.to_owned()))
                } else {
                    parameter(ParameterSource::Constant(Json::from(placeholders(value))))
                }
            }
            None => {
                if !found.is_empty() {
                    self.speak(task, value);
                }
                parameter(ParameterSource::Constant(Json::from(placeholders(value))))
            }
        };
        task.parameters.retain(|(n, _)| *n != name);
        task.parameters.push((name, made));
    }

    /// A loop: a graph of that one task, with the item as an input.
    fn repeated(&mut self, key: &str, of: &str, given: &Json, called: &Json) -> Task {
        let inner = self.single(key, of, &without_loop(given), called);
        let wrapper = format!("{of}--loop-{}", self.components.len());
        let mut outer = task(key, &wrapper);
        outer.after.clone_from(&inner.after);
        let mut around =
            component(&wrapper, vec![(ITEM.to_owned(), string())], Body::Dag(Dag::default()));
        let mut within = task(key, of);
        within.retry = inner.retry;
        within.cache = inner.cache;
        for (name, parameter) in inner.parameters {
            // An item is known within; all else is bound around it and handed in.
            if matches!(&parameter.source, ParameterSource::Input(n) if n == ITEM) {
                within.parameters.push((name, parameter));
                continue;
            }
            if let ParameterSource::Constant(value) = &parameter.source
                && text_of(value).contains("inputs.parameters['item")
            {
                within.parameters.push((name, parameter));
                continue;
            }
            outer.parameters.push((name.clone(), parameter));
            around.parameters.push((name.clone(), optional()));
            let source = ParameterSource::Input(name.clone());
            within.parameters.push((name, Parameter { source, selector: None }));
        }
        for (name, source) in inner.artifacts {
            outer.artifacts.push((name.clone(), source));
            let kind = ArtifactType::default();
            around
                .artifacts
                .push((name.clone(), InputArtifact { kind, list: false, optional: false }));
            within.artifacts.push((name.clone(), ArtifactSource::Input(name)));
        }
        within.condition = inner.condition;
        around.body = Body::Dag(Dag { tasks: vec![within], ..Dag::default() });
        self.components.push(around);
        let items = match given.get("withItems") {
            Some(items) => Items::Raw(items.as_array().cloned().unwrap_or_default()),
            None => {
                let name = "items".to_owned();
                self.argument(&mut outer, name.clone(), &text(given, "withParam"));
                Items::Parameter(name)
            }
        };
        outer.iterator = Some(Iterator { items, item: ITEM.to_owned() });
        outer.parallelism = text(called, "parallelism").parse().ok().filter(|p| *p > 0);
        outer
    }

    fn container(
        &mut self,
        name: &str,
        template: &Json,
        parameters: Vec<(String, InputParameter)>,
    ) {
        let given = &template["container"];
        let limits = &given["resources"]["limits"];
        let requests = &given["resources"]["requests"];
        let card = limits.as_object().into_iter().flatten().find(|(k, _)| k.contains('/'));
        let mut fixed = Vec::new();
        let mut made = component(name, parameters, Body::Executor(name.to_owned()));
        // Only an exit handler is given it.
        made.parameters.push((STATUS.to_owned(), optional()));
        for input in list(&template["inputs"], "artifacts") {
            let (key, path) = (text(input, "name"), text(input, "path"));
            let kind = ArtifactType::default();
            made.artifacts
                .push((key.clone(), InputArtifact { kind, list: false, optional: false }));
            fixed.push(FixedPath { of: PathOf::InputArtifact, name: key, path });
        }
        for output in list(&template["outputs"], "parameters") {
            let (key, path) = (text(output, "name"), text(&output["valueFrom"], "path"));
            made.output_parameters.push((key.clone(), ParameterType::String));
            fixed.push(FixedPath { of: PathOf::OutputParameter, name: key, path });
        }
        for output in list(&template["outputs"], "artifacts") {
            let (key, path) = (text(output, "name"), text(output, "path"));
            made.output_artifacts.push((key.clone(), artifact()));
            fixed.push(FixedPath { of: PathOf::OutputArtifact, name: key, path });
        }
        let mut config = Map::new();
        let mut env = Vec::new();
        for variable in list(given, "env") {
            self.variable(variable, &mut env, &mut config);
        }
        self.volumes(name, template, given, &mut config);
        let seconds = &template["activeDeadlineSeconds"];
        if !seconds.is_null() {
            config.insert("activeDeadlineSeconds".into(), seconds.clone());
        }
        for (key, what) in
            [("initContainers", "containers before it"), ("sidecars", "containers beside it")]
        {
            if template.get(key).is_some_and(|v| v.as_array().is_some_and(|a| !a.is_empty())) {
                self.wrong.push(format!(
                    "the template '{name}' has {what} ({key}), and they are not run here"
                ));
            }
        }
        for key in ["nodeSelector", "tolerations"] {
            if let Some(value) = template.get(key) {
                config.insert(key.into(), value.clone());
            }
        }
        if let Some(policy) = given.get("imagePullPolicy") {
            config.insert("imagePullPolicy".into(), policy.clone());
        }
        let container = Container {
            image: placeholders(&text(given, "image")),
            command: texts(given, "command"),
            args: texts(given, "args"),
            env,
            resources: Resources {
                cpu_limit: placeholders(&text(limits, "cpu")),
                memory_limit: placeholders(&text(limits, "memory")),
                cpu_request: placeholders(&text(requests, "cpu")),
                memory_request: placeholders(&text(requests, "memory")),
                accelerator_type: card.map(|(k, _)| k.clone()).unwrap_or_default(),
                accelerator_count: card.map(|(_, v)| text_of(v)).unwrap_or_default(),
            },
            fixed,
        };
        if !config.is_empty() {
            self.kubernetes.push((name.to_owned(), Json::Object(config)));
        }
        self.executors.push((name.to_owned(), Executor::Container(Box::new(container))));
        self.components.push(made);
    }

    fn variable(
        &mut self,
        variable: &Json,
        env: &mut Vec<(String, String)>,
        config: &mut Map<String, Json>,
    ) {
        let name = text(variable, "name");
        let from = &variable["valueFrom"];
        let mut add = |key: &str, value: Json| {
            if let Json::Array(all) = config.entry(key).or_insert_with(|| json!([])) {
                all.push(value);
            }
        };
        if let Some(secret) = from.get("secretKeyRef") {
            add(
                "secretAsEnv",
                json!({
                    "secretName": secret["name"], "optional": secret["optional"],
                    "keyToEnv": [{"secretKey": secret["key"], "envVar": name}],
                }),
            );
        } else if let Some(map) = from.get("configMapKeyRef") {
            add(
                "configMapAsEnv",
                json!({
                    "configMapName": map["name"], "optional": map["optional"],
                    "keyToEnv": [{"configMapKey": map["key"], "envVar": name}],
                }),
            );
        } else if let Some(field) = from.get("fieldRef") {
            add("fieldPathAsEnv", json!({"name": name, "fieldPath": field["fieldPath"]}));
        } else {
            env.push((name, placeholders(&text(variable, "value"))));
        }
    }

    fn volumes(
        &mut self,
        template_name: &str,
        template: &Json,
        given: &Json,
        config: &mut Map<String, Json>,
    ) {
        for mount in list(given, "volumeMounts") {
            let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
            let Some(volume) =
                list(template, "volumes").iter().find(|v| v["name"] == name.as_str())
            else {
                self.wrong
                    .push(format!("the template '{template_name}': there is no volume '{name}'"));
                continue;
            };
            let (key, value) = if let Some(claim) = volume.get("persistentVolumeClaim") {
                let claim = text(claim, "claimName");
                let own = names(&claim).first().and_then(|n| n.strip_prefix("inputs.parameters."));
                let named = match own {
                    Some(input) => json!({"ownInput": input}),
                    None => json!({"runtimeValue": {"constant": claim}}),
                };
                let sub_path = text(mount, "subPath");
                (
                    "pvcMount",
                    json!({"pvcNameParameter": named, "mountPath": path, "subPath": sub_path}),
                )
            } else if let Some(secret) = volume.get("secret") {
                ("secretAsVolume", json!({"secretName": secret["secretName"], "mountPath": path}))
            } else if let Some(map) = volume.get("configMap") {
                ("configMapAsVolume", json!({"configMapName": map["name"], "mountPath": path}))
            } else if volume.get("emptyDir").is_some() {
                ("emptyDirMounts", json!({"volumeName": name, "mountPath": path}))
            } else {
                self.wrong.push(format!(
                    "the template '{template_name}': the volume '{name}' is neither a claim, a secret, a config map nor an empty folder"
                ));
                continue;
            };
            if let Json::Array(all) = config.entry(key).or_insert_with(|| json!([])) {
                all.push(value);
            }
        }
    }

    /// A claim that is made or removed (`dsl.VolumeOp`).
    fn resource(
        &mut self,
        name: &str,
        template: &Json,
        mut parameters: Vec<(String, InputParameter)>,
    ) {
        let (action, manifest) =
            (text(&template["resource"], "action"), text(&template["resource"], "manifest"));
        let source = trainyard_diagnostics::Source::new(name, manifest.as_str());
        let manifest = crate::spec::plain_values(&source).unwrap_or_default();
        let image = match action.as_str() {
            "create" | "apply" => "argostub/createpvc",
            "delete" => "argostub/deletepvc",
            _ => "",
        };
        if manifest["kind"] != "PersistentVolumeClaim" || image.is_empty() {
            let kind = text(&manifest, "kind");
            self.wrong.push(format!(
                "the template '{name}' wants to {action} a {kind} of Kubernetes, which is not here; claims on volumes are"
            ));
            return;
        }
        let claim = placeholders(&text(&manifest["metadata"], "name"));
        parameters.push((
            "pvc_name".into(),
            InputParameter { default: Some(Json::from(claim)), ..optional() },
        ));
        let mut made = component(name, parameters, Body::Executor(name.to_owned()));
        for output in list(&template["outputs"], "parameters") {
            made.output_parameters.push((text(output, "name"), ParameterType::String));
        }
        let container = Container { image: image.to_owned(), ..Container::default() };
        self.executors.push((name.to_owned(), Executor::Container(Box::new(container))));
        self.components.push(made);
    }
}

fn artifact() -> OutputArtifact {
    let kind = ArtifactType {
        schema_title: "system.Artifact".into(),
        schema_version: "0.0.1".into(),
        ..ArtifactType::default()
    };
    OutputArtifact { kind, metadata: Json::Null, list: false }
}

/// `item` or `item.key`: the input of that name, or what is under its key.
fn item(name: &str) -> Parameter {
    let selector = name.strip_prefix("item.").and_then(|key| {
        let key = serde_json::to_string(key).ok()?;
        Condition::parse(&format!("parseJson(string_value)[{key}]")).ok()
    });
    Parameter { source: ParameterSource::Input(ITEM.to_owned()), selector }
}

fn without_loop(given: &Json) -> Json {
    let mut given = given.clone();
    if let Json::Object(map) = &mut given {
        map.remove("withItems");
        map.remove("withParam");
    }
    given
}
