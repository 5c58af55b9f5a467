//! Opening an NVIDIA device.

use cubecl::{
    Runtime,
    cuda::{CudaDevice, CudaRuntime, install},
};
use cudarc::driver::result;

use super::{DeviceInfo, worker::Opened};

/// Opens the device at `index`, in the order of the driver.
///
/// Asks step by step for what cubecl expects to be there, because it panics where it is not.
pub(super) fn open(index: usize, _software: bool) -> Opened<CudaRuntime> {
    // SAFETY: loads the driver's library and looks for a function in it, nothing else.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err("no driver: the library cuda is not there".to_owned());
    }
    let said = |what: &str, error: &dyn std::fmt::Debug| format!("{what}: {error:?}");
    result::init().map_err(|error| said("the driver does not start", &error))?;
    let count = result::device::get_count().map_err(|error| said("no device", &error))?;
    if index >= usize::try_from(count).unwrap_or(0) {
        return Err(format!("the driver has {count} devices, number {index} was asked for"));
    }
    // SAFETY: as above, for the run-time compiler.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err("a driver without toolkit: the library nvrtc is not there".to_owned());
    }
    let headers = install::cuda_path().map(|path| path.join("include"));
    if !headers.as_ref().is_some_and(|path| path.join("cuda_runtime.h").exists()) {
        let place = headers.map_or("nowhere".to_owned(), |path| path.display().to_string());
        return Err(format!("a driver without toolkit: no headers at {place}, set CUDA_PATH"));
    }
    let device = result::device::get(index as i32).map_err(|error| said("no device", &error))?;
    let name = result::device::get_name(device).map_err(|error| said("no name", &error))?;
    // SAFETY: `device` was given by the driver above.
    let memory = unsafe { result::device::total_mem(device) }.ok().map(|bytes| bytes as u64);
    let info = DeviceInfo { name, software: false, memory };
    Ok((CudaRuntime::client(&CudaDevice::new(index)), info))
}
