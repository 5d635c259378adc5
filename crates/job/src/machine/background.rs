//! Background steps, and the steps that wait for them (actions/runner
//! `BackgroundStepCoordinator.cs`; DESIGN: step machine).

use std::sync::Arc;

use trainyard_model::{Object, Outcome, Value};

use super::ending::{prepend, record_step};
use super::steps::static_name;
use super::{
    Action, Deferred, Ended, Frame, JobMachine, MAIN, MAX_BACKGROUND, MarkEnd, Status, StepReport,
    StopKind, Strand, put,
};
use crate::spec::{StepKind, StepSpec};

impl JobMachine {
    /// Starts the step that the job is at in a strand of its own, now or when there is room.
    pub(super) fn start_background(&mut self, step: &StepSpec) {
        let main = self.strand(MAIN);
        let (env, path) = (main.env.clone(), main.path.clone());
        let Some(frame) = main.frames.last_mut() else { return };
        let Some(current) = frame.current.take() else { return };
        let mut own = step.clone();
        own.background = false;
        // Its condition was true when it was reached, and is not asked again.
        own.condition.tree = always();
        let mut list = Frame::new(Arc::from(vec![own]), None);
        list.scope = frame.scope.clone();
        let id = self.next_strand;
        self.next_strand += 1;
        self.strands.insert(
            id,
            Strand {
                frames: vec![list],
                env,
                path,
                background: Some(current.index),
                deferred: Deferred::default(),
                cancelled: false,
            },
        );
        if self.running_background() < MAX_BACKGROUND {
            self.advance(id);
        } else {
            self.queued.push_back(id);
        }
    }

    fn running_background(&self) -> usize {
        self.strands
            .iter()
            .filter(|(id, s)| {
                s.background.is_some() && s.deferred.ended.is_none() && !self.queued.contains(id)
            })
            .count()
            // The one that is being started is counted too.
            .saturating_sub(1)
    }

    pub(super) fn background_over(&mut self, id: usize) {
        let strand = self.strand(id);
        if strand.deferred.ended.is_none() {
            let step = strand.frames.first().and_then(|f| f.steps.first());
            strand.deferred.ended = Some(Ended {
                name: step.map(static_name).unwrap_or_default(),
                outcome: Outcome::Skipped,
                conclusion: Outcome::Skipped,
                outputs: Object::new(),
            });
        }
        if let Some(next) = self.queued.pop_front() {
            self.advance(next);
        }
        if self.draining {
            self.drain();
        } else if self.check_wait() {
            self.advance(MAIN);
        }
    }

    fn background_of(&self, target: &str) -> Option<usize> {
        let steps = &self.spec.steps;
        let index = steps.iter().position(|s| s.id.eq_ignore_ascii_case(target))?;
        self.strands.iter().find(|(_, s)| s.background == Some(index)).map(|(id, _)| *id)
    }

    pub(super) fn cancel_background(&mut self, target: &str) {
        let Some(id) = self.background_of(target) else { return };
        if self.strand(id).deferred.ended.is_some() {
            return;
        }
        self.strand(id).cancelled = true;
        if let Some(at) = self.queued.iter().position(|q| *q == id) {
            self.queued.remove(at);
            self.end_queued(id);
            return;
        }
        self.stop_strand(id, StopKind::Graceful);
    }

    /// A background step that never got its turn ends as cancelled.
    pub(super) fn end_queued(&mut self, id: usize) {
        let top = self.top_step(id);
        let mut name = String::new();
        if let Some(step) = self.strands.get(&id).and_then(|s| s.frames.first()?.steps.first()) {
            name = self.masker.mask(&static_name(step));
            self.actions.push(Action::StepBegan(top, name.clone()));
        }
        let outcome = Outcome::Cancelled;
        self.strand(id).deferred.ended =
            Some(Ended { name, outcome, conclusion: outcome, outputs: Object::new() });
        let reason = Some("it was cancelled before it began".to_owned());
        let report = StepReport { outcome, conclusion: outcome, reason };
        self.actions.push(Action::StepEnded(top, report));
    }

    /// Whether the job is at a wait or cancel.
    fn waits(&self) -> bool {
        self.current(MAIN).is_some_and(|c| c.waiting)
    }

