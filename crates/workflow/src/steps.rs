//! Steps of jobs and of composite actions (`ConvertToSteps`).

use trainyard_expression::{Template, TemplateKind};
use trainyard_job::spec::{StepKind, StepSpec};

use crate::convert::Converter;
use crate::ids::Ids;

/// Reads a list of steps, `parallel` groups unfolded into background steps and a wait.
pub(crate) fn read(c: &mut Converter<'_, '_>, steps: &Template) -> Vec<StepSpec> {
    let TemplateKind::Sequence(items) = &steps.kind else { return Vec::new() };
    let mut ids = Ids::default();
    let mut out = Vec::new();
    let mut groups = Vec::new();
    for item in items {
        if let Some(group) = item.get("parallel") {
            let from = out.len();
            parallel(c, group, item, &mut ids, &mut out);
            groups.push((from, out.len()));
        } else if let Some(step) = one(c, item, &mut ids) {
            out.push(step);
        }
    }
    for step in &mut out {
        if step.id.is_empty() {
            step.id = ids.generate(&format!("__{}", generated(&step.kind)));
        }
    }
    // A group waits for its members by the ids that they have only now.
    for (from, to) in groups {
        if let [members @ .., wait] = &mut out[from..to] {
            wait.kind = StepKind::Wait(members.iter().map(|s| s.id.clone()).collect());
        }
    }
    check_targets(c, &out);
    out
}

fn parallel(
    c: &mut Converter<'_, '_>,
    group: &Template,
    item: &Template,
    ids: &mut Ids,
    out: &mut Vec<StepSpec>,
) {
    let TemplateKind::Sequence(members) = &group.kind else { return };
    for member in members {
        let control = ["wait", "wait-all", "cancel", "parallel"]
            .into_iter()
            .find(|key| member.get(key).is_some());
        if let Some(key) = control {
            c.error(
                "steps/parallel",
                member.place,
                format!("A step with `{key}` may not stand in `parallel`"),
            );
            c.help("move it before or after the group");
            continue;
        }
        if let Some(mut step) = one(c, member, ids) {
            step.background = true;
            out.push(step);
        }
    }
    let scope = c.step_scope.clone();
    out.push(StepSpec {
        id: String::new(),
        place: item.place,
        name: None,
        condition: c.condition(None, &scope, item.place),
        env: None,
        continue_on_error: None,
        timeout_minutes: None,
        background: false,
        kind: StepKind::Wait(Vec::new()),
    });
}

fn one(c: &mut Converter<'_, '_>, item: &Template, ids: &mut Ids) -> Option<StepSpec> {
    let get = |key: &str| item.get(key).cloned();
    let mut id = String::new();
    if let Some(given) = item.get("id")
        && let Some(text) = given.as_str().filter(|t| !t.is_empty())
    {
        match ids.add_known(text) {
            Ok(()) => id = text.to_owned(),
            Err(message) => c.error("id/invalid", given.place, message),
        }
    }
    let scope = c.step_scope.clone();
    let condition = c.condition(item.get("if"), &scope, item.place);
    let kind = if let Some(script) = get("run") {
        StepKind::Run { script, shell: get("shell"), working_directory: get("working-directory") }
    } else if let Some(uses) = item.get("uses") {
        let action = uses.as_str().unwrap_or_default().to_owned();
        check_uses(c, uses, &action);
        StepKind::Uses { action, place: uses.place, with: get("with") }
    } else if let Some(wait) = item.get("wait") {
        StepKind::Wait(match &wait.kind {
            TemplateKind::Sequence(items) => {
                items.iter().filter_map(|t| t.as_str().map(str::to_owned)).collect()
            }
            _ => wait.as_str().map(str::to_owned).into_iter().collect(),
        })
    } else if let Some(all) = item.get("wait-all") {
        StepKind::WaitAll(all.kind != TemplateKind::Bool(false))
    } else if let Some(cancel) = item.get("cancel") {
        StepKind::Cancel(cancel.as_str().unwrap_or_default().to_owned())
    } else {
        return None;
    };
    Some(StepSpec {
        id,
        place: item.place,
        name: get("name"),
        condition,
        env: get("env"),
        continue_on_error: get("continue-on-error"),
        timeout_minutes: get("timeout-minutes"),
        background: item.get("background").is_some_and(|t| t.kind == TemplateKind::Bool(true)),
        kind,
    })
}

/// The text that an id is generated from.
fn generated(kind: &StepKind) -> String {
    let StepKind::Uses { action, .. } = kind else {
        return match kind {
            StepKind::Wait(_) => "wait",
            StepKind::WaitAll(_) => "wait-all",
            StepKind::Cancel(_) => "cancel",
            _ => "run",
        }
        .into();
    };
    if let Some(image) = action.strip_prefix("docker://") {
        return image.into();
    }
    if action.starts_with("./") || action.starts_with(".\\") {
        return "self".into();
    }
    if action.starts_with("$/") {
        return "self_repository".into();
    }
    let path = action.split('@').next().unwrap_or_default();
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|p| !p.is_empty()).collect();
    match parts[..] {
        [owner, repository, ..] => format!("{owner}/{repository}"),
        _ => "run".into(),
    }
}

fn check_uses(c: &mut Converter<'_, '_>, uses: &Template, action: &str) {
    if ["docker://", "./", ".\\", "$/"].iter().any(|p| action.starts_with(p)) {
        return;
    }
    let parts: Vec<&str> = action.split('@').collect();
    let path = parts[0].split(['/', '\\']).filter(|p| !p.is_empty()).count();
    if parts.len() != 2 || path < 2 || parts[1].is_empty() {
        c.error(
            "uses/format",
            uses.place,
            format!("Expected format {{org}}/{{repo}}[/path]@ref. Actual '{action}'"),
        );
        if parts.len() == 1 && path >= 2 {
            c.help(format!("name a version: {action}@v1"));
        }
    }
}

/// `wait` and `cancel` name background steps before them.
fn check_targets(c: &mut Converter<'_, '_>, steps: &[StepSpec]) {
    for (i, step) in steps.iter().enumerate() {
        let targets: Vec<&String> = match &step.kind {
            StepKind::Wait(ids) => ids.iter().collect(),
            StepKind::Cancel(id) => vec![id],
            _ => continue,
        };
        for target in targets {
            let known = |s: &&StepSpec| s.id.eq_ignore_ascii_case(target);
            let message = match steps[..i].iter().find(known) {
                Some(found) if found.background => continue,
                Some(_) => format!("The step '{target}' does not run in the background"),
                None if steps[i..].iter().any(|s| known(&s)) => {
                    format!("The step '{target}' comes later; only earlier steps can be waited for")
                }
                None => format!("There is no step with the id '{target}'"),
            };
            c.error("steps/target", step.place, message);
            c.help("name the id of an earlier step that has `background: true`");
        }
    }
}
