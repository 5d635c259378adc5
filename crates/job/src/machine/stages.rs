//! The stages of actions: which run before the job's steps and which after them
//! (actions/runner `JobExtension.cs`, `ActionManager.cs`, `ActionRunner.cs`).

use std::sync::Arc;

use trainyard_model::Outcome;

use super::{Action, Frame, JobMachine, Loaded, LoadedSet, MAIN, Runs, Stage, Status, Use};
use crate::spec::{Condition, StepKind, StepSpec};

/// Whether an action stands in another repository, or in this one at the running commit: such are
/// known before the job's steps begin. Those in the workspace (`./`) are found when they run.
pub(super) fn is_remote(uses: &str) -> bool {
    !uses.starts_with("./")
}

/// The actions of other repositories that steps name.
pub(super) fn remote_uses(steps: &[StepSpec]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for step in steps {
        if let StepKind::Uses { action, .. } = &step.kind
            && is_remote(action)
            && !names.contains(action)
        {
            names.push(action.clone());
        }
    }
    names
}

fn uses(step: &StepSpec) -> Option<&str> {
    match &step.kind {
        StepKind::Uses { action, .. } if is_remote(action) => Some(action),
        _ => None,
    }
}

impl JobMachine {
    /// All actions of other repositories are there, or one is not: then no step begins.
    pub(super) fn prepared(&mut self, loaded: Result<LoadedSet, String>) {
        match loaded {
            Ok(loaded) => self.loaded = loaded,
            Err(message) => {
                self.actions.push(Action::Log(0, format!("##[error]{message}")));
                self.fail_annotation(0, &message);
                self.refused = Some(message);
                self.finish(Outcome::Failure);
                return;
            }
        }
        let mut plan = self.stage_plan(&self.spec.steps, Stage::Pre);
        let steps = self.frame(MAIN).map_or(0, |f| f.steps.len());
        if steps > self.spec.steps.len() {
            plan.insert(0, (self.spec.steps.len(), Stage::Pre));
        }
        self.pres = plan.len();
        if let Some(frame) = self.strand(MAIN).frames.first_mut() {
            frame.plan.splice(0..0, plan);
        }
        self.advance(MAIN);
    }

    /// The steps of a list that have a pre stage.
    pub(super) fn stage_plan(&self, steps: &[StepSpec], stage: Stage) -> Vec<(usize, Stage)> {
        let has = |step: &StepSpec| {
            uses(step).and_then(|u| self.loaded.get(u)).is_some_and(|l| self.has_pre(l, 0))
        };
        (0..steps.len()).filter(|i| has(&steps[*i])).map(|i| (i, stage)).collect()
    }

    /// Only actions of other repositories have one: the others are not there yet.
    fn has_pre(&self, loaded: &Loaded, depth: usize) -> bool {
        match &loaded.runs {
            Runs::Builtin(_) => false,
            Runs::Node(spec, _) => spec.pre.is_some(),
            Runs::Docker(spec, _) => spec.pre.is_some(),
            Runs::Composite(spec, _) => {
                depth < super::actions::MAX_COMPOSITE_DEPTH
                    && spec.steps.iter().any(|step| {
                        let nested = uses(step).and_then(|u| self.loaded.get(u));
                        nested.is_some_and(|l| self.has_pre(l, depth + 1))
                    })
            }
        }
    }

    /// Where the use that a strand is at stands: the steps from the job's down to it.
    pub(super) fn use_path(&self, id: usize) -> Vec<usize> {
        let Some(strand) = self.strands.get(&id) else { return Vec::new() };
        let mut path: Vec<usize> =
            strand.frames.iter().filter_map(|f| Some(f.current.as_ref()?.index)).collect();
        if let (Some(first), Some(index)) = (path.first_mut(), strand.background) {
            *first = index;
        }
        path
    }

    pub(super) fn use_of(&mut self, id: usize) -> &mut Use {
        let path = self.use_path(id);
        self.uses.entry(path).or_default()
    }

