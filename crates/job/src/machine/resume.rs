//! Marks: what each step of the job left behind, and a job that begins after one of them.
//!
//! A mark holds what the step changed, so a job of many steps costs no more than its changes.
//! Steps before the one that a job begins with are not run: they show as reused, what they left
//! is there, and their posts run. Pre stages run again.
//!
//! A step that masks a value of its own is in the way of those after it: the value is not kept, and
//! so could not be hidden. Deliberately absent: problem matchers that a step registered, and
//! beginning within a composite action or while background steps run.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use trainyard_model::{Object, Outcome, Value};

use super::ending::record_step;
use super::stages::is_remote;
use super::{
    Action, Deferred, Ended, JobMachine, Loaded, MAIN, Runs, Stage, Status, StepReport, Strand, put,
};
use crate::mask::Masker;
use crate::seal::{Seal, map_texts, unseal};
use crate::spec::StepKind;

/// What a step of the job left behind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMark {
    /// Its place among the steps of the job, from 0.
    pub index: usize,
    /// How background steps that it joined ended, and then itself.
    pub ends: Vec<MarkEnd>,
    /// Variables that have another value since the mark before.
    pub env: Vec<(String, String)>,
    /// The folders in front of PATH, if they changed.
    pub path: Option<Vec<String>>,
    /// What actions saved for their later stages.
    pub uses: Vec<MarkUse>,
    /// Steps whose posts are to run, in the order in which they were registered.
    pub posts: Vec<usize>,
    /// Whether the job has failed by now.
    pub failed: bool,
    /// Why no job can begin after it.
    pub blocked: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarkEnd {
    /// Its place among the steps of the job.
    pub index: usize,
    /// Its name, as shown.
    pub name: String,
    /// Before `continue-on-error`.
    pub outcome: Outcome,
    /// After it.
    pub conclusion: Outcome,
    /// Its outputs.
    pub outputs: Vec<(String, String)>,
}

/// A use of an action, by the places of the steps from the job's down to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarkUse {
    /// Where.
    pub place: Vec<usize>,
    /// What it saved.
    pub state: Vec<(String, String)>,
    /// Whether its post stage is to run.
    pub posted: bool,
    /// The `steps` context of a composite.
    pub scope: Value,
}

/// The step that a job begins with.
#[derive(Debug, Default)]
pub(super) struct Resume {
    /// Its place among the steps of the job.
    step: usize,
    /// What those before it left behind.
    marks: VecDeque<StepMark>,
    /// Says where they ran.
    source: String,
}

fn pairs(object: &Object) -> Vec<(String, String)> {
    object.iter().map(|(k, v)| (k.to_owned(), v.to_text().into_owned())).collect()
}

/// Changes every text of a mark; the name of the first that cannot be. Names do not change: they
/// pass or are in the way.
fn change(
    mark: &mut StepMark,
    f: &dyn Fn(&str) -> Option<String>,
    passes: &dyn Fn(&str) -> bool,
) -> Result<(), String> {
    let one = |name: &str, text: &mut String| match f(text).filter(|_| passes(name)) {
        Some(changed) => {
            *text = changed;
            Ok(())
        }
        None if passes(name) => Err(format!("the value of '{name}'")),
        None => Err("the name of a variable or output".to_owned()),
    };
    for (name, value) in &mut mark.env {
        one(name, value)?;
    }
    for (name, value) in mark.ends.iter_mut().flat_map(|e| &mut e.outputs) {
        one(name, value)?;
    }
    for (name, value) in mark.uses.iter_mut().flat_map(|u| &mut u.state) {
        one(name, value)?;
    }
    for folder in mark.path.iter_mut().flatten() {
        one("PATH", folder)?;
    }
    for used in &mut mark.uses {
        let changed = map_texts(&used.scope, f, passes);
        used.scope = changed.ok_or_else(|| "an output within an action".to_owned())?;
    }
    Ok(())
}

/// Marks without secrets, as they may lie on a disk.
pub fn sealed(marks: &[StepMark], secrets: &Value, masker: &Masker) -> Vec<StepMark> {
    let seal = Seal::new(secrets, masker);
    let mut out = Vec::with_capacity(marks.len());
    let mut blocked: Option<String> = None;
    for mark in marks {
        let mut mark = mark.clone();
        if let Err(what) = change(&mut mark, &|text| seal.seal(text), &|name| seal.is_plain(name)) {
            blocked.get_or_insert(format!("{what} is masked, and so is not kept"));
            // How it went is no secret.
            let ends = mark.ends.into_iter().map(|e| MarkEnd { outputs: Vec::new(), ..e });
            mark = StepMark { index: mark.index, ends: ends.collect(), ..StepMark::default() };
        }
        mark.blocked = blocked.clone().or(mark.blocked);
        out.push(mark);
    }
    out
}

