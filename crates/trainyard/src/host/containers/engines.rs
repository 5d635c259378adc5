//! The engine that all jobs of a call share.

use std::sync::{Arc, OnceLock};

use trainyard_executor_container::{Engine, Search, search};

use super::mark::process_is_gone;

/// The engine of this call, found when the first container is asked for.
#[derive(Debug, Default)]
pub struct Engines {
    engine: OnceLock<Result<Arc<Engine>, String>>,
}

impl Engines {
    /// The engine; what earlier calls of Trainyard left there is removed first.
    ///
    /// # Errors
    ///
    /// The one message when there is none.
    pub fn get(&self) -> Result<Arc<Engine>, String> {
        let found = self.engine.get_or_init(|| {
            let engine = search(&Search::here()).and_then(|found| Engine::connect(&found));
            let engine = engine.map_err(|e| e.said())?;
            engine.sweep(&|process| process_is_gone(process));
            Ok(Arc::new(engine))
        });
        found.clone()
    }

    /// The engine, if one was asked for.
    pub fn used(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(|e| e.as_ref().ok()).cloned()
    }
}