    /// A stage before the post begins: from here on the post is to run.
    pub(super) fn register_post(&mut self, id: usize, loaded: &Loaded) {
        let has = match &loaded.runs {
            Runs::Builtin(spec) => spec.post.is_some(),
            Runs::Node(spec, _) => spec.post.is_some(),
            Runs::Docker(spec, _) => spec.post.is_some(),
            // It has one if a step of it has, which is seen when that one begins.
            Runs::Composite(..) => false,
        };
        if !has {
            return;
        }
        let path = self.use_path(id);
        let frames = self.strands.get(&id).map_or(&[][..], |s| &s.frames);
        let outer: Vec<Option<Loaded>> = frames
            .iter()
            .skip(1)
            .map(|f| {
                let c = f.composite.as_ref()?;
                let runs = Runs::Composite(Arc::clone(&c.spec), c.path.clone());
                Some(Loaded { runs, origin: c.origin.clone() })
            })
            .collect();
        for (depth, composite) in outer.into_iter().enumerate() {
            let entry = self.uses.entry(path[..=depth].to_vec()).or_default();
            if entry.posted.is_none() {
                entry.posted = composite;
            }
        }
        self.uses.entry(path.clone()).or_default().posted = Some(loaded.clone());
        if let Some(top) = path.first().filter(|t| !self.posts.contains(t)) {
            self.posts.push(*top);
        }
    }

    /// The posts within a composite that is in its own post stage, the last step first.
    pub(super) fn post_plan(&self, path: &[usize], steps: usize) -> Vec<(usize, Stage)> {
        let posted = |index: &usize| {
            let mut inner = path.to_vec();
            inner.push(*index);
            self.uses.get(&inner).is_some_and(|u| u.posted.is_some())
        };
        (0..steps).rev().filter(posted).map(|i| (i, Stage::Post)).collect()
    }

    /// The job's steps and what ran in the background are done: the posts, last registered first.
    pub(super) fn begin_posts(&mut self) {
        self.posting = true;
        let posts: Vec<(usize, Stage)> =
            std::mem::take(&mut self.posts).into_iter().rev().map(|i| (i, Stage::Post)).collect();
        if let Some(frame) = self.strand(MAIN).frames.first_mut() {
            frame.plan.extend(posts);
        }
        self.advance(MAIN);
    }

    /// Everything is done.
    pub(super) fn conclude(&mut self) {
        let outcome = match self.job_status() {
            Status::Cancelled if self.timed_out => Outcome::TimedOut,
            Status::Cancelled => Outcome::Cancelled,
            Status::Failure => Outcome::Failure,
            Status::Success => Outcome::Success,
        };
        self.finish(outcome);
    }

    /// The condition of the stage that a frame is at; none means `always()`.
    pub(super) fn stage_condition(&self, id: usize, step: &StepSpec) -> Option<Condition> {
        let stage = self.current(id).map_or(Stage::Main, |c| c.stage);
        let loaded = match stage {
            Stage::Main => return Some(step.condition.clone()),
            Stage::Pre => uses(step).and_then(|u| self.loaded.get(u)),
            Stage::Post => self.uses.get(&self.use_path(id)).and_then(|u| u.posted.as_ref()),
        };
        match (&loaded?.runs, stage) {
            (Runs::Node(spec, _), Stage::Pre) => spec.pre.as_ref().map(|s| s.condition.clone()),
            (Runs::Node(spec, _), Stage::Post) => spec.post.as_ref().map(|s| s.condition.clone()),
            (Runs::Docker(spec, _), Stage::Pre) => spec.pre.as_ref().map(|s| s.condition.clone()),
            (Runs::Docker(spec, _), Stage::Post) => spec.post.as_ref().map(|s| s.condition.clone()),
            (Runs::Builtin(spec), Stage::Post) => spec.post.clone(),
            _ => None,
        }
    }
}

impl Frame {
    /// The stage of the composite action that this list belongs to; of the job's own, the steps'.
    pub(super) fn stage(&self) -> Stage {
        self.composite.as_ref().map_or(Stage::Main, |c| c.stage)
    }
}

/// What stands in front of a step's name in its other stages.
pub(super) fn prefixed(stage: Stage, name: &str) -> String {
    match stage {
        Stage::Pre => format!("Pre {name}"),
        Stage::Main => name.to_owned(),
        Stage::Post => format!("Post {name}"),
    }
}