impl JobMachine {
    /// What the steps of the job left behind so far, with their secrets; of a job that resumes and
    /// did not come as far, also what those it was to reuse had left.
    pub fn marks(&self) -> Vec<StepMark> {
        let reused = self.resumed.iter().flat_map(|r| &r.marks);
        self.marks.iter().chain(reused).cloned().collect()
    }

    /// How many pre stages come before the job's steps.
    pub fn pre_stages(&self) -> usize {
        self.pres
    }

    /// The `secrets` context.
    pub fn secrets(&self) -> &Value {
        &self.contexts.secrets
    }

    /// Makes the job begin with that step, by its place from 0; before it is started. Marks are
    /// those of an earlier attempt, sealed; `source` says which.
    pub fn resume(&mut self, step: usize, marks: &[StepMark], source: &str) -> Result<(), String> {
        if step >= self.spec.steps.len() {
            return Err(format!("the job has no step {}", step + 1));
        }
        let before: Vec<&StepMark> = marks.iter().filter(|m| m.index < step).collect();
        let reached = before.last().map_or(0, |m| m.index + 1);
        if reached < step {
            // Steps in the background leave nothing until they are joined.
            let open = self.spec.steps[reached..step].iter().find(|s| s.background);
            return Err(match open {
                Some(open) => format!("the background step '{}' was not waited for", open.id),
                None => "the attempt before did not come as far as that".into(),
            });
        }
        if let Some(why) = before.last().and_then(|m| m.blocked.clone()) {
            return Err(why);
        }
        let mut opened = VecDeque::new();
        for mark in before {
            let mut mark = mark.clone();
            let missing = std::cell::RefCell::new(None);
            let open = |text: &str| {
                unseal(text, &self.contexts.secrets)
                    .map_err(|name| *missing.borrow_mut() = Some(name))
                    .ok()
            };
            if change(&mut mark, &open, &|_| true).is_err() {
                let name = missing.take().unwrap_or_default();
                return Err(format!("the secret '{name}' is needed, and not given"));
            }
            opened.push_back(mark);
        }
        self.resumed = Some(Resume { step, marks: opened, source: source.to_owned() });
        Ok(())
    }

    /// Notes what the step left behind that the job's own strand has just ended.
    pub(super) fn mark(&mut self, index: usize, end: MarkEnd) {
        let mut ends = std::mem::take(&mut self.joined);
        ends.push(end);
        let Some(main) = self.strands.get(&MAIN) else { return };
        let changed = |(name, value): &&(String, String)| {
            !self.marked_env.iter().any(|(n, v)| n == name && v == value)
        };
        let env: Vec<(String, String)> = main.env.iter().filter(changed).cloned().collect();
        let path = (main.path != self.marked_path).then(|| main.path.clone());
        let mut blocked = None;
        let mut uses = Vec::new();
        for (place, used) in &self.uses {
            if !ends.iter().any(|e| place.first() == Some(&e.index)) {
                continue;
            }
            let posted = used.posted.is_some();
            if posted && self.loaded_at(place).is_none() {
                blocked = Some("a local action has a post stage".to_owned());
            }
            let scope = Value::Object(std::sync::Arc::new(used.scope.clone()));
            // What its pre stage saved is saved anew by the next attempt's.
            let before = self.pre_state.get(place);
            let own = |pair: &&(String, String)| before.is_none_or(|b| !b.contains(pair));
            let state = used.state.iter().filter(own).cloned().collect();
            uses.push(MarkUse { place: place.clone(), state, posted, scope });
        }
        let open = self.strands.values().find(|s| s.background.is_some() && !s.deferred.joined);
        if let Some(step) = open.and_then(|s| self.spec.steps.get(s.background?)) {
            blocked = Some(format!("the background step '{}' was not waited for", step.id));
        }
        let failed = main.frames.first().is_some_and(|f| f.status != Status::Success);
        for (name, value) in &env {
            put(&mut self.marked_env, name.clone(), value.clone());
        }
        if let Some(path) = &path {
            self.marked_path.clone_from(path);
        }
        if blocked.as_ref().is_some_and(|b| b.starts_with("a local action")) {
            self.no_resume.clone_from(&blocked);
        }
        self.marks.push(StepMark {
            index,
            ends,
            env,
            path,
            uses,
            posts: self.posts.clone(),
            failed,
            blocked: self.no_resume.clone().or(blocked),
        });
    }

