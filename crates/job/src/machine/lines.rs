//! Commands in the output of a step (actions/runner `ActionCommandManager.cs`).

use trainyard_model::Value;

use super::{Action, Annotation, AnnotationLevel, JobMachine, ProcessId, put};
use crate::command::{LineCommand, NAMES, bare_name, parse};
use crate::matcher::Match;

/// Characters of an annotation's message.
const MAX_MESSAGE: usize = 4096;
/// Annotations of one kind that one step may have.
const MAX_ANNOTATIONS: u32 = 10;

impl JobMachine {
    pub(super) fn line(&mut self, process: ProcessId, line: &str) {
        let Some(id) = self.processes.get(&process).copied() else { return };
        let top = self.top_step(id);
        let token = self.current(id).and_then(|c| c.stop_token.clone());
        if let Some(token) = token {
            if bare_name(line) == Some(token.as_str()) {
                self.current_mut(id, |c| c.stop_token = None);
            }
            self.actions.push(Action::Log(top, line.to_owned()));
            return;
        }
        match parse(line) {
            Some(command) => self.command(process, id, top, line, &command),
            None => match self.matchers.take(line) {
                Some(found) => self.matched(id, top, line, found),
                None => self.actions.push(Action::Log(top, line.to_owned())),
            },
        }
    }

    /// A line that a problem matcher takes for a problem (`OutputManager.cs`).
    fn matched(&mut self, id: usize, top: usize, line: &str, found: Match) {
        let level = match found.severity.to_ascii_lowercase().as_str() {
            "" | "error" => AnnotationLevel::Error,
            "warning" => AnnotationLevel::Warning,
            "notice" => AnnotationLevel::Notice,
            _ => {
                self.actions.push(Action::Log(top, line.to_owned()));
                return;
            }
        };
        let word = level_word(level);
        self.log(top, format!("##[{word}]{line}"));
        if found.message.is_empty() || self.over_limit(id, level) {
            return;
        }
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let masked = |text: &str| Some(self.masker.mask(text)).filter(|t| !t.is_empty());
        let annotation = Annotation {
            message: self.masker.mask(&found.message).chars().take(MAX_MESSAGE).collect(),
            file: masked(&found.file),
            line: number(&found.line),
            column: number(&found.line).and_then(|_| number(&found.column)),
            from_path: Some(found.from_path),
            ..Annotation::bare(level, "")
        };
        self.actions.push(Action::Annotate(top, annotation));
    }

    pub(super) fn add_matchers(&mut self, process: ProcessId, text: Result<String, String>) {
        let Some(id) = self.processes.get(&process).copied() else { return };
        let top = self.top_step(id);
        let removing = self.removing.take();
        let done = text.and_then(|text| match removing {
            Some(_) => self.matchers.remove_all(&text),
            None => self.matchers.add(&text),
        });
        if let Err(why) = done {
            self.log(top, format!("##[error]Unable to process the problem matchers: {why}"));
            self.current_mut(id, |c| c.failed = Some(why));
        }
    }

    /// Counts an annotation; true if the step has had its share.
    fn over_limit(&mut self, id: usize, level: AnnotationLevel) -> bool {
        let slot = match level {
            AnnotationLevel::Notice => 0,
            AnnotationLevel::Warning => 1,
            AnnotationLevel::Error => 2,
        };
        let mut over = false;
        self.current_mut(id, |c| {
            c.annotations[slot] += 1;
            over = c.annotations[slot] > MAX_ANNOTATIONS;
        });
        over
    }

    fn log(&mut self, top: usize, text: impl Into<String>) {
        self.actions.push(Action::Log(top, text.into()));
    }

    /// A command that is refused: two lines in the log, and the step fails.
    fn refuse(&mut self, id: usize, top: usize, line: &str, why: String) {
        self.log(top, format!("##[error]Unable to process command '{line}' successfully."));
        self.log(top, format!("##[error]{why}"));
        self.current_mut(id, |c| c.failed = Some(why));
    }

    fn command(
        &mut self,
        process: ProcessId,
        id: usize,
        top: usize,
        line: &str,
        command: &LineCommand,
    ) {
        let data = command.data.as_str();
        match command.name.as_str() {
            "debug" => {
                if self.contexts.debug {
                    for part in data.lines() {
                        self.log(top, format!("##[debug]{part}"));
                    }
                }
            }
            "group" => self.log(top, format!("##[group]{data}")),
            "endgroup" => self.log(top, "##[endgroup]"),
            "notice" => self.annotate(id, top, AnnotationLevel::Notice, command),
            "warning" => self.annotate(id, top, AnnotationLevel::Warning, command),
            "error" => self.annotate(id, top, AnnotationLevel::Error, command),
            "add-mask" if data.trim().is_empty() => {
                self.log(
                    top,
                    "##[warning]Can't add secret mask for empty string in ##[add-mask] command.",
                );
            }
            "add-mask" => {
                if !self.masker.finds(data) {
                    let why = "an earlier step masked a value of its own, which is not kept";
                    self.no_resume.get_or_insert_with(|| why.to_owned());
                }
                self.masker.add(data);
                self.actions.push(Action::Mask(data.to_owned()));
                // Shown only when echoing is on (`ActionCommandManager.cs`).
                if self.current(id).is_some_and(|c| c.echo) {
                    self.log(top, "::add-mask::***");
                }
            }
            "echo" => match data.trim().to_ascii_lowercase().as_str() {
                "on" => self.current_mut(id, |c| c.echo = true),
                "off" => self.current_mut(id, |c| c.echo = false),
                _ => self.refuse(
                    id,
                    top,
                    line,
                    "Invalid echo command value. Possible values can be: 'on', 'off'.".into(),
                ),
            },
            "stop-commands" => self.stop_commands(id, top, line, data),
            "set-output" => self.pair(id, top, line, command, |machine, id, name, value| {
                machine.current_mut(id, |c| c.outputs.insert(name, Value::from(value)));
            }),
            "save-state" => self.pair(id, top, line, command, |machine, id, name, value| {
                put(&mut machine.use_of(id).state, name.to_owned(), value.to_owned());
            }),
            "set-env" | "add-path" => self.unsafe_command(id, top, line, command),
            "add-matcher" if data.trim().is_empty() => {
                self.refuse(id, top, line, "Matcher path is required: ##[add-matcher]FILE".into());
            }
            "add-matcher" => self.actions.push(Action::ReadMatcher(process, data.to_owned())),
            "remove-matcher" => {
                let owner = command.property("owner").filter(|o| !o.is_empty());
                match (owner, data.trim()) {
                    (Some(owner), _) => self.matchers.remove(owner),
                    (None, file) if !file.is_empty() => {
                        self.removing = Some(file.to_owned());
                        self.actions.push(Action::ReadMatcher(process, file.to_owned()));
                    }
                    _ => {}
                }
            }
            "internal-set-repo-path" => {}
            _ => self.log(top, line),
        }
    }

