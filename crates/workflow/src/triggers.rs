//! `on`: events, their filters, schedules, inputs.

use trainyard_expression::{Place, Template, TemplateKind};

use crate::convert::Converter;
use crate::cron::{Cron, time_zone};
use crate::glob::Pattern;
use crate::model::{InputDef, InputType, OutputDef, RefFilter, Schedule, SecretDef, TriggerDef};

/// Every event that GitHub knows (`on-mapping-strict` of the schema).
pub const EVENTS: &[&str] = &[
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "create",
    "delete",
    "deployment",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "fork",
    "gollum",
    "image_version",
    "issue_comment",
    "issues",
    "label",
    "merge_group",
    "milestone",
    "page_build",
    "project",
    "project_card",
    "project_column",
    "public",
    "pull_request",
    "pull_request_comment",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_target",
    "push",
    "registry_package",
    "release",
    "repository_dispatch",
    "schedule",
    "status",
    "watch",
    "workflow_call",
    "workflow_dispatch",
    "workflow_run",
];

pub(crate) fn read(c: &mut Converter<'_, '_>, on: &Template) -> Vec<TriggerDef> {
    let mut out = Vec::new();
    let nothing = Template { place: on.place, kind: TemplateKind::Null };
    match &on.kind {
        TemplateKind::Sequence(items) => {
            for item in items {
                if let Some(event) = item.as_str() {
                    out.extend(trigger(c, event, item.place, &nothing));
                }
            }
        }
        TemplateKind::Mapping(pairs) => {
            for (key, settings) in pairs {
                if let Some(event) = key.as_str() {
                    out.extend(trigger(c, event, key.place, settings));
                }
            }
        }
        _ => {
            if let Some(event) = on.as_str() {
                out.extend(trigger(c, event, on.place, &nothing));
            }
        }
    }
    if out.is_empty() && matches!(on.kind, TemplateKind::Null | TemplateKind::Sequence(_)) {
        c.error("workflow/no-triggers", on.place, "No event triggers defined in `on`");
        c.help("add for example `on: push`");
    }
    out
}

fn trigger(
    c: &mut Converter<'_, '_>,
    event: &str,
    place: Place,
    settings: &Template,
) -> Option<TriggerDef> {
    if !EVENTS.contains(&event) {
        c.error("on/unknown-event", place, format!("Unexpected value '{event}'"));
        let near = EVENTS.iter().min_by_key(|e| crate::reader::distance(e, event));
        c.help(match near.filter(|e| crate::reader::distance(e, event) <= 3) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "this is no event that GitHub knows".into(),
        });
        return None;
    }
    if event == "schedule" && !matches!(settings.kind, TemplateKind::Sequence(_)) {
        c.error("on/schedule", place, "`schedule` needs a list of `- cron: '...'`");
        return None;
    }
    let schedule = match &settings.kind {
        TemplateKind::Sequence(items) if event == "schedule" => {
            items.iter().filter_map(|i| schedule(c, i)).collect()
        }
        _ => Vec::new(),
    };
    Some(TriggerDef {
        event: event.to_owned(),
        span: c.reader.span(place),
        types: settings.get("types").map(texts).filter(|t| !t.is_empty()),
        branches: filter(c, settings, "branches"),
        tags: filter(c, settings, "tags"),
        paths: filter(c, settings, "paths"),
        workflows: settings.get("workflows").map(|t| patterns(c, t)).unwrap_or_default(),
        schedule,
        inputs: inputs(c, settings.get("inputs"), event),
        secrets: secrets(settings.get("secrets")),
        outputs: outputs(settings.get("outputs")),
    })
}

/// A text or a list of texts.
fn texts(template: &Template) -> Vec<String> {
    items(template).iter().map(|(t, _)| t.clone()).collect()
}

fn items(template: &Template) -> Vec<(String, Place)> {
    let text = |t: &Template| match &t.kind {
        TemplateKind::String(s) => Some((s.to_string(), t.place)),
        TemplateKind::Number(n) => Some((trainyard_model::number_to_string(*n), t.place)),
        TemplateKind::Bool(b) => Some((b.to_string(), t.place)),
        _ => None,
    };
    match &template.kind {
        TemplateKind::Sequence(items) => items.iter().filter_map(text).collect(),
        _ => text(template).into_iter().collect(),
    }
}

fn patterns(c: &mut Converter<'_, '_>, template: &Template) -> Vec<Pattern> {
    let mut out = Vec::new();
    for (text, place) in items(template) {
        match Pattern::parse(&text) {
            Ok(mut pattern) => {
                pattern.place = place;
                if pattern.odd_start {
                    c.warning(
                        "on/pattern",
                        place,
                        format!("The `?` in front of '{text}' repeats nothing: a name may begin with anything before the rest"),
                        "a single character is [a-z] or [0-9], anything is *",
                    );
                }
                out.push(pattern);
            }
            Err(why) => {
                c.error("on/pattern", place, format!("Invalid filter pattern '{text}': {why}"));
                c.help("special characters are * ? + [ ] ! and are escaped with \\");
            }
        }
    }
    out
}

