//! What the guest says on its results port: one JSON line when a stage starts and one when it ends.
//!
//! The guest is under test, so its lines are input like any other: bounded, and refused with a reason.

use serde::Deserialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Stages of one run at most.
const STAGES_MAX: usize = 256;

/// Why the guest's lines are of no use.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A line is no stage line.
    #[error("the guest said what is no stage: {error}: {line}")]
    Line {
        /// The line, shortened.
        line: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// More lines than a run has.
    #[error("the guest says more than {STAGES_MAX} stages")]
    TooMany,
    /// A stage that was asked for did not happen.
    #[error("the guest has no stage {0:?}")]
    Missing(String),
}

/// One stage that ended.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// When the host heard that it started; the same as the end where the guest told only that.
    pub start: Instant,
    /// When the host heard that it ended.
    pub end: Instant,
    /// Exit status of what ran.
    pub exit: i32,
    /// What it printed, as JSON.
    pub data: Value,
}

impl Stage {
    /// How long it took, as the host saw it.
    pub fn took(&self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    stage: String,
    event: Event,
    #[serde(default)]
    exit: i32,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Event {
    Start,
    End,
}

/// All stages of one run, in the order of their ends.
#[derive(Debug, Default)]
pub struct Stages {
    ended: Vec<Stage>,
    started: Option<(String, Instant)>,
}

impl Stages {
    /// Takes one line of the guest's, which came at `now`; the stage that it ends, if it ends one.
    pub fn take(&mut self, line: Value, now: Instant) -> Result<Option<&Stage>, StageError> {
        let shown = line.to_string().chars().take(200).collect();
        let line: Line =
            serde_json::from_value(line).map_err(|error| StageError::Line { line: shown, error })?;
        if line.event == Event::Start {
            self.started = Some((line.stage, now));
            return Ok(None);
        }
        if self.ended.len() >= STAGES_MAX {
            return Err(StageError::TooMany);
        }
        let start = self
            .started
            .take()
            .filter(|(name, _)| *name == line.stage)
            .map_or(now, |(_, start)| start);
        self.ended.push(Stage {
            name: line.stage,
            start,
            end: now,
            exit: line.exit,
            data: line.data,
        });
        Ok(self.ended.last())
    }

    /// The stages that ended so far.
    pub fn ended(&self) -> &[Stage] {
        &self.ended
    }

    /// Whether the last stage, `end`, has ended.
    pub fn complete(&self) -> bool {
        self.ended.last().is_some_and(|stage| stage.name == "end")
    }

    /// The JSON that a stage printed, read as `T`.
    pub fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, StageError> {
        let data = &self.get(name)?.data;
        T::deserialize(data).map_err(|error| StageError::Line {
            line: data.to_string(),
            error,
        })
    }

    /// The stage of that name.
    pub fn get(&self, name: &str) -> Result<&Stage, StageError> {
        self.ended
            .iter()
            .find(|stage| stage.name == name)
            .ok_or_else(|| StageError::Missing(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(ms: u64, zero: Instant) -> Instant {
        zero + Duration::from_millis(ms)
    }

    #[test]
    fn stages_are_told_in_order_with_their_times_data_and_exit_status() {
        let (mut stages, zero) = (Stages::default(), Instant::now());
        let boot = json!({"stage": "boot", "event": "end", "exit": 0, "data": {"kernel": "7.2"}});
        assert_eq!(stages.take(boot, zero).unwrap().unwrap().name, "boot");
        assert!(
            stages
                .take(json!({"stage": "run", "event": "start"}), at(10, zero))
                .unwrap()
                .is_none()
        );
        let run = json!({"stage": "run", "event": "end", "exit": 1, "data": null});
        assert_eq!(
            stages.take(run, at(35, zero)).unwrap().unwrap().took(),
            Duration::from_millis(25)
        );
        assert!(!stages.complete());
        stages
            .take(json!({"stage": "end", "event": "end"}), at(40, zero))
            .unwrap();
        assert!(stages.complete());
        assert_eq!(stages.get("run").unwrap().exit, 1);
        assert_eq!(stages.get("boot").unwrap().data["kernel"], "7.2");
        assert!(matches!(stages.get("xdp"), Err(StageError::Missing(_))));
    }

    #[test]
    fn a_line_that_is_no_stage_is_refused_with_what_it_says() {
        for line in [
            json!("panic"),
            json!({"stage": "a"}),
            json!({"stage": "a", "event": "end", "more": 1}),
        ] {
            let error = Stages::default().take(line.clone(), Instant::now()).unwrap_err();
            assert!(error.to_string().contains(&line.to_string()), "{error}");
        }
    }

    #[test]
    fn stages_without_end_are_refused() {
        let mut stages = Stages::default();
        let line = json!({"stage": "a", "event": "end"});
        for _ in 0..STAGES_MAX {
            stages.take(line.clone(), Instant::now()).unwrap();
        }
        assert!(matches!(
            stages.take(line, Instant::now()),
            Err(StageError::TooMany)
        ));
    }
}
