//! The containers of a job, and those of Docker actions (actions/runner
//! `ContainerOperationProvider.cs`, `ContainerActionHandler.cs`).

use trainyard_expression::{Environment, EvalError, Expr, ExprKind, Place, Status};
use trainyard_model::{Object, Value};

use super::contexts::StepEnvironment;
use super::steps::Hold;
use super::{JobContexts, JobMachine, ProcessKind, Stage};
use crate::container::{ContainersReady, ContainersSpec, read};
use crate::shell::split;
use crate::spec::{Condition, DockerSpec, JobSpec, StepKind, StepSpec};

/// The names of the two steps that the runner makes itself.
pub(super) const STARTING: &str = "Initialize containers";
pub(super) const STOPPING: &str = "Stop containers";

/// Whether a job has containers at all.
pub(super) fn wanted(spec: &JobSpec, contexts: &JobContexts) -> bool {
    spec.container.is_some() || spec.services.is_some() || contexts.image.is_some()
}

/// The step behind all steps of the job: its pre stage starts the containers, its post stage stops
/// them, and it has no main stage.
pub(super) fn step() -> StepSpec {
    let tree = Expr { kind: ExprKind::Call("always".into(), Vec::new()), start: 0 };
    let place = Place::default();
    StepSpec {
        id: "__containers".into(),
        place,
        name: None,
        condition: Condition { text: "always()".into(), tree, place },
        env: None,
        continue_on_error: None,
        timeout_minutes: None,
        background: false,
        kind: StepKind::Containers,
    }
}

/// What the `args` and `env` of an action see: `inputs` are its own.
struct WithInputs<'a> {
    around: StepEnvironment<'a>,
    inputs: Value,
}

impl Environment for WithInputs<'_> {
    fn context(&self, name: &str) -> Value {
        match name.eq_ignore_ascii_case("inputs") {
            true => self.inputs.clone(),
            false => self.around.context(name),
        }
    }

    fn status(&self, status: Status, names: &[String]) -> Result<bool, EvalError> {
        self.around.status(status, names)
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, EvalError> {
        self.around.hash_files(patterns)
    }
}

impl JobMachine {
    pub(super) fn begin_containers(&mut self, id: usize, step: &StepSpec) -> Result<(), Hold> {
        let stage = self.current(id).map_or(Stage::Pre, |c| c.stage);
        self.began(id, step, STARTING.into());
        let kind = match stage {
            Stage::Post => ProcessKind::StopContainers,
            _ => {
                let containers = self.containers(id)?;
                if let Some(index) = self.current(id).map(|c| c.index) {
                    // Registered first, so that it runs last.
                    self.posts.insert(0, index);
                }
                ProcessKind::StartContainers(Box::new(containers))
            }
        };
        let env = self.process_env(id);
        self.spawn(id, kind, env, None, None);
        Ok(())
    }

    fn containers(&mut self, id: usize) -> Result<ContainersSpec, Hold> {
        let mut spec = ContainersSpec { job: self.contexts.image.clone(), services: Vec::new() };
        if let Some(template) = self.spec.container.clone() {
            let value =
                template.evaluate(&self.environment(id, false)).map_err(|e| self.hold(id, e))?;
            let own = read(&value).map_err(|e| Hold::Failed(format!("container: {e}")))?;
            // The label's limits stay, whatever image the job brings.
            let limits = spec.job.take().map(|i| i.options).unwrap_or_default();
            spec.job = own.map(|mut own| {
                if !limits.is_empty() {
                    own.options = format!("{limits} {}", own.options);
                }
                own
            });
        }
        if let Some(template) = self.spec.services.clone() {
            let value =
                template.evaluate(&self.environment(id, false)).map_err(|e| self.hold(id, e))?;
            if let Value::Object(services) = value {
                for (name, service) in services.iter() {
                    let service =
                        read(service).map_err(|e| Hold::Failed(format!("services.{name}: {e}")))?;
                    spec.services.push((name.to_owned(), service));
                }
            }
        }
        for (_, password) in spec
            .job
            .iter()
            .chain(spec.services.iter().filter_map(|(_, s)| s.as_ref()))
            .filter_map(|c| c.credentials.as_ref())
        {
            self.masker.add_all([password.as_str()]);
        }
        Ok(spec)
    }

    /// They run: from here on `job.container` and `job.services` say how they are reached.
    pub(super) fn containers_ready(&mut self, ready: ContainersReady) {
        let mut job = match &self.contexts.job {
            Value::Object(job) => Object::clone(job),
            _ => Object::new(),
        };
        if let Some(container) = ready.container {
            job.insert("container", container);
            // In a container that the job asks for, the default is `sh` (`ScriptHandler.cs`).
            self.contexts.has_bash = ready.has_bash.unwrap_or(false);
        }
        job.insert("services", ready.services);
        self.contexts.job = Value::Object(std::sync::Arc::new(job));
    }

    /// The process of a Docker action, and the variables that its file sets: those of the step win.
    pub(super) fn docker_process(
        &mut self,
        id: usize,
        spec: &DockerSpec,
        folder: &str,
        inputs: Vec<(String, String)>,
        stage: Stage,
    ) -> Result<(ProcessKind, Vec<(String, String)>), Hold> {
        let image = match spec.image.get(..9).filter(|p| p.eq_ignore_ascii_case("docker://")) {
            Some(_) => spec.image.clone(),
            None => format!("{folder}/{}", spec.image),
        };
        let given = |name: &str| {
            let found = inputs.iter().find(|(k, _)| k.eq_ignore_ascii_case(name));
            found.map(|(_, v)| v.clone()).filter(|v| !v.is_empty())
        };
        let entrypoint = match stage {
            Stage::Main => spec.entrypoint.clone().or_else(|| given("entrypoint")),
            Stage::Pre => spec.pre.as_ref().map(|s| s.script.clone()),
            Stage::Post => spec.post.as_ref().map(|s| s.script.clone()),
        };
        let object = inputs.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
        let around =
            WithInputs { around: self.environment(id, true), inputs: Value::object(object) };
        let evaluated = match &spec.args {
            None => Ok(None),
            Some(args) => args.evaluate(&around).map(Some),
        };
        let pairs = spec.env.as_ref().map_or(Ok(Vec::new()), |env| env.evaluate_pairs(&around));
        let args = match evaluated.map_err(|e| self.hold(id, e))? {
            Some(Value::Array(list)) => {
                Some(list.iter().map(|a| a.to_text().into_owned()).collect())
            }
            Some(_) => Some(Vec::new()),
            None => given("args").map(|raw| split(&raw)),
        };
        let env = pairs.map_err(|e| self.hold(id, e))?;
        Ok((ProcessKind::Docker { image, entrypoint, args, inputs }, env))
    }
}