    /// If the job is at a wait or cancel whose steps have all ended, ends it; true if so.
    pub(super) fn check_wait(&mut self) -> bool {
        let Some(step) = self.step_spec(MAIN).filter(|_| self.waits()) else { return false };
        let targets: Vec<usize> = match &step.kind {
            StepKind::Wait(ids) => ids.iter().filter_map(|t| self.background_of(t)).collect(),
            StepKind::Cancel(target) => self.background_of(target).into_iter().collect(),
            StepKind::WaitAll(true) => self
                .strands
                .iter()
                .filter(|(_, s)| s.background.is_some() && !s.deferred.joined)
                .map(|(id, _)| *id)
                .collect(),
            _ => Vec::new(),
        };
        let open = |id: &usize| self.strands.get(id).is_some_and(|s| s.deferred.ended.is_none());
        if targets.iter().any(open) {
            return false;
        }
        let cancels = matches!(step.kind, StepKind::Cancel(_));
        // One that had failed before it was cancelled counts when the job ends, not here.
        let failed = self.join(targets).filter(|_| !cancels);
        let outcome = if failed.is_some() { Outcome::Failure } else { Outcome::Success };
        let reason = failed.map(|id| format!("the background step '{id}' failed"));
        if let Some(reason) = &reason {
            let top = self.top_step(MAIN);
            self.actions.push(Action::Log(top, format!("##[error]{reason}")));
        }
        self.end_step(MAIN, outcome, reason);
        true
    }

    /// Makes visible what background steps wrote, in file order; the first that failed.
    fn join(&mut self, mut targets: Vec<usize>) -> Option<String> {
        targets.sort_by_key(|id| self.strands.get(id).and_then(|s| s.background));
        let mut failed = None;
        for id in targets {
            let strand = self.strand(id);
            let cancelled = strand.cancelled;
            let Some(index) = strand.background else { continue };
            let Some(ended) = strand.deferred.ended.clone() else { continue };
            let first = !std::mem::replace(&mut strand.deferred.joined, true);
            let env = std::mem::take(&mut strand.deferred.env);
            let path = std::mem::take(&mut strand.deferred.path);
            let step = &self.spec.steps[index];
            let step_id = step.id.clone();
            if ended.conclusion == Outcome::Failure && !cancelled {
                let own = !step_id.starts_with("__");
                failed.get_or_insert(if own { step_id.clone() } else { static_name(step) });
            }
            if !first {
                continue;
            }
            let main = self.strand(MAIN);
            for (key, value) in env {
                put(&mut main.env, key, value);
            }
            prepend(&mut main.path, path);
            let Ended { name, outcome, conclusion, outputs } = ended;
            let end = MarkEnd::new(index, name, (outcome, conclusion), &outputs);
            self.joined.push(end);
            if let Some(frame) = self.strand(MAIN).frames.first_mut() {
                record_step(&mut frame.scope, &step_id, outputs, outcome, conclusion);
            }
        }
        failed
    }

    /// A cancelled job waits for nothing any more.
    pub(super) fn interrupt_wait(&mut self) {
        if self.waits() {
            // What has ended is seen by the steps that still run.
            let ended = self.strands.iter().filter(|(_, s)| s.deferred.ended.is_some());
            let ended = ended.filter(|(_, s)| !s.deferred.joined).map(|(id, _)| *id).collect();
            self.join(ended);
            self.end_step(MAIN, Outcome::Cancelled, Some("The operation was canceled.".into()));
            self.advance(MAIN);
        }
    }

    /// The job's steps are done: what runs in the background is waited for and merged.
    pub(super) fn drain(&mut self) {
        if self.posting {
            return;
        }
        self.draining = true;
        let background: Vec<usize> = self
            .strands
            .iter()
            .filter(|(_, s)| s.background.is_some())
            .map(|(id, _)| *id)
            .collect();
        if background.iter().any(|id| self.strands[id].deferred.ended.is_none()) {
            return;
        }
        let unjoined =
            background.iter().copied().filter(|id| !self.strands[id].deferred.joined).collect();
        self.join(unjoined);
        // Also one that was waited for: `continue-on-error` of the wait forgives the wait alone.
        let failed = background.iter().any(|id| {
            let ended = self.strands[id].deferred.ended.as_ref();
            ended.is_some_and(|e| e.conclusion == Outcome::Failure)
        });
        if failed && let Some(frame) = self.strand(MAIN).frames.first_mut() {
            frame.status = Status::Failure;
        }
        self.begin_posts();
    }
}

fn always() -> trainyard_expression::Expr {
    trainyard_expression::Expr {
        kind: trainyard_expression::ExprKind::Literal(Value::Bool(true)),
        start: 0,
    }
}
