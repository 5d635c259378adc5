//! `mutate DIR [N]`: reads and checks N random mutations of the workflow files in a folder. A panic
//! ends it and names the seed; so does a file that takes longer than a second.

#![allow(clippy::disallowed_methods)]

#[path = "../tests/mutations/mod.rs"]
mod mutations;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let Some(folder) = args.get(1) else {
        eprintln!("usage: mutate DIR [N]");
        std::process::exit(2)
    };
    let count = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(text) = std::fs::read_to_string(entry.path()) {
            files.push(text);
        }
    }
    if files.is_empty() {
        eprintln!("error: {folder} has no files");
        std::process::exit(2)
    }
    let slowest = mutations::run(&files, count);
    println!("{count} mutations of {} files, the slowest {slowest:?}", files.len());
}
