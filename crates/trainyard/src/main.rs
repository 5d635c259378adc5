//! Trainyard: CI/CD for machine learning. This is the binary: commands, settings, and the shell
//! around the pure crates.

/// `println!` for output that people pipe into `head`: a reader that has gone away is no fault.
macro_rules! outln {
    ($($text:tt)*) => { $crate::ui::text::line(format_args!($($text)*)) };
}

mod actions;
mod builtin;
mod cli;
mod commands;
mod error;
mod exit;
mod git;
mod git_objects;
mod host;
mod paths;
mod pipeline;
mod run;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {}", error.message);
            if let Some(hint) = error.hint {
                eprintln!("hint: {hint}");
            }
            exit::Exit::Invalid.into()
        }
    }
}
