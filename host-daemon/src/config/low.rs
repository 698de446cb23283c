//! What a configuration file may say, key by key. Spans are kept so that a later refusal names its line.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) state_dir: PathBuf,
    pub(super) api_socket: Spanned<PathBuf>,
    pub(super) tsm: Tsm,
    #[serde(default)]
    pub(super) device: Vec<Device>,
    #[serde(default)]
    pub(super) vm: Vec<Vm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tsm {
    pub(super) backend: Spanned<String>,
    pub(super) socket: Option<Spanned<PathBuf>>,
    pub(super) root: Option<Spanned<PathBuf>>,
    pub(super) name: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: Spanned<String>,
    pub(super) bdf: Spanned<String>,
    pub(super) slot: Option<Spanned<u8>>,
    pub(super) transport: Transport,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transport {
    pub(super) kind: Spanned<String>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) root: Option<Spanned<PathBuf>>,
    pub(super) timeout_ms: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vm {
    pub(super) id: Spanned<u32>,
    pub(super) courier_socket: Spanned<PathBuf>,
    #[serde(default)]
    pub(super) tdi: Vec<Tdi>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tdi {
    pub(super) device: Spanned<String>,
    pub(super) function: Spanned<u8>,
    pub(super) guest: Spanned<String>,
    #[serde(default)]
    pub(super) lock: Vec<Spanned<String>>,
}
