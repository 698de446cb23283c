//! The daemon: one thread, one engine, and the tasks that feed it.
//!
//! ```text
//!   API connections ─┐
//!   courier of VM 1 ─┼─► Engine (behind one lock) ─► TSM, DOE mailboxes, journal, evidence
//!   courier of VM n ─┤
//!   keeper ──────────┘   looks for the TSM while it is away
//!   signals ────────────► unbind, disconnect, remove the sockets, end
//! ```

use std::{cell::RefCell, path::Path, rc::Rc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Mutex,
    task::{LocalSet, spawn_local},
};

use crate::{
    api::{self, Answer, Request},
    config::{self, Config},
    courier::Courier,
    engine::{self, Engine, View},
    socket,
};

/// Why the daemon ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A socket cannot be made.
    #[error(transparent)]
    Socket(#[from] socket::Error),
    /// The state directory is of no use, or the end was not clean.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// 2 for a configuration that has to be mended, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            _ => 1,
        }
    }
}

/// How often the keeper looks whether the TSM is there.
const KEEPER_PERIOD: Duration = Duration::from_millis(250);

/// Reads the configuration and runs until a signal comes.
pub fn run(path: &Path) -> Result<(), Error> {
    let config = Rc::new(config::load(path)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Io {
        what: "the runtime cannot be made",
        source,
    })?;
    runtime.block_on(LocalSet::new().run_until(serve(config)))
}

async fn serve(config: Rc<Config>) -> Result<(), Error> {
    let caught = |kind| {
        signal(kind).map_err(|source| Error::Io {
            what: "no signals can be caught",
            source,
        })
    };
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    let view = View::new(RefCell::default());
    // The sockets come first: a second daemon must not touch the journal of the first.
    let (api_listener, _api_file) = socket::listen(&config.api_socket)?;
    let engine = Rc::new(Mutex::new(Engine::new(Rc::clone(&config), Rc::clone(&view))?));
    let mut files = Vec::new();
    for vm in &config.vms {
        let (listener, file) = socket::listen(&vm.courier_socket)?;
        files.push(file);
        let courier = Courier {
            vm: vm.id,
            engine: Rc::clone(&engine),
            view: Rc::clone(&view),
        };
        spawn_local(courier.serve(listener));
    }
    spawn_local(keep(Rc::clone(&engine), Rc::clone(&view)));
    let operator = (Rc::clone(&engine), Rc::clone(&view));
    spawn_local(api::serve(api_listener, move |request| {
        let (engine, view) = operator.clone();
        async move { operate(request, &engine, &view).await }
    }));
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal, "ending: unbinding and disconnecting");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        done = async { engine.lock().await.shutdown().await } => Ok(done?),
        _ = terminate.recv() => Err(impatient()),
        _ = interrupt.recv() => Err(impatient()),
    }
}

fn impatient() -> Error {
    let source = std::io::Error::other("a second signal came before everything was unbound");
    Error::Io {
        what: "ended at once",
        source,
    }
}

/// Looks for the TSM whenever it is away.
async fn keep(engine: Rc<Mutex<Engine>>, view: View) {
    let mut announced = false;
    loop {
        let mut held = engine.lock().await;
        if !held.is_up() {
            let before = view.borrow().tsm.note.clone();
            match held.start().await {
                Ok(()) => tracing::info!("the TSM is up"),
                Err(error) if error.to_string() != before => tracing::warn!(%error, "the TSM is not up"),
                Err(_) => {}
            }
        }
        drop(held);
        if view.borrow().ready && !announced {
            announced = true;
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
        tokio::time::sleep(KEEPER_PERIOD).await;
    }
}

async fn operate(request: Request, engine: &Mutex<Engine>, view: &View) -> Answer {
    // Status never waits for an operation: it is what the operator looks at while one hangs.
    if request == (Request::Status {}) {
        return Answer {
            status: Some(view.borrow().clone()),
            ..Answer::done()
        };
    }
    let mut engine = engine.lock().await;
    let answer = change(request, &mut engine).await;
    answer.unwrap_or_else(|error| {
        tracing::warn!(%error, "an operation failed");
        Answer::failed(error.kind(), error.to_string())
    })
}

async fn change(request: Request, engine: &mut Engine) -> Result<Answer, engine::Error> {
    Ok(match request {
        Request::Status {} => Answer::done(),
        Request::Connect { device } => Answer {
            device: Some(engine.connect(&device).await?),
            ..Answer::done()
        },
        Request::Disconnect { device } => Answer {
            device: Some(engine.disconnect(&device).await?),
            ..Answer::done()
        },
        Request::Identify { device } => Answer {
            identity: Some(engine.identify(&device).await?),
            ..Answer::done()
        },
        Request::Bind { device, function } => {
            let slot = engine.slot(&device, function)?;
            engine.bind(slot, 0).await?;
            Answer {
                tdi: engine.shown_tdi(slot),
                ..Answer::done()
            }
        }
        Request::Unbind { device, function } => {
            let slot = engine.slot(&device, function)?;
            engine.unbind(slot).await?;
            Answer {
                tdi: engine.shown_tdi(slot),
                ..Answer::done()
            }
        }
    })
}
