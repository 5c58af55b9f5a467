//! Opening a device through Vulkan, Metal or DirectX 12.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use cubecl::{
    Runtime,
    future::block_on,
    wgpu::{RuntimeOptions, WgpuDevice, WgpuRuntime, WgpuSetup, init_device},
};
use wgpu::{Adapter, Backends, DeviceType, Features};

use super::{DeviceInfo, worker::Opened};

/// Devices that were opened, by name and place: cubecl keeps one for as long as the process lives, so the
/// next engine uses it too.
static OPENED: Mutex<BTreeMap<(String, usize), WgpuDevice>> = Mutex::new(BTreeMap::new());

/// Opens the adapter at `index`, best first; those of software only with `software`.
pub(super) fn open(index: usize, software: bool) -> Opened<WgpuRuntime> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = block_on(instance.enumerate_adapters(Backends::PRIMARY));
    let acting: Vec<String> = adapters.iter().filter(|a| is_software(a)).map(name).collect();
    adapters.retain(|adapter| software || !is_software(adapter));
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    if adapters.is_empty() && !acting.is_empty() {
        let acting = acting.join(", ");
        return Err(format!("only a program that acts like a device, slower than cpu: {acting}"));
    }
    if index >= adapters.len() {
        let count = adapters.len();
        return Err(format!(
            "{count} adapters for Vulkan, Metal or DirectX 12, number {index} wanted"
        ));
    }
    let adapter = adapters.swap_remove(index);
    let info = DeviceInfo { name: name(&adapter), software: is_software(&adapter), memory: None };
    let key = (info.name.clone(), index);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let device = match opened.get(&key) {
        Some(device) => device.clone(),
        None => {
            let device = fresh(instance, adapter)?;
            opened.insert(key, device.clone());
            device
        }
    };
    Ok((WgpuRuntime::client(&device), info))
}

/// Forgets what was opened, after a failure: the next engine opens a device of its own.
pub(super) fn forget() {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn fresh(instance: wgpu::Instance, adapter: Adapter) -> Result<WgpuDevice, String> {
    let wanted = adapter.features()
        - (Features::MAPPABLE_PRIMARY_BUFFERS | Features::all_experimental_mask());
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("aiops-gpu"),
        required_features: wanted,
        required_limits: adapter.limits(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    }))
    .map_err(|error| format!("{} cannot be opened: {error}", name(&adapter)))?;
    // What is not caught there is a panic of wgpu's, far from who asked: better an answer that is missing.
    device.on_uncaptured_error(std::sync::Arc::new(|_| forget()));
    device.set_device_lost_callback(|_, _| forget());
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let options = RuntimeOptions { tasks_max: 32, memory_config: Default::default() };
    Ok(init_device(setup, options))
}

fn name(adapter: &Adapter) -> String {
    let info = adapter.get_info();
    format!("{} ({:?})", info.name, info.backend)
}

fn is_software(adapter: &Adapter) -> bool {
    adapter.get_info().device_type == DeviceType::Cpu
}

fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}
