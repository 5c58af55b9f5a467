//! Engines on devices: CUDA and wgpu, one set of kernels.
//!
//! Nothing of cubecl shows outside of this folder.

#[cfg(feature = "cuda")]
mod cuda;
mod engine;
mod kernels;
mod resident;
mod staging;
mod tables;
#[cfg(feature = "wgpu")]
mod wgpu;
mod worker;

pub use engine::{DeviceConfig, DeviceEngine};

/// A device that an engine was opened on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its name, and through what it is reached.
    pub name: String,
    /// A program on this processor that acts like a device: right for tests, slower than
    /// [`CpuEngine`](crate::CpuEngine).
    pub software: bool,
    /// Bytes of memory it has, where it says.
    pub memory: Option<u64>,
}