fn filter(c: &mut Converter<'_, '_>, settings: &Template, name: &str) -> RefFilter {
    let ignore_name = format!("{name}-ignore");
    let given = |t: Option<&Template>| t.filter(|t| t.kind != TemplateKind::Null).cloned();
    let include = given(settings.get(name));
    let ignore = given(settings.get(&ignore_name));
    if let (Some(_), Some(ignored)) = (&include, &ignore) {
        c.error(
            "on/filters",
            ignored.place,
            format!("you may only define one of `{name}` and `{ignore_name}` for a single event"),
        );
        c.help(format!("take paths away with a `!pattern` at the end of `{name}`"));
    }
    if let Some(list) = &include {
        let all = items(list);
        if !all.is_empty() && all.iter().all(|(t, _)| t.starts_with('!')) {
            c.warning(
                "on/only-negative",
                list.place,
                format!("`{name}` has only patterns that take away, and so matches nothing"),
                &format!("begin with '**', or use `{ignore_name}`"),
            );
        }
    }
    RefFilter { include: include.map(|t| patterns(c, &t)), ignore: ignore.map(|t| patterns(c, &t)) }
}

fn schedule(c: &mut Converter<'_, '_>, item: &Template) -> Option<Schedule> {
    let cron = item.get("cron")?;
    let text = cron.as_str()?.trim().to_owned();
    let zone = item.get("timezone").filter(|t| t.kind != TemplateKind::Null);
    if let Some(zone) = zone
        && zone.as_str().is_none_or(|name| time_zone(name).is_none())
    {
        c.error(
            "on/timezone",
            zone.place,
            format!("Unknown time zone '{}'", zone.as_str().unwrap_or_default()),
        );
        c.help("use an IANA name such as Europe/Berlin");
    }
    match Cron::parse(&text) {
        Ok(parsed) => {
            if parsed.shortest_gap_minutes() < 5 {
                c.warning(
                    "on/cron-interval",
                    cron.place,
                    "GitHub runs schedules at most every 5 minutes",
                    "use */5 or more",
                );
            }
            let timezone = zone.and_then(|z| z.as_str()).map(str::to_owned);
            Some(Schedule { text, cron: parsed, timezone })
        }
        Err(why) => {
            c.error("on/cron", cron.place, format!("Invalid cron expression '{text}': {why}"));
            c.help(
                "five fields: minute hour day-of-month month day-of-week, such as '30 5 * * 1-5'",
            );
            None
        }
    }
}

fn inputs(c: &mut Converter<'_, '_>, template: Option<&Template>, event: &str) -> Vec<InputDef> {
    let mut out = Vec::new();
    for (key, definition) in template.map(Template::pairs).unwrap_or_default() {
        let Some(name) = key.as_str() else { continue };
        let kind = match definition.get("type").and_then(|t| t.as_str()) {
            Some("boolean") => InputType::Boolean,
            Some("number") => InputType::Number,
            Some("choice") => InputType::Choice,
            Some("environment") => InputType::Environment,
            _ => InputType::String,
        };
        let options = definition.get("options").map(texts).unwrap_or_default();
        if kind == InputType::Choice && options.is_empty() && event == "workflow_dispatch" {
            c.warning(
                "on/choice",
                key.place,
                format!("The input '{name}' is a choice without options"),
                "add `options: [...]`",
            );
        }
        out.push(InputDef {
            name: name.to_owned(),
            kind,
            required: definition
                .get("required")
                .is_some_and(|t| t.kind == TemplateKind::Bool(true)),
            default: definition.get("default").filter(|t| t.kind != TemplateKind::Null).cloned(),
            options,
        });
    }
    out
}

fn secrets(template: Option<&Template>) -> Vec<SecretDef> {
    let pairs = template.map(Template::pairs).unwrap_or_default();
    pairs
        .iter()
        .filter_map(|(key, definition)| {
            let required =
                definition.get("required").is_some_and(|t| t.kind == TemplateKind::Bool(true));
            Some(SecretDef { name: key.as_str()?.to_owned(), required })
        })
        .collect()
}

fn outputs(template: Option<&Template>) -> Vec<OutputDef> {
    let pairs = template.map(Template::pairs).unwrap_or_default();
    pairs
        .iter()
        .filter_map(|(key, definition)| {
            let value = definition.get("value")?.clone();
            Some(OutputDef { name: key.as_str()?.to_owned(), value })
        })
        .collect()
}
