//! How long the visible steps of an operation took.
//!
//! The daemon sees the objects that it carries, not what is inside the sealed ones: a clear SPDM request is named
//! by its code, everything else "secured". Neighbours of the same name are one step.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tdisp::{doe, spdm::msg::Code};

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What was done: "discovery", "get_version", …, "secured".
    pub name: String,
    /// When it began, in milliseconds since the operation began.
    pub at_ms: f64,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// How many exchanges with the device it took.
    pub exchanges: u32,
}

/// The steps of an operation that is going on.
#[derive(Debug)]
pub struct Steps {
    began: Instant,
    list: Vec<Step>,
}

impl Steps {
    /// The operation begins now.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            list: Vec::new(),
        }
    }

    /// Runs `work` as (part of) the step `name`.
    pub async fn time<T>(&mut self, name: &str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let at_ms = start.duration_since(self.began).as_secs_f64() * 1e3;
        match self.list.last_mut() {
            Some(last) if last.name == name => {
                last.ms += ms;
                last.exchanges += 1;
            }
            _ => self.list.push(Step {
                name: name.into(),
                at_ms,
                ms,
                exchanges: 1,
            }),
        }
        result
    }

    /// The steps so far.
    pub fn list(&self) -> &[Step] {
        &self.list
    }
}

/// The name of the step that carrying `object` is.
pub fn name_of(object: &[u8]) -> String {
    match doe::Object::decode(object) {
        Ok(object) if object.kind == doe::ObjectType::SPDM => match object.body.get(1) {
            Some(code) => Code(*code).to_string().to_lowercase(),
            None => "empty".into(),
        },
        Ok(object) => object
            .kind
            .to_string()
            .to_lowercase()
            .replace("secured_spdm", "secured"),
        Err(_) => "malformed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_request_is_named_by_its_code_and_a_sealed_one_is_secured() {
        let cases: [(&[u8], &str); 4] = [
            (&[1, 0, 1, 0, 3, 0, 0, 0, 0x10, 0x84, 0, 0], "get_version"),
            (&[1, 0, 2, 0, 3, 0, 0, 0, 1, 2, 3, 4], "secured"),
            (&[1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0], "discovery"),
            (&[1, 0], "malformed"),
        ];
        for (object, wanted) in cases {
            assert_eq!(name_of(object), wanted);
        }
    }

    #[tokio::test]
    async fn neighbours_of_one_name_are_one_step() {
        let mut steps = Steps::begin();
        for name in ["get_certificate", "get_certificate", "challenge"] {
            steps.time(name, async {}).await;
        }
        let seen: Vec<_> = steps
            .list()
            .iter()
            .map(|step| (step.name.as_str(), step.exchanges))
            .collect();
        assert_eq!(seen, [("get_certificate", 2), ("challenge", 1)]);
    }
}
