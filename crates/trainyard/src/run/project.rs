//! `trainyard.toml` at the root of the repository: what is Trainyard's own and belongs to the
//! project. A flag of the call counts more.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use trainyard_executor_container::parse_options;
use trainyard_job::container::ContainerSpec;

use super::Settings;
use crate::error::{Error, Result};

/// The file's name.
pub const FILE: &str = "trainyard.toml";
/// Bytes of it.
const MAX_BYTES: u64 = 1024 * 1024;

/// What it may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// `[actions]`
    #[serde(default)]
    actions: Actions,
    /// `[cache]`
    #[serde(default)]
    cache: Cache,
    /// `[check]`
    #[serde(default)]
    pub check: Check,
    /// `[pipeline]`
    #[serde(default)]
    pub pipeline: crate::pipeline::settings::Cluster,
    /// `[runners.LABEL]`
    #[serde(default)]
    runners: BTreeMap<String, Runner>,
}

/// What a label stands for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Runner {
    /// The image that its jobs run in.
    image: String,
    /// Cores, `2` or `1.5`.
    cpus: Option<f64>,
    /// Memory, `8g`.
    memory: Option<String>,
    /// Cards, as `--gpus` takes them: `all`, `2`, `device=0,1`.
    gpus: Option<String>,
    /// Processes at once.
    pids: Option<i64>,
    /// `/dev/shm`, `2g`.
    shm: Option<String>,
    /// More flags of `docker create`.
    #[serde(default)]
    options: String,
}

impl Runner {
    /// The container that it stands for.
    fn container(self, label: &str) -> Result<ContainerSpec> {
        let mut options = Vec::new();
        options.extend(self.cpus.map(|c| format!("--cpus {c}")));
        options.extend(self.memory.map(|m| format!("--memory {m}")));
        options.extend(self.gpus.map(|g| format!("--gpus {g}")));
        options.extend(self.pids.map(|p| format!("--pids-limit {p}")));
        options.extend(self.shm.map(|s| format!("--shm-size {s}")));
        options.extend(Some(self.options).filter(|o| !o.is_empty()));
        let options = options.join(" ");
        let bad = |why: &str| Error::new(format!("{FILE}: [runners.{label}]: {why}"));
        parse_options(&options).map_err(|e| bad(&e.said()))?;
        if self.image.trim().is_empty() {
            return Err(bad("image is empty"));
        }
        Ok(ContainerSpec { image: self.image, options, ..ContainerSpec::default() })
    }
}

/// What it says of `trainyard check`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Rules that are not asked.
    #[serde(default)]
    pub off: Vec<String>,
    /// Labels of the project's own runners; a `*` stands for anything.
    #[serde(default)]
    pub labels: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Actions {
    /// Addresses or folders with `{owner}` and `{name}`, or folders that hold `OWNER/NAME.git`.
    #[serde(default)]
    mirrors: Vec<String>,
    /// The forge, `https://github.com` when it is not said.
    forge: Option<String>,
    /// Whether checkout and its kin are built in.
    builtin: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    /// How much a repository's entries may take: `500MB`, `50GB`.
    quota: Option<String>,
}

impl Project {
    /// Reads the file of a repository; nothing if there is none.
    pub fn read(root: &Path) -> Result<Project> {
        let path = root.join(FILE);
        let Ok(meta) = path.metadata() else { return Ok(Project::default()) };
        if meta.len() > MAX_BYTES {
            return Err(Error::new(format!("{} is larger than {MAX_BYTES} bytes", path.display())));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, &e))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |s| text[..s.start].matches('\n').count() + 1);
            Error::new(format!("{FILE}:{line}: {}", error.message()))
                .hint("the README lists what it may say")
        })
    }

    /// Fills in what the call left open.
    pub fn apply(self, root: &Path, settings: &mut Settings) -> Result<()> {
        for mirror in self.actions.mirrors {
            let is_path = !mirror.contains("://") && !mirror.contains('@');
            settings.places.mirrors.push(match is_path {
                // Relative ones are beside the file.
                true => root.join(&mirror).to_string_lossy().into_owned(),
                false => mirror,
            });
        }
        if let Some(forge) = self.actions.forge {
            settings.places.forge = forge.trim_end_matches('/').to_owned();
        }
        for (label, runner) in self.runners {
            // What the call says of the label counts more.
            let given = |name: &String| name.eq_ignore_ascii_case(&label);
            if settings.labels.iter().any(|(name, _)| given(name)) {
                continue;
            }
            let image = runner.container(&label)?;
            settings.labels.push((label.clone(), true));
            settings.images.push((label, image));
        }
        settings.builtin_actions &= self.actions.builtin.unwrap_or(true);
        if let Some(text) = self.cache.quota {
            let quota = size(&text).ok_or_else(|| {
                Error::new(format!(
                    "{FILE}: quota = \"{text}\": expected a size such as 500MB or 50GB"
                ))
            })?;
            settings.quota.get_or_insert(quota);
        }
        Ok(())
    }
}

/// Bytes: `500MB`, `50 GB`, `1TB`; powers of 1024, as GitHub counts them.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..at].parse().ok()?;
    let unit: u64 = match text[at..].trim().to_ascii_uppercase().as_str() {
        "B" | "" => 1,
        "KB" | "KIB" => 1 << 10,
        "MB" | "MIB" => 1 << 20,
        "GB" | "GIB" => 1 << 30,
        "TB" | "TIB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("500MB", Some(500 << 20)),
            ("2 GiB", Some(2 << 30)),
            ("7", Some(7)),
            ("many", None),
            ("5 X", None),
            ("99999999999999 TB", None),
        ] {
            assert_eq!(size(text), wanted, "{text}");
        }
    }
}
