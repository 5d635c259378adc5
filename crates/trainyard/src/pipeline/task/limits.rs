//! What a task may use, as its component says it in Kubernetes' words.

use super::Work;

/// Limits in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Limits {
    /// Cores.
    pub(super) cpus: Option<f64>,
    /// Bytes.
    pub(super) memory: Option<u64>,
    /// Cards.
    pub(super) cards: u32,
}

/// A quantity: `4000m`, `1.5`, `15G`, `512Mi`, `1e3`.
pub(super) fn quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    const UNITS: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("m", 0.001),
        ("k", 1e3),
        ("K", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1.0));
    let number: f64 = number.parse().ok()?;
    Some(number * factor).filter(|n| n.is_finite() && *n >= 0.0)
}

impl Work<'_> {
    /// The limits of the task, placeholders filled in.
    pub(super) fn limits(&self) -> Result<Limits, String> {
        let definition = &self.assignment.definition;
        let Some((_, trainyard_pipeline::Executor::Container(container))) =
            self.assignment.shared.pipeline.executor_of(definition)
        else {
            return Ok(Limits::default());
        };
        let resources = &container.resources;
        let inputs = &self.assignment.inputs.parameters;
        let number = |what: &str, text: &str| -> Result<Option<f64>, String> {
            let filled = trainyard_pipeline::fill(
                &serde_json::Value::from(text),
                inputs,
                &self.assignment.shared.facts,
                &self.task.key,
            );
            let text = trainyard_pipeline::text_of(&filled);
            match text.trim() {
                "" => Ok(None),
                text => match quantity(text) {
                    Some(number) => Ok(Some(number).filter(|n| *n > 0.0)),
                    None => Err(format!("its {what} '{text}' is no quantity: 4, 500m, 15G, 512Mi")),
                },
            }
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Limits {
            cpus: number("limit of CPUs", &resources.cpu_limit)?,
            memory: number("limit of memory", &resources.memory_limit)?.map(|m| m as u64),
            cards: number("number of accelerators", &resources.accelerator_count)?
                .map_or(0, |n| n as u32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, wanted) in [
            ("4000m", Some(4.0)),
            ("15G", Some(15e9)),
            ("512Mi", Some(536_870_912.0)),
            ("1.5", Some(1.5)),
            ("1e3", Some(1000.0)),
            ("lots", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(quantity(text), wanted, "{text}");
        }
    }
}
