//! The compiled pipeline as it is read (`api/v2alpha1/pipeline_spec.proto`).
//!
//! Lists keep the order of the file. Deliberately absent: fields of Vertex AI alone (`resolver`,
//! `customJob`), which are refused, and what Kubernetes alone means, which is kept as JSON
//! (`platform.rs` gives it a meaning).

mod fields;
mod read;

pub(crate) use fields::number;
pub use read::{Read, plain_values, read};

use serde_json::Value as Json;
use trainyard_diagnostics::Span;

use crate::condition::Condition;

/// A compiled pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// `pipelineInfo.name`
    pub name: String,
    /// `pipelineInfo.displayName`
    pub display_name: String,
    /// `pipelineInfo.description`
    pub description: String,
    /// `sdkVersion`
    pub sdk_version: String,
    /// `defaultPipelineRoot`
    pub default_root: String,
    /// All components; the last one is the root.
    pub components: Vec<Component>,
    /// The index of the root among them.
    pub root: usize,
    /// `deploymentSpec.executors` by label.
    pub executors: Vec<(String, Executor)>,
    /// What the Kubernetes platform says of executors, by label.
    pub kubernetes: Vec<(String, Json)>,
    /// `pipelineConfig` of the Kubernetes platform.
    pub config: Option<Json>,
}

/// A component: a container, an import, or a graph of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// `comp-train`; `root` for the root.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// `inputDefinitions.parameters`
    pub parameters: Vec<(String, InputParameter)>,
    /// `inputDefinitions.artifacts`
    pub artifacts: Vec<(String, InputArtifact)>,
    /// `outputDefinitions.parameters`
    pub output_parameters: Vec<(String, ParameterType)>,
    /// `outputDefinitions.artifacts`
    pub output_artifacts: Vec<(String, OutputArtifact)>,
    /// What it does.
    pub body: Body,
}

impl Component {
    /// The definition of an input parameter.
    pub fn parameter(&self, name: &str) -> Option<&InputParameter> {
        find(&self.parameters, name)
    }

    /// Its tasks, if it is a graph.
    pub fn tasks(&self) -> &[Task] {
        match &self.body {
            Body::Dag(dag) => &dag.tasks,
            Body::Executor(_) => &[],
        }
    }
}

/// What a component does.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The executor of that label.
    Executor(String),
    /// A graph.
    Dag(Dag),
}

/// `parameterType`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    /// `NUMBER_DOUBLE`
    Double,
    /// `NUMBER_INTEGER`
    Integer,
    /// `STRING`
    String,
    /// `BOOLEAN`
    Boolean,
    /// `LIST`
    List,
    /// `STRUCT`
    Struct,
    /// `TASK_FINAL_STATUS`
    FinalStatus,
    /// `TASK_CONFIG`
    TaskConfig,
}

impl ParameterType {
    /// As the file spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ParameterType::Double => "NUMBER_DOUBLE",
            ParameterType::Integer => "NUMBER_INTEGER",
            ParameterType::String => "STRING",
            ParameterType::Boolean => "BOOLEAN",
            ParameterType::List => "LIST",
            ParameterType::Struct => "STRUCT",
            ParameterType::FinalStatus => "TASK_FINAL_STATUS",
            ParameterType::TaskConfig => "TASK_CONFIG",
        }
    }
}

/// An input parameter of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct InputParameter {
    /// Its type.
    pub kind: ParameterType,
    /// Its default.
    pub default: Option<Json>,
    /// Whether it may be left out.
    pub optional: bool,
    /// The values that it may have; any if there is none.
    pub literals: Vec<Json>,
    /// What it says of itself.
    pub description: String,
}

/// An input artifact of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct InputArtifact {
    /// Its type.
    pub kind: ArtifactType,
    /// Whether it is a list of them.
    pub list: bool,
    /// Whether it may be left out.
    pub optional: bool,
}

/// An output artifact of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputArtifact {
    /// Its type.
    pub kind: ArtifactType,
    /// What it says of itself from the start.
    pub metadata: Json,
    /// Whether it is a list of them.
    pub list: bool,
}

/// The type of an artifact: one of three ways to name it, and a version.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ArtifactType {
    /// `system.Dataset`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema_title: String,
    /// `schemaUri`, which is old.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema_uri: String,
    /// `instanceSchema`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance_schema: String,
    /// `0.0.1`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema_version: String,
}

/// A graph of tasks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dag {
    /// Its tasks, by the keys that are their identity.
    pub tasks: Vec<Task>,
    /// Where its output parameters come from: the first that is there.
    pub parameters: Vec<(String, Vec<Selector>)>,
    /// Where its output artifacts come from: the first that is there.
    pub artifacts: Vec<(String, Vec<Selector>)>,
}

