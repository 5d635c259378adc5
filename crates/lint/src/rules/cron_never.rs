//! Schedules that name days that never come.

use trainyard_diagnostics::{Severity, Span};
use trainyard_model::Timestamp;
use trainyard_workflow::cron::Cron;

use super::Rule;
use crate::context::Context;

pub(crate) const RULE: Rule = Rule {
    id: "on/cron-never",
    severity: Severity::Warning,
    summary: "A schedule on a day that no month of it has never fires",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: {schedule: [{cron: '0 0 30 2 *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 0 31 2 *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 0 31 4,6,9,11 *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '5 4 31 NOV *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 0 30,31 2 *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
        good: &[
            "on: {schedule: [{cron: '0 0 29 2 *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 0 31 * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 0 30 2 1'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 0 31 2,3 *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {schedule: [{cron: '0 0 1 1 *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
    },
};

/// Any day will do: in eight years each day of a calendar comes.
const FROM: Timestamp = Timestamp(1_700_000_000_000);

fn never(cron: &Cron) -> bool {
    cron.next_after(FROM, &jiff::tz::TimeZone::UTC).is_none()
}

fn check(c: &mut Context<'_>) {
    let Some(workflow) = c.workflow() else { return };
    for trigger in &workflow.triggers {
        for schedule in trigger.schedule.iter().filter(|s| never(&s.cron)) {
            let text = c.source.text();
            // Where it stands: the text is in the file as it is written.
            let start = text[trigger.span.start..].find(&schedule.text);
            let start = start.map_or(trigger.span.start, |i| trigger.span.start + i);
            let span = Span::new(start, start + schedule.text.len());
            let message = format!(
                "The schedule `{}` never fires: its day is in none of its months",
                schedule.text
            );
            c.report(
                span,
                message,
                "for the last day of a month, run on the 28th to 31st and ask the date in the job",
            );
        }
    }
}