    fn stop_commands(&mut self, id: usize, top: usize, line: &str, token: &str) {
        let known = NAMES.contains(&token.to_ascii_lowercase().as_str());
        if token.is_empty() || token == "pause-logging" || known {
            self.refuse(
                id,
                top,
                line,
                "Invalid stop token: it must not be empty nor the name of a command".into(),
            );
            return;
        }
        if token.len() > 6 {
            self.masker.add(token);
            self.actions.push(Action::Mask(token.to_owned()));
        }
        let token = token.to_owned();
        self.log(top, line);
        self.current_mut(id, |c| c.stop_token = Some(token));
    }

    /// `set-output` and `save-state`: old, but they work.
    fn pair(
        &mut self,
        id: usize,
        top: usize,
        line: &str,
        command: &LineCommand,
        set: impl FnOnce(&mut Self, usize, &str, &str),
    ) {
        let Some(name) = command.property("name").filter(|n| !n.is_empty()) else {
            self.refuse(
                id,
                top,
                line,
                format!("Required field 'name' is missing in ##[{}] command.", command.name),
            );
            return;
        };
        self.log(
            top,
            format!(
                "##[warning]The `{}` command is deprecated and will be disabled soon. Please upgrade to using Environment Files.",
                command.name
            ),
        );
        if self.current(id).is_some_and(|c| c.echo) {
            self.log(top, line);
        }
        set(self, id, name, &command.data);
    }

    fn unsafe_command(&mut self, id: usize, top: usize, line: &str, command: &LineCommand) {
        let allowed = self
            .env_pairs(id, true)
            .iter()
            .any(|(k, v)| k == "ACTIONS_ALLOW_UNSECURE_COMMANDS" && v.eq_ignore_ascii_case("true"));
        if !allowed {
            self.refuse(
                id,
                top,
                line,
                format!(
                    "The `{}` command is disabled. Please upgrade to using Environment Files or opt into unsecure command execution by setting the `ACTIONS_ALLOW_UNSECURE_COMMANDS` environment variable to `true`.",
                    command.name
                ),
            );
            return;
        }
        if command.name == "add-path" {
            self.add_path(id, vec![command.data.clone()]);
            return;
        }
        match command.property("name").filter(|n| !n.is_empty()) {
            Some(name) => self.set_env(id, top, name.to_owned(), command.data.clone()),
            None => self.refuse(
                id,
                top,
                line,
                "Required field 'name' is missing in ##[set-env] command.".into(),
            ),
        }
    }

    /// Positions that do not fit together are repaired as the runner does.
    fn annotate(&mut self, id: usize, top: usize, level: AnnotationLevel, command: &LineCommand) {
        self.log(top, format!("##[{}]{}", level_word(level), command.data));
        if self.over_limit(id, level) {
            return;
        }
        let number = |key: &str| command.property(key).and_then(|v| v.trim().parse::<u32>().ok());
        let text = |key: &str| {
            command.property(key).filter(|v| !v.is_empty()).map(|v| self.masker.mask(v))
        };
        let (mut line, mut end_line) = (number("line"), number("endLine"));
        let (mut column, mut end_column) = (number("col"), number("endColumn"));
        if line.is_none() {
            line = end_line;
        }
        if let (Some(from), Some(to)) = (line, end_line)
            && to < from
        {
            end_line = None;
        }
        let one_line = end_line.is_none() || end_line == line;
        if line.is_none() || !one_line {
            (column, end_column) = (None, None);
        }
        if let (Some(from), Some(to)) = (column, end_column)
            && to < from
        {
            end_column = None;
        }
        let message: String = self.masker.mask(&command.data).chars().take(MAX_MESSAGE).collect();
        let annotation = Annotation {
            level,
            message,
            title: text("title"),
            file: text("file"),
            line,
            end_line,
            column,
            end_column,
            from_path: None,
        };
        self.actions.push(Action::Annotate(top, annotation));
    }
}

fn level_word(level: AnnotationLevel) -> &'static str {
    match level {
        AnnotationLevel::Notice => "notice",
        AnnotationLevel::Warning => "warning",
        AnnotationLevel::Error => "error",
    }
}
