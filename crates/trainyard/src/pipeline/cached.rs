//! Results that stand for equal tasks, and why they do or do not.

use std::sync::Arc;

use trainyard_engine::InstanceId;
use trainyard_model::Value;
use trainyard_pipeline::{Bundle, Executor as Runs, fingerprint};

use super::driver::Driver;
use super::settings::Executor;
use crate::error::Result;

impl Driver<'_> {
    /// What an equal task gave, and in which words that is said.
    pub(super) fn look_up(&mut self, node: InstanceId) -> Result<Option<(String, Value)>> {
        let definition = *self.semantics.definition(self.state.instance(node).plan);
        let pipeline = Arc::clone(&self.shared.pipeline);
        let (Some(task), Some((_, Runs::Container(container)))) =
            (pipeline.task_of(&definition), pipeline.executor_of(&definition))
        else {
            return Ok(None);
        };
        if !task.cache || self.shared.executor == Executor::Scripted {
            return Ok(None);
        }
        let component = pipeline.component_of(&definition);
        let bound = self.bound(node);
        let claims = bound.platform.iter().flat_map(|p| &p.claims);
        let claims: Vec<String> = claims.map(|c| c.name.clone()).collect();
        let print = fingerprint(task, component, container, &bound, &claims);
        self.fingerprints.insert(node, print.clone());
        if self.shared.facts.no_cache {
            self.cache_note(node, "cache not looked for: --no-cache")?;
            return Ok(None);
        }
        let Some(found) = self.journal.find_result(&pipeline.name, &print)? else {
            self.cache_note(
                node,
                "cache miss: no equal task (image, command, inputs, outputs) has run well",
            )?;
            return Ok(None);
        };
        if found.run == self.row.id && self.row.attempt > 1 {
            self.cache_note(node, "cache miss: what is there is of this run, which begins again")?;
            return Ok(None);
        }
        let Ok(mut bundle) = serde_json::from_str::<Bundle>(&found.outputs) else {
            self.cache_note(node, "cache miss: what is there cannot be read")?;
            self.journal.forget_result(&pipeline.name, &print)?;
            return Ok(None);
        };
        let gone = bundle.artifacts.values().flatten().find(|artifact| {
            // What was never written is no file that is gone; that is known by its bytes.
            let known = self.journal.pipeline_artifact(artifact.id).ok().flatten();
            let written = known.is_some_and(|k| k.bytes > 0);
            written
                && artifact.uri.starts_with('/')
                && self.shared.mirror.of(artifact).is_some_and(|p| !p.exists())
                && !matches!(self.shared.kept.find(&artifact.uri), Ok(Some(_)))
        });
        if let Some(artifact) = gone {
            let why =
                format!("cache miss: run {} gave it, and {} is gone", found.run, artifact.uri);
            self.cache_note(node, &why)?;
            self.journal.forget_result(&pipeline.name, &print)?;
            return Ok(None);
        }
        bundle.cached = true;
        let reason = format!("cached: '{}' of run {} was equal", found.task, found.run);
        Ok(Some((reason, bundle.to_value())))
    }
}
