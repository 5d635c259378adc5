//! Jobs that start: a lease, a workspace, the step machine, a thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use trainyard_engine::{Command, InstanceId};
use trainyard_model::{Outcome, Value};
use trainyard_plan::Reason;
use trainyard_services::JobAccess;
use trainyard_store::Parent;
use trainyard_workflow::lower::WorkflowFile;

use super::{Driver, LiveJob, Message, World, now};
use crate::actions::load::{JobActions, SelfRepository};
use crate::actions::places::Patience;
use crate::builtin::{self, JobFacts};
use crate::error::Result;
use crate::host::containers::{ContainerSettings, JobContainers};
use crate::host::environment;
use crate::host::job::{self, Happening, Surroundings};
use crate::host::workspace::Workspace;
use crate::paths::{WorkFolder, job_log};
use crate::run::assignment::{RunFacts, job_facts, machine, sees_own_secrets, wants_container};
use crate::run::child;
use crate::run::fitness;
use crate::run::kept::{self, Held, Keep, Kept};
use crate::run::services::{self, JobIdentity};
use crate::ui::Event as Show;

impl Driver<'_, '_> {
    /// Starts offered jobs as long as there is room.
    pub(super) fn fill(&mut self) -> Result<()> {
        while self.active < self.world.settings.jobs {
            let Some((index, node, attempt)) = self.queue.pop_front() else { break };
            let lease = Command::Lease { node, attempt, runner: "local".into() };
            if !self.tell(index, &lease)? {
                continue;
            }
            self.launch(index, node)?;
        }
        Ok(())
    }

    fn launch(&mut self, index: usize, node: InstanceId) -> Result<()> {
        let epoch = self.runs[index].state.instance(node).epoch;
        match self.start_job(index, node, epoch) {
            Ok(live) => {
                let (run, name) = (self.runs[index].row.id, live.name.clone());
                let (number, log) = (i64::from(node.0), live.log.clone());
                self.runs[index].jobs.insert(node, live);
                self.active += 1;
                self.tell(index, &Command::Begin { node, epoch })?;
                self.ui.show(&Show::JobBegan { run, node: number, job: &name, log: &log });
            }
            Err(why) => {
                let run = &self.runs[index].row;
                if let Some(services) = &self.services {
                    services.revoke(run.id, i64::from(node.0));
                }
                let finish = Command::Finish {
                    node,
                    epoch,
                    outcome: Outcome::Failure,
                    reason: Reason::new(why),
                    outputs: Value::Null,
                };
                self.tell(index, &finish)?;
            }
        }
        Ok(())
    }

