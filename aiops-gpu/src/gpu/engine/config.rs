//! [`DeviceConfig`]: which device, and how much of it.

use std::{collections::BTreeMap, time::Duration};

use super::{DeviceEngine, Tables, Worker};
use crate::{BatchEngine, EngineKind, Error, Model, Result, Stats, gpu};

/// Settings of a [`DeviceEngine`].
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    /// Which device of its kind, best first. Default 0.
    pub index: usize,
    /// Whether a program that acts like a device will do, for tests. Default no. Mesa's lavapipe ends all
    /// loops of a thread after 65,535 turns: LSTMs of more than 250 units are wrong there, and so are windows
    /// of `length` values with more than 64 units where `length · units²` is more.
    pub software: bool,
    /// Series it holds at most; fewer where its memory is smaller. Default 100,000,000.
    pub max_series: usize,
    /// Flags that an outcome holds at most, before its overflow bit is set. Default 65,536.
    pub max_flags: usize,
    /// Longest that opening, growing, saving or restoring may take. Default 60 s: the first use of a
    /// kernel compiles it.
    pub patience: Duration,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        DeviceConfig {
            index: 0,
            software: false,
            max_series: 100_000_000,
            max_flags: 65_536,
            patience: Duration::from_secs(60),
        }
    }
}

impl DeviceConfig {
    /// An engine of a kind, that runs `model`: [`EngineKind::Cuda`] with the feature `cuda`,
    /// [`EngineKind::Wgpu`] with the feature `wgpu`.
    ///
    /// Looks for driver and device, opens it on a thread, and tries a kernel. It neither panics nor waits
    /// longer than [`patience`](Self::patience), whatever is or is not installed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] says what is missing; otherwise as [`BatchEngine::load_model`].
    pub fn build(&self, kind: EngineKind, model: &Model) -> Result<DeviceEngine> {
        let worker = self.open(kind)?;
        let mut engine = DeviceEngine {
            info: worker.info.clone(),
            worker: Some(worker),
            kind,
            tables: Tables::default(),
            normal: None,
            registered: 0,
            in_flight: BTreeMap::new(),
            next_ticket: 0,
            stats: Stats::default(),
            config: self.clone(),
        };
        engine.load_model(model)?;
        Ok(engine)
    }

    pub(super) fn open(&self, kind: EngineKind) -> Result<Worker> {
        let (index, software) = (self.index, self.software);
        let opened = match kind {
            #[cfg(feature = "cuda")]
            EngineKind::Cuda => {
                Worker::open(move || gpu::cuda::open(index, software), self.patience)
            }
            #[cfg(feature = "wgpu")]
            EngineKind::Wgpu => {
                Worker::open(move || gpu::wgpu::open(index, software), self.patience)
            }
            _ => Err("it was not compiled in".to_owned()),
        };
        opened.map_err(|reason| Error::Unavailable { engine: kind, reason })
    }
}
