//! How long each step of one device took.

use crate::error::Step;
use crate::status::StepTime;
use std::time::Instant;

/// The steps so far, in order.
#[derive(Debug, Clone, Default)]
pub struct Steps(Vec<StepTime>);

impl Steps {
    /// Does `work` and notes how long it took, whether or not it succeeded.
    pub fn time<T>(&mut self, step: Step, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.push(StepTime::new(step.name(), start.elapsed()));
        done
    }

    /// The steps.
    pub fn into_inner(self) -> Vec<StepTime> {
        self.0
    }
}
