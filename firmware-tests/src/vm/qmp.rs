//! QEMU's control protocol: one JSON object a line; a greeting, `qmp_capabilities`, then commands, with events between.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Runs one command on a connection of its own and returns what it returned.
pub(super) fn execute(socket: &Path, command: &str, arguments: Value) -> Result<Value, String> {
    let stream = connected(socket)?;
    stream
        .set_read_timeout(Some(ANSWER_TIME))
        .map_err(|error| error.to_string())?;
    let mut reader = BufReader::new(stream);
    next(&mut reader)?; // the greeting
    call(&mut reader, &json!({ "execute": "qmp_capabilities" }))?;
    let request = match arguments {
        Value::Null => json!({ "execute": command }),
        arguments => json!({ "execute": command, "arguments": arguments }),
    };
    call(&mut reader, &request)
}

/// QEMU makes the socket a moment after it was started.
fn connected(socket: &Path) -> Result<UnixStream, String> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if start.elapsed() > START_TIME => return Err(error.to_string()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn call(reader: &mut BufReader<UnixStream>, request: &Value) -> Result<Value, String> {
    let line = format!("{request}\n");
    reader
        .get_mut()
        .write_all(line.as_bytes())
        .map_err(|error| error.to_string())?;
    loop {
        let mut answer = next(reader)?;
        if let Some(error) = answer.get("error") {
            return Err(error.to_string());
        }
        if let Some(value) = answer.get_mut("return") {
            return Ok(value.take());
        }
    }
}

fn next(reader: &mut BufReader<UnixStream>) -> Result<Value, String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) => Err("QEMU hung up".into()),
        Ok(_) => serde_json::from_str(&line).map_err(|error| format!("{error}: {line:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// QEMU answers in milliseconds; a busy machine may take longer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// QEMU makes its socket within a tenth of a second; a busy machine may take longer.
const START_TIME: Duration = Duration::from_secs(2);
