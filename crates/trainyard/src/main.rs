use trainyard_diagnostics::*;
fn main() {
    let mut bad = 0;
    for path in std::env::args().skip(1) {
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("unreadable {path}");
            continue;
        };
        let source = Source::new(path.clone(), text);
        let d = if path.ends_with("/action.yml") || path.ends_with("/action.yaml") {
            trainyard_workflow::read_action(&source, 0).1
        } else {
            trainyard_workflow::read_workflow(&source, 0).1
        };
        if has_errors(&d) {
            bad += 1;
        }
        print!("{}", render_text(&[FileReport { source: &source, diagnostics: &d }], false));
    }
    println!("{bad} bad");
}
