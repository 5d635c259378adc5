//! What people see of a pull, a build or a push.

use std::collections::BTreeMap;

use bollard::models::ProgressDetail;
use tokio::time::{Duration, Instant};

use crate::task::TaskOutput;

/// How often a pull or push tells how far it is.
const TELL: Duration = Duration::from_secs(1);

/// How far layers are.
#[derive(Default)]
pub(crate) struct Progress {
    layers: BTreeMap<String, (i64, i64)>,
    told: Option<Instant>,
}

impl Progress {
    /// Prints what one piece of the engine's stream has to tell.
    pub(crate) async fn tell(
        &mut self,
        id: Option<String>,
        status: Option<String>,
        detail: Option<ProgressDetail>,
        out: &mut TaskOutput,
    ) {
        let detail = detail.unwrap_or_default();
        let (current, total) =
            (detail.current.unwrap_or_default(), detail.total.unwrap_or_default());
        if let Some(line) = self.take(id, &status.unwrap_or_default(), current, total) {
            out.line(&line).await;
        }
    }

    /// What to print now, if anything.
    fn take(
        &mut self,
        id: Option<String>,
        status: &str,
        current: i64,
        total: i64,
    ) -> Option<String> {
        let Some(id) = id.filter(|i| !i.is_empty()) else {
            return (!status.is_empty()).then(|| status.trim_end().to_owned());
        };
        if !moves(status) {
            if let Some((now, whole)) = self.layers.get_mut(&id) {
                *now = *whole;
            }
            let size = self
                .layers
                .get(&id)
                .filter(|(_, t)| *t > 0)
                .map(|(_, t)| format!(" ({})", bytes(*t)));
            return Some(format!("{id}: {}{}", status.trim_end(), size.unwrap_or_default()));
        }
        if total > 0 {
            self.layers.insert(id, (current, total));
        }
        if self.told.is_some_and(|at| at.elapsed() < TELL) || self.layers.is_empty() {
            return None;
        }
        self.told = Some(Instant::now());
        let (now, whole) = self.layers.values().fold((0, 0), |(a, b), (c, t)| (a + c, b + t));
        let done = self.layers.values().filter(|(c, t)| c >= t).count();
        Some(format!("{} of {} ({done} of {} layers)", bytes(now), bytes(whole), self.layers.len()))
    }
}

/// Whether a status is one of many of the same layer.
pub(crate) fn moves(status: &str) -> bool {
    ["Downloading", "Extracting", "Pushing", "Waiting", "Preparing", "Copying blob"]
        .iter()
        .any(|m| status.starts_with(m))
}

/// `12.3 MB`
fn bytes(count: i64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_layers_and_sizes() {
        let mut progress = Progress::default();
        let mut take = |id: &str, status: &str, c, t| progress.take(Some(id.into()), status, c, t);
        insta::assert_debug_snapshot!(take("a", "Pulling fs layer", 0, 0), @r#"
        Some(
            "a: Pulling fs layer",
        )
        "#);
        insta::assert_debug_snapshot!(take("a", "Downloading", 500_000, 2_000_000), @r#"
        Some(
            "500.0 kB of 2.0 MB (0 of 1 layers)",
        )
        "#);
        insta::assert_debug_snapshot!(take("a", "Downloading", 900_000, 2_000_000), @"None");
        insta::assert_debug_snapshot!(take("a", "Pull complete", 0, 0), @r#"
        Some(
            "a: Pull complete (2.0 MB)",
        )
        "#);
    }
}
