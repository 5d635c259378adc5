//! The part of the mutations that every test run makes, of the files of this repository.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod mutations;

fn collect(folder: &std::path::Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            files.extend(std::fs::read_to_string(path));
        }
    }
}

#[test]
fn mutations_neither_panic_nor_hang() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    collect(&root.join("examples"), &mut files);
    collect(&root.join("crates/workflow/tests"), &mut files);
    files.push(std::fs::read_to_string(root.join("crates/lint/src/rules/injection.rs")).unwrap());
    assert!(files.len() >= 3, "{} files", files.len());
    mutations::run(&files, 3_000);
}