    /// A step that is not run again: what it left is put in place. False if it is to run.
    pub(super) fn reuse(&mut self, index: usize, stage: Stage) -> bool {
        let Some(resumed) = &mut self.resumed else { return false };
        if stage != Stage::Main || index >= resumed.step {
            return false;
        }
        if resumed.marks.front().is_none_or(|m| m.index != index) {
            // A background step: the one that joined it brings what it left.
            return true;
        }
        let source = resumed.source.clone();
        let Some(mark) = resumed.marks.pop_front() else { return true };
        for end in &mark.ends {
            if end.index != index {
                self.rejoin(end);
            }
            let number = self.pres + end.index;
            let name = self.masker.mask(&end.name);
            self.actions.push(Action::StepBegan(number, name));
            let (outcome, conclusion) = (end.outcome, end.conclusion);
            let reason = Some(format!("reused from {source}"));
            self.actions
                .push(Action::StepEnded(number, StepReport { outcome, conclusion, reason }));
            let id = self.spec.steps.get(end.index).map(|s| s.id.clone()).unwrap_or_default();
            let outputs = end.outputs.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
            let mut object = Object::new();
            outputs.for_each(|(k, v)| object.insert(k, v));
            if let Some(frame) = self.strand(MAIN).frames.first_mut() {
                record_step(&mut frame.scope, &id, object, outcome, conclusion);
            }
        }
        for used in &mark.uses {
            let posted = if used.posted { self.loaded_at(&used.place) } else { None };
            let entry = self.uses.entry(used.place.clone()).or_default();
            for (name, value) in &used.state {
                put(&mut entry.state, name.clone(), value.clone());
            }
            entry.posted = posted.or(entry.posted.take());
            if let Value::Object(scope) = &used.scope {
                entry.scope = Object::clone(scope);
            }
        }
        for post in &mark.posts {
            if !self.posts.contains(post) {
                self.posts.push(*post);
            }
        }
        let Some(main) = self.strands.get_mut(&MAIN) else { return true };
        for (name, value) in &mark.env {
            put(&mut main.env, name.clone(), value.clone());
        }
        if let Some(path) = &mark.path {
            main.path.clone_from(path);
        }
        if let Some(frame) = main.frames.first_mut() {
            // A pre stage of this attempt may have failed, too.
            if mark.failed {
                frame.status = Status::Failure;
            }
        }
        // The next attempt may begin after it, too.
        (self.marked_env, self.marked_path) = (main.env.clone(), main.path.clone());
        self.marks.push(mark);
        true
    }

    /// A background step that an earlier attempt joined counts as joined.
    fn rejoin(&mut self, end: &MarkEnd) {
        let mut outputs = Object::new();
        end.outputs.iter().for_each(|(k, v)| outputs.insert(k.as_str(), Value::from(v.as_str())));
        let ended = Ended {
            name: end.name.clone(),
            outcome: end.outcome,
            conclusion: end.conclusion,
            outputs,
        };
        let strand = Strand {
            frames: Vec::new(),
            env: Vec::new(),
            path: Vec::new(),
            background: Some(end.index),
            deferred: Deferred { ended: Some(ended), joined: true, ..Deferred::default() },
            cancelled: false,
        };
        self.strands.insert(self.next_strand, strand);
        self.next_strand += 1;
    }

    /// The pre stages are over: what they left is no step's.
    pub(super) fn pres_are_over(&mut self) {
        if self.pres_over {
            return;
        }
        self.pres_over = true;
        // What they masked the next attempt's mask again.
        self.no_resume = None;
        let Some(main) = self.strands.get(&MAIN) else { return };
        (self.marked_env, self.marked_path) = (main.env.clone(), main.path.clone());
        let state = |(place, used): (&Vec<usize>, &super::Use)| (place.clone(), used.state.clone());
        self.pre_state = self.uses.iter().map(state).collect();
    }

    /// The action that stands at that place, if it is one of another repository.
    fn loaded_at(&self, place: &[usize]) -> Option<Loaded> {
        let mut steps = self.spec.steps.clone();
        let mut found = None;
        for index in place {
            let StepKind::Uses { action, .. } = &steps.get(*index)?.kind else { return None };
            let loaded = self.loaded.get(action).filter(|_| is_remote(action))?.clone();
            steps = match &loaded.runs {
                Runs::Composite(spec, _) => spec.steps.clone(),
                _ => Vec::new(),
            };
            found = Some(loaded);
        }
        found
    }
}

impl MarkEnd {
    pub(super) fn new(
        index: usize,
        name: String,
        (outcome, conclusion): (Outcome, Outcome),
        outputs: &Object,
    ) -> Self {
        MarkEnd { index, name, outcome, conclusion, outputs: pairs(outputs) }
    }
}
