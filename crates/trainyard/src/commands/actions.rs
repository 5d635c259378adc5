//! `trainyard actions`: what was fetched of other repositories.

use std::time::UNIX_EPOCH;

use clap::Subcommand;

use crate::actions::cache::Cache;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::paths::data_dir;
use crate::ui::text::{ago, bytes, span};

/// What to do with them.
#[derive(Debug, Subcommand)]
pub enum ActionsCommand {
    /// List them, the latest used first
    List,
    /// Remove those that were not used for a while
    Prune {
        /// Not used for that long: 30m, 12h, 7d, 2w
        #[arg(long, default_value = "30d")]
        older: String,
    },
}

/// A span of time of the command line.
pub fn older(text: &str) -> Result<std::time::Duration> {
    span(text).ok_or_else(|| Error::new(format!("--older {text}: expected 30m, 12h, 7d or 2w")))
}

/// Runs the command.
pub fn run(command: &ActionsCommand) -> Result<Exit> {
    let cache = Cache::new(&data_dir()?);
    match command {
        ActionsCommand::List => {
            let entries = cache.list();
            if entries.is_empty() {
                outln!("no actions were fetched yet");
            }
            for entry in entries {
                let used = entry.used.duration_since(UNIX_EPOCH).unwrap_or_default();
                let used = ago(i64::try_from(used.as_millis()).unwrap_or(0));
                let names = entry.names.join(", ");
                outln!("{}  {:>9}  {used:<12}  {names}", &entry.sha, bytes(entry.size));
            }
        }
        ActionsCommand::Prune { older: text } => {
            let (count, size) = cache.prune(older(text)?);
            outln!("removed {count}, {} are free", bytes(size));
        }
    }
    Ok(Exit::Success)
}