/// An output of a task of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The task.
    pub task: String,
    /// Its output.
    pub key: String,
}

/// A task: a component with its inputs bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its key in the graph: its identity.
    pub key: String,
    /// Where it stands.
    pub span: Span,
    /// `taskInfo.name`, which people see.
    pub name: String,
    /// The name of its component.
    pub component: String,
    /// Where its parameters come from.
    pub parameters: Vec<(String, Parameter)>,
    /// Where its artifacts come from.
    pub artifacts: Vec<(String, ArtifactSource)>,
    /// `dependentTasks`
    pub after: Vec<String>,
    /// Whether what it made before may stand for it (`cachingOptions.enableCache`).
    pub cache: bool,
    /// `cachingOptions.cacheKey`
    pub cache_key: String,
    /// `triggerPolicy.condition`
    pub condition: Option<Condition>,
    /// Whether it runs whatever became of the tasks before it (`ALL_UPSTREAM_TASKS_COMPLETED`).
    pub always: bool,
    /// What it is repeated over.
    pub iterator: Option<Iterator>,
    /// How many of its iterations may run at once; none for no limit.
    pub parallelism: Option<u32>,
    /// How often it is tried again.
    pub retry: Option<Retry>,
}

/// A bound parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Where its value comes from.
    pub source: ParameterSource,
    /// `parseJson(string_value)["key"]`: what is taken of the value.
    pub selector: Option<Condition>,
}

/// Where a parameter comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterSource {
    /// An output of a task.
    Output(Selector),
    /// Written out; placeholders in it are filled in.
    Constant(Json),
    /// An input of the graph that the task is in.
    Input(String),
    /// How a task ended.
    FinalStatus(String),
    /// The same in Argo's words: `Succeeded`, `Failed`.
    WorkflowStatus(String),
}

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// An output of a task.
    Output(Selector),
    /// An input of the graph that the task is in.
    Input(String),
}

/// What a task is repeated over.
#[derive(Debug, Clone, PartialEq)]
pub struct Iterator {
    /// The items.
    pub items: Items,
    /// The input that one of them becomes.
    pub item: String,
}

/// Items of a loop.
#[derive(Debug, Clone, PartialEq)]
pub enum Items {
    /// Written out.
    Raw(Vec<Json>),
    /// The items of a parameter: a list, or a text that holds one.
    Parameter(String),
    /// The artifacts of a list.
    Artifact(String),
}

/// `retryPolicy`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// How often it is tried again.
    pub count: u32,
    /// Milliseconds before the first time.
    pub backoff_ms: i64,
    /// By what they grow.
    pub factor: f64,
    /// Milliseconds at most.
    pub max_ms: i64,
}

/// What runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Executor {
    /// A container.
    Container(Box<Container>),
    /// An artifact that is there already.
    Importer(Box<Importer>),
}

/// `container`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Container {
    /// Its image.
    pub image: String,
    /// The program with its first arguments.
    pub command: Vec<String>,
    /// More arguments.
    pub args: Vec<String>,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// What it may use.
    pub resources: Resources,
    /// Paths that the manifest fixes (kfp 1.8).
    pub fixed: Vec<FixedPath>,
}

/// A path at which a container of kfp 1.8 finds an input or leaves an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedPath {
    /// Of what.
    pub of: PathOf,
    /// Its name.
    pub name: String,
    /// The path, absolute.
    pub path: String,
}

/// What is at a fixed path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathOf {
    /// An input.
    InputArtifact,
    /// An output artifact.
    OutputArtifact,
    /// An output parameter.
    OutputParameter,
}

/// What a container may use; texts as written, which may hold placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// `4000m`
    pub cpu_limit: String,
    /// `15G`
    pub memory_limit: String,
    /// `1`
    pub cpu_request: String,
    /// `1G`
    pub memory_request: String,
    /// `nvidia.com/gpu`
    pub accelerator_type: String,
    /// `1`
    pub accelerator_count: String,
}

/// `importer`
#[derive(Debug, Clone, PartialEq)]
pub struct Importer {
    /// Where the artifact is: written out, or the name of an input of the task.
    pub uri: ImportUri,
    /// Its type.
    pub kind: ArtifactType,
    /// What it says of itself; placeholders in it are filled in.
    pub metadata: Json,
    /// Whether it is recorded anew each time.
    pub reimport: bool,
    /// Whether it is laid into the workspace of the run.
    pub download: bool,
}

/// Where an imported artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportUri {
    /// Written out.
    Constant(String),
    /// A parameter of the task.
    Parameter(String),
}

/// The value of a name in an ordered list.
pub fn find<'a, T>(list: &'a [(String, T)], name: &str) -> Option<&'a T> {
    list.iter().find(|(n, _)| n == name).map(|(_, v)| v)
}
