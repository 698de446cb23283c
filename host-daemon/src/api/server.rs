//! The daemon's side: lines in, lines out, a task for each connection.

use std::rc::Rc;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use super::{Answer, Request};

/// Longest request line in bytes: names are short, anything longer is not ours.
const LINE_SIZE_MAX: u64 = 64 * 1024;

/// Serves `listener` for ever with what `operate` answers.
pub async fn serve<F, R>(listener: UnixListener, operate: F)
where
    F: Fn(Request) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    let operate = Rc::new(operate);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let operate = Rc::clone(&operate);
                tokio::task::spawn_local(async move {
                    if let Err(error) = converse(stream, &*operate).await {
                        tracing::debug!(%error, "an API connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the API socket refuses a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse<F, R>(stream: UnixStream, operate: &F) -> std::io::Result<()>
where
    F: Fn(Request) -> R,
    R: Future<Output = Answer> + 'static,
{
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        (&mut read)
            .take(LINE_SIZE_MAX)
            .read_until(b'\n', &mut line)
            .await?;
        if line.is_empty() {
            return Ok(());
        }
        let answer = match serde_json::from_slice(&line) {
            // In a task of its own: an operator who hangs up does not stop an operation halfway.
            Ok(request) => {
                let done = tokio::task::spawn_local(operate(request)).await;
                done.unwrap_or_else(|error| {
                    Answer::failed("platform", format!("the operation died: {error}"))
                })
            }
            Err(error) => Answer::failed("request", format!("the request cannot be read: {error}")),
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn conversation(sent: &[u8]) -> String {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let local = tokio::task::LocalSet::new();
        let serve = local.run_until(async move {
            converse(theirs, &|request| async move {
                Answer::failed("unknown", format!("{request:?}"))
            })
            .await
        });
        let ask = async {
            ours.write_all(sent).await.unwrap();
            ours.shutdown().await.unwrap();
            let mut text = String::new();
            ours.read_to_string(&mut text).await.unwrap();
            text
        };
        tokio::join!(serve, ask).1
    }

    #[tokio::test]
    async fn every_line_gets_one_answer_and_a_bad_one_says_what_would_be_right() {
        let text = conversation(
            b"{\"op\":\"status\"}\n{\"op\":\"fly\"}\n{\"op\":\"connect\",\"device\":\"a\",\"x\":1}\nrubbish\n",
        )
        .await;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains("Status"), "{text}");
        assert!(
            lines[1].contains("unknown variant `fly`, expected one of `status`"),
            "{text}"
        );
        assert!(lines[2].contains("unknown field `x`"), "{text}");
        assert!(lines[3].contains("cannot be read"), "{text}");
    }

    #[tokio::test]
    async fn an_endless_line_is_cut_off() {
        let long = vec![b'a'; 1 << 17];
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let local = tokio::task::LocalSet::new();
        let serve = local.run_until(async move { converse(theirs, &|_| async { Answer::done() }).await });
        let ask = async {
            let _ = ours.write_all(&long).await;
            let mut text = Vec::new();
            let _ = ours.read_to_end(&mut text).await;
            text
        };
        let (_, text) = tokio::join!(serve, ask);
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
