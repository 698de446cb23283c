//! The courier: answers one VM's port, a byte stream on which the guest asks and we carry.
//!
//! The guest is not trusted with anything but its own leases, and trusts us with nothing: sealed messages pass unread.

use std::rc::Rc;

use tdisp::relay::{
    VmId,
    courier::{CHUNK_SIZE_MAX, Chunk, Code, Decoder, Request, Response, VERSION},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Mutex,
};

use crate::engine::{Engine, View};

/// One VM's courier.
#[derive(Clone)]
pub struct Courier {
    /// The VM.
    pub vm: VmId,
    /// The engine that all share.
    pub engine: Rc<Mutex<Engine>>,
    /// What the operator sees.
    pub view: View,
}

impl Courier {
    /// Serves `listener` for ever, one connection after the other: a VM has one port.
    pub async fn serve(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    self.show(true);
                    match self.converse(stream).await {
                        Ok(()) => tracing::info!(vm = self.vm.0, "the VM's port is closed"),
                        Err(error) => tracing::warn!(vm = self.vm.0, %error, "the VM's port is given up"),
                    }
                    self.show(false);
                }
                Err(error) => {
                    tracing::warn!(vm = self.vm.0, %error, "the courier socket refuses a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn show(&self, connected: bool) {
        let mut view = self.view.borrow_mut();
        if let Some(vm) = view.vms.iter_mut().find(|vm| vm.id == self.vm.0) {
            vm.connected = connected;
        }
    }

    async fn converse(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut decoder = Decoder::<Request>::default();
        let mut piece = vec![0; 16 * 1024];
        let mut greeted = false;
        loop {
            while let Some((id, request)) = decoder.next().map_err(std::io::Error::other)? {
                let response = self.answer(request, &mut greeted).await;
                let mut frame = Vec::new();
                response.encode(id, &mut frame);
                stream.write_all(&frame).await?;
            }
            match stream.read(&mut piece).await? {
                0 => return Ok(()),
                read => decoder.push(&piece[..read]),
            }
        }
    }

    async fn answer(&self, request: Request, greeted: &mut bool) -> Response {
        if let Request::Hello { version } = request {
            *greeted = version == VERSION;
            return match greeted {
                true => Response::Hello { version: VERSION },
                false => refused(
                    Code::BAD_REQUEST,
                    format!("version {version}; the host speaks {VERSION}"),
                ),
            };
        }
        if !*greeted {
            return refused(
                Code::BAD_REQUEST,
                "the first request was no Hello; greet first".into(),
            );
        }
        match self.operate(request).await {
            Ok(response) => response,
            Err((code, reason)) => {
                // A guest can have this as often as it likes: it must not fill the log.
                tracing::debug!(vm = self.vm.0, %code, reason, "refused");
                refused(code, reason)
            }
        }
    }

    async fn operate(&self, request: Request) -> Result<Response, (Code, String)> {
        let mut engine = self.engine.lock().await;
        let failed = |error: crate::engine::Error| (error.courier_code(), error.to_string());
        let slot = |engine: &Engine, guest| {
            let slot = engine.slot_at(self.vm, guest);
            slot.ok_or_else(|| {
                (
                    Code::UNKNOWN,
                    format!("the operator leased nothing to this VM at {guest}"),
                )
            })
        };
        match request {
            Request::Bind { guest, flags } => {
                let slot = slot(&engine, guest)?;
                let tdi = engine.bind_for(self.vm, slot, flags).await.map_err(failed)?;
                Ok(Response::Bound { tdi })
            }
            Request::Unbind { guest } => {
                let slot = slot(&engine, guest)?;
                engine.unbind(slot).await.map_err(failed)?;
                Ok(Response::Unbound)
            }
            Request::Object { tdi, kind, offset } => {
                let object = engine.object(self.vm, tdi, kind)?;
                chunk(kind, object, offset).map(Response::Chunk)
            }
            Request::Guest { sealed } => {
                let sealed = engine.guest(self.vm, sealed).await.map_err(failed)?;
                Ok(Response::Guest { sealed })
            }
            Request::Hello { .. } => Err((Code::BAD_REQUEST, "greeted already".into())),
        }
    }
}

fn refused(code: Code, reason: String) -> Response {
    Response::Refused { code, reason }
}

fn chunk(kind: tdisp::relay::ObjectKind, object: &[u8], offset: u32) -> Result<Chunk, (Code, String)> {
    let total = u32::try_from(object.len()).unwrap_or(u32::MAX);
    let rest = object.get(offset as usize..).filter(|rest| !rest.is_empty());
    let rest = rest.ok_or_else(|| {
        (
            Code::BAD_REQUEST,
            format!("offset {offset} is behind the {total} bytes"),
        )
    })?;
    Ok(Chunk {
        kind,
        total,
        offset,
        bytes: rest[..rest.len().min(CHUNK_SIZE_MAX)].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tdisp::relay::{ObjectKind, courier::Assembly};

    #[test]
    fn chunks_of_a_large_object_assemble_to_it() {
        let object: Vec<u8> = (0..3 * CHUNK_SIZE_MAX + 5).map(|i| i as u8).collect();
        let mut assembly = Assembly::new(ObjectKind::CERTIFICATES);
        let whole = loop {
            let chunk = chunk(ObjectKind::CERTIFICATES, &object, assembly.offset()).unwrap();
            if let Some(whole) = assembly.add(&chunk).unwrap() {
                break whole;
            }
        };
        assert_eq!(whole, object);
        assert!(chunk(ObjectKind::CERTIFICATES, &object, object.len() as u32).is_err());
    }
}