    fn start_job(
        &mut self,
        index: usize,
        node: InstanceId,
        epoch: u32,
    ) -> std::result::Result<LiveJob, String> {
        let mut resumed = self.runs[index].resumed.take_if(|k| k.kept.node == i64::from(node.0));
        let marks = resumed.as_ref().map(|h| (h.kept.marks.clone(), h.kept.attempt));
        let run = &self.runs[index];
        let world = self.world;
        let name = world.event.repository.rsplit('/').next().unwrap_or("repository");
        let tracking = format!("trainyard_{}_{}", run.row.id, node.0);
        let resume = run.state.instance(node).resume;
        let event = &self.runs[index].event_text;
        let (folder, workspace) = match &resumed {
            // Whatever goes wrong from here on, it is put aside again.
            Some(held) => {
                let workspace = Workspace::reopen(&held.kept.place, name, &self.tools, event);
                (None, workspace.map_err(|e| e.message)?)
            }
            None => {
                let folder = WorkFolder::take(&world.data, &world.event.repository)
                    .map_err(|e| e.message)?;
                let workspace = Workspace::create(&folder.path, name, &self.tools, event);
                (Some(folder), workspace.map_err(|e| e.message)?)
            }
        };
        let access = self.access(index, node, epoch)?;
        let run = &self.runs[index];
        let resolved = run.state.instance(node).resolved.as_ref();
        let labels = resolved.map(|r| r.labels.as_slice()).unwrap_or_default();
        let image = fitness::image_of(&world.settings.images, labels);
        let debug = world.secrets.get("ACTIONS_STEP_DEBUG").map(|s| s.expose() == "true");
        let mut facts = RunFacts {
            github: &run.github,
            secrets: &world.secrets,
            vars: &world.vars,
            debug: debug.unwrap_or(false),
            has_bash: self.has_bash,
            in_container: false,
            image,
            access: access.as_ref(),
        };
        let own = wants_container(&run.semantics, &run.state, node, &facts)?;
        if world.settings.images_only && !own && image.is_none() {
            return Err(fitness::without_image(labels));
        }
        facts.in_container = own || image.is_some();
        let containers = JobContainers::new(
            ContainerSettings {
                engines: Arc::clone(&self.engines),
                run: run.row.id,
                node: i64::from(node.0),
                pull: world.settings.pull,
                inside: facts.in_container,
                by_label: !own,
                doors: self.services.as_ref().map(trainyard_services::Services::doors),
            },
            &workspace,
        );
        let mut machine = machine(&run.semantics, &run.state, node, &workspace, &facts)?;
        if let (Some(step), Some((marks, attempt))) = (resume, &marks)
            && let Err(why) = machine.resume(step as usize, marks, &format!("attempt {attempt}"))
        {
            workspace.close();
            return Err(why);
        }
        let own_secrets = sees_own_secrets(&run.semantics, &run.state, node, &facts);
        let limit = run.state.instance(node).resolved.as_ref().map_or(0, |r| r.timeout_ms);
        let log = job_log(&world.data, run.row.id, node.0, run.row.attempt);
        let job_facts = JobFacts {
            root: world.repo.root.clone(),
            common_dir: world.repo.common_dir.clone(),
            work_tree: world.event.work_tree,
            remote: world.repo.remote(),
            data: world.data.clone(),
            run: run.row.id,
            node: i64::from(node.0),
            scopes: services::cache_scopes(&run.github),
            quota: world.settings.quota,
            places: world.settings.places.clone(),
        };
        let job_facts = serde_json::to_string(&job_facts).unwrap_or_default();
        let data = &world.data;
        let program = std::env::current_exe().unwrap_or_default();
        let shims = self.shims.get_or_insert_with(|| builtin::shims(&data.join("shims"), &program));
        let mut base_env = base_env(world.settings, &workspace.temp, shims.as_deref());
        environment::set(&mut base_env, "RUNNER_TRACKING_ID", &tracking);
        environment::set(&mut base_env, builtin::FACTS, &job_facts);
        // A `trainyard` that a step calls is of this history, and says whose it is.
        let parent = Parent { run: run.row.id, node: i64::from(node.0), attempt: run.row.attempt };
        environment::set(&mut base_env, child::PARENT, &child::text(parent));
        environment::set(&mut base_env, "TRAINYARD_DATA_DIR", &data.to_string_lossy());
        let (mut action_env, mut git_config) = (Vec::new(), Vec::new());
        let mut step_env = world.settings.env.clone();
        if let Some(access) = access {
            let mut more = services::no_proxy(&base_env);
            git_config = services::git_config(&access, &world.event.repository);
            step_env.extend(access.step_env.iter().cloned());
            more.extend(access.step_env);
            for (name, value) in more {
                environment::set(&mut base_env, &name, &value);
            }
            action_env = access.action_env;
        }
        let (orders, order_receiver) = channel();
        let (read, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| format!("no pipe: {e}"))?;
        let patience = Patience::default();
        let own = match &self.file_of(index, node).origin {
            Some(origin) => SelfRepository::Folder(origin.folder.clone().into()),
            None => SelfRepository::UnderTest(world.tree.clone()),
        };
        let actions = JobActions::new(Arc::clone(&self.actions), own, patience.clone());
        let sender = self.sender.clone();
        let limit = Duration::from_millis(u64::try_from(limit).unwrap_or(0));
        let run = &self.runs[index];
        let name = run.names.get(&node).cloned().unwrap_or_default();
        let live = self.ui.is_live();
        let (keep, data) = (world.settings.keep, world.data.clone());
        let mut kept = Kept {
            run: run.row.id,
            node: i64::from(node.0),
            attempt: run.row.attempt,
            job: name.clone(),
            path: run.state.path(node),
            own_secrets,
            bad: false,
            place: workspace.root.clone(),
            at: 0,
            marks: Vec::new(),
            failed: None,
            pre_stages: 0,
        };
        // It begins: from here on a kept workspace is this attempt's.
        let folder = folder.or_else(|| resumed.take().and_then(Held::into_folder));
        let thread = {
            let (workspace, log) = (workspace.clone(), log.clone());
            std::thread::spawn(move || {
                let watch_sender = sender.clone();
                let mut watch = move |happening: Happening| {
                    let _ = watch_sender.send(Message::Happened(index, node, happening));
                };
                let mut end = job::run(
                    machine,
                    Surroundings {
                        workspace: &workspace,
                        base_env,
                        log_path: &log,
                        limit,
                        orders: order_receiver,
                        wake: read,
                        actions: Box::new(actions),
                        containers,
                        step_env,
                        action_env,
                        git_config,
                        live,
                        watch: &mut watch,
                    },
                );
                let bad = end.outcome != Outcome::Success;
                let keeps = match keep {
                    Keep::Always => true,
                    Keep::Failed => bad,
                    Keep::Never => false,
                };
                kept.marks = std::mem::take(&mut end.marks);
                kept.failed = end.failed.take();
                kept.pre_stages = end.pre_stages;
                // The end is told first: the history is written while the folders go.
                let _ = sender.send(Message::Ended(index, node, epoch, Box::new(end)));
                workspace.close();
                kept.at = now().0;
                kept.bad = bad;
                // One that cannot be kept is gone, as if it were not to be.
                if !keeps || kept.keep(&data).is_err() {
                    workspace.remove();
                    if kept.attempt > 1 {
                        kept::forget(&data, kept.run, kept.node);
                    }
                }
                drop(folder);
            })
        };
        Ok(LiveJob {
            epoch,
            name,
            patience,
            orders,
            wake,
            log,
            started: now().0,
            steps: BTreeMap::new(),
            failed: Vec::new(),
            thread,
        })
    }

