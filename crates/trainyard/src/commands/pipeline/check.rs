//! `trainyard pipeline check`: what is wrong with compiled pipelines.

use std::path::PathBuf;

use trainyard_diagnostics::{FileReport, has_errors, render_json, render_text};
use trainyard_pipeline::lower;

use crate::error::Result;
use crate::exit::Exit;
use crate::pipeline::package::open;

/// Checks them.
pub fn check(files: &[PathBuf], json: bool) -> Result<Exit> {
    let mut packages = Vec::new();
    for file in files {
        packages.push(open(file)?);
    }
    let reports: Vec<FileReport<'_>> = packages
        .iter()
        .map(|p| FileReport { source: &p.source, diagnostics: &p.diagnostics })
        .collect();
    let mut failed = packages.iter().any(|p| p.pipeline.is_none() || has_errors(&p.diagnostics));
    match json {
        true => outln!("{}", render_json(&reports)),
        false => {
            let text = render_text(&reports, true);
            let _ = std::io::Write::write_all(&mut anstream::stdout(), text.as_bytes());
        }
    }
    for package in &packages {
        if let Some(Err(why)) = package.pipeline.as_ref().map(lower) {
            eprintln!("error: {}: {why}", package.source.path());
            failed = true;
        }
    }
    if !json {
        let findings: usize = packages.iter().map(|p| p.diagnostics.len()).sum();
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        eprintln!("{}, {}", many(files.len(), "pipeline"), many(findings, "finding"));
    }
    Ok(if failed { Exit::Failure } else { Exit::Success })
}
