//! [`choose`]: the best chain of engines that is compiled in and works here.

use crate::{BatchEngine, ChainConfig, CpuConfig, EngineChain, EngineKind, Model, Result};

/// A chain, and why it is what it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Choice {
    /// The engines that work here, best first, statistics last.
    pub chain: EngineChain,
    /// Why the first of them is first, in one sentence.
    pub why: String,
    /// The engines that are not in the chain, and what is missing.
    pub others: Vec<(EngineKind, String)>,
}

/// Chains the engines that are compiled in and work here: the best first, statistics last.
///
/// This version has engines for the processor only; those for devices are listed with what is missing.
///
/// # Errors
/// As [`CpuConfig::build`].
pub fn choose(model: &Model) -> Result<Choice> {
    let config = CpuConfig::default();
    let cpu = config.build(model)?;
    let device = cpu.capabilities().device;
    let why = format!("cpu: the fastest engine of this version, on {device}");
    let missing = "this version has no engine for it".to_owned();
    let others = vec![(EngineKind::Cuda, missing.clone()), (EngineKind::Wgpu, missing)];
    let engines: Vec<Box<dyn BatchEngine>> =
        vec![Box::new(cpu), Box::new(config.build_statistics(model)?)];
    Ok(Choice { chain: ChainConfig::default().build(engines)?, why, others })
}