    /// The file that a job stands in.
    fn file_of(&self, index: usize, node: InstanceId) -> Arc<WorkflowFile> {
        let run = &self.runs[index];
        let plan = run.state.instance(node).plan;
        let definition = &run.semantics.nodes[run.semantics.definitions[plan.index()] as usize];
        Arc::clone(&run.semantics.files[definition.file])
    }

    /// Lets a job into the services, which start with the first that may need them.
    fn access(
        &mut self,
        index: usize,
        node: InstanceId,
        epoch: u32,
    ) -> std::result::Result<Option<JobAccess>, String> {
        let run = &self.runs[index];
        let instance = run.state.instance(node);
        let definition = run.semantics.definitions[instance.plan.index()] as usize;
        let definition = run.semantics.nodes[definition].clone();
        let file = self.file_of(index, node);
        if self.services.is_none() {
            let World { data, repo, event, settings, .. } = self.world;
            let sender = self.sender.clone();
            let sink = move |remark| {
                // A remark after the last run is nobody's.
                let _ = sender.send(Message::Remarked(remark));
            };
            let started = services::start(data, repo, event, settings.quota, sink);
            self.services = Some(started.map_err(|e| e.message)?);
        }
        let Some(services) = &self.services else { return Ok(None) };
        let run = &self.runs[index];
        let resolved = run.state.instance(node).resolved.as_ref();
        let facts = job_facts(&run.github, &file);
        let job = JobIdentity {
            run: run.row.id,
            node: node.0,
            epoch,
            github: &run.github,
            job_workflow_ref: facts
                .get("workflow_ref")
                .map(|v| v.to_text().into_owned())
                .unwrap_or_default(),
            environment: resolved.and_then(|r| r.environment.as_deref()),
            limit: resolved.map_or(0, |r| r.timeout_ms),
        };
        services::grant(services, &definition, &job, now().0).map(Some)
    }
}

/// The variables that every step of a job begins with, and so does a shell in its workspace.
pub fn base_env(
    settings: &crate::run::Settings,
    temp: &std::path::Path,
    shims: Option<&std::path::Path>,
) -> Vec<(String, String)> {
    let mut env = environment::base(settings.inherit_env, &settings.env);
    if let Some(shims) = shims {
        let path = environment::get(&env, "PATH").unwrap_or_default();
        let own = builtin::default_environment(temp).join("bin");
        let path = format!("{}:{}:{path}", own.display(), shims.display());
        environment::set(&mut env, "PATH", &path);
    }
    env
}
