//! Whether a service is ready.
//!
//! Docker runs the health check itself. Podman leaves that to timers of systemd, which are not
//! everywhere: there the check is run from here.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::{Instant, sleep, timeout};

use crate::container::Client;
use crate::engine::EngineKind;
use crate::error::Result;
use crate::process::quiet_exec;
use crate::task::{Stop, Stops, TaskOutput};

/// What Docker waits between checks, and for one, when nobody says.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: i64 = 3;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// What came of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// It has no check; it runs.
    Unchecked,
    /// It has no check, and has ended; how.
    Ended(String),
    /// It is ready.
    Healthy,
    /// It is not; why.
    Unhealthy(String),
    /// The wait was ended.
    Stopped,
}

/// A health check as the engine has it.
#[derive(Debug, Clone, Default)]
struct Check {
    test: Vec<String>,
    interval: Option<Duration>,
    start: Option<Duration>,
    timeout: Option<Duration>,
    retries: Option<i64>,
}

impl Check {
    fn of(json: &Json) -> Check {
        let nanos = |key: &str| json[key].as_u64().filter(|n| *n > 0).map(Duration::from_nanos);
        let test = json["Test"].as_array().into_iter().flatten();
        Check {
            test: test.filter_map(|t| t.as_str().map(str::to_owned)).collect(),
            interval: nanos("Interval"),
            start: nanos("StartPeriod"),
            timeout: nanos("Timeout"),
            retries: json["Retries"].as_i64(),
        }
    }
}

impl Client {
    /// Waits until a container's check says what it is.
    pub(crate) async fn wait_healthy(
        &self,
        id: &str,
        name: &str,
        out: &mut TaskOutput,
        stops: &mut Stops,
    ) -> Result<Health> {
        let found = self.inspect_raw(id).await?;
        let check = Check::of(&found["Config"]["Healthcheck"]);
        let test = &check.test;
        if test.is_empty() || test[0] == "NONE" {
            sleep(Duration::from_millis(20)).await;
            let state = self.inspect(id).await?;
            return Ok(match state.running {
                true => Health::Unchecked,
                false => Health::Ended(died(state.exit_code, &state.error)),
            });
        }
        out.line(&format!("{name}: waiting for its health check")).await;
        tokio::select! {
            health = self.watch(id, &check) => health,
            stop = stops.next() => {
                debug_assert!(stop != Stop::None);
                Ok(Health::Stopped)
            }
        }
    }

    async fn watch(&self, id: &str, check: &Check) -> Result<Health> {
        let test = &check.test;
        let interval = check.interval.unwrap_or(DEFAULT_INTERVAL);
        let retries = check.retries.filter(|r| *r > 0).unwrap_or(DEFAULT_RETRIES);
        let start = check.start.unwrap_or_default();
        let one = check.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let began = Instant::now();
        // As long as Docker would have taken to give it up.
        let rounds = u32::try_from(retries).unwrap_or(u32::MAX);
        let limit = start + interval.saturating_mul(rounds);
        let command: Vec<String> = match test[0].as_str() {
            "CMD-SHELL" => {
                let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
                shell.into_iter().chain(test[1..].iter().cloned()).collect()
            }
            "CMD" => test[1..].to_vec(),
            _ => test.to_vec(),
        };
        let mut pause = LOOK.min(interval);
        loop {
            let state = self.inspect_raw(id).await?["State"].take();
            if state["Running"] != true {
                let error = state["Error"].as_str().unwrap_or_default();
                return Ok(Health::Unhealthy(died(state["ExitCode"].as_i64(), error)));
            }
            if self.kind == EngineKind::Podman {
                let asked = quiet_exec(self, id, &command, None);
                let last = match timeout(one, asked).await {
                    Ok(asked) => {
                        let (code, text) = asked?;
                        if code == Some(0) {
                            return Ok(Health::Healthy);
                        }
                        failing(code, &text)
                    }
                    Err(_) => format!("its health check takes longer than {}", seconds(one)),
                };
                if began.elapsed() >= limit {
                    return Ok(Health::Unhealthy(last));
                }
                // Sooner than the interval at first, as most services need a moment only.
                sleep(pause).await;
                pause = (pause * 2).min(interval.max(LOOK));
                continue;
            }
            let health = &state["Health"];
            match health["Status"].as_str() {
                Some("healthy") => return Ok(Health::Healthy),
                Some("unhealthy") => {
                    let log = health["Log"].as_array().and_then(|l| l.last());
                    let last = log.and_then(|l| l["Output"].as_str()).unwrap_or_default();
                    let code = log.and_then(|l| l["ExitCode"].as_i64());
                    return Ok(Health::Unhealthy(failing(code, last)));
                }
                _ => sleep(LOOK).await,
            }
        }
    }
}

/// What a failed check has to say.
fn failing(code: Option<i64>, text: &str) -> String {
    match text.lines().rev().find(|l| !l.trim().is_empty()) {
        Some(last) => format!("its health check fails: {last}"),
        None => format!("its health check fails with exit code {}", code.unwrap_or(-1)),
    }
}

/// `30s`, `0.5s`
fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// How a container ended that should run.
pub(crate) fn died(code: Option<i64>, error: &str) -> String {
    let code = code.unwrap_or_default();
    match error.trim() {
        "" => format!("it ended with exit code {code}"),
        error => format!("it ended with exit code {code}: {error}"),
    }
}
