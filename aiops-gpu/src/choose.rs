//! [`choose`]: the best chain of engines that is compiled in and works here.

use crate::{BatchEngine, ChainConfig, CpuConfig, EngineChain, EngineKind, Error, Model, Result};

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

/// Chains the engines that are compiled in and work here: CUDA, wgpu, CPU, statistics, in this order.
///
/// A device that is a program on this processor, as Mesa's lavapipe, is slower than the CPU engine, which
/// takes its place. Looking for devices takes up to seconds and neither panics nor hangs; see
/// `DeviceConfig`, which is there with the features `cuda` and `wgpu`.
///
/// # Errors
/// As [`CpuConfig::build`], and when a device refuses the model.
pub fn choose(model: &Model) -> Result<Choice> {
    let mut engines: Vec<Box<dyn BatchEngine>> = Vec::new();
    let mut others = Vec::new();
    for kind in [EngineKind::Cuda, EngineKind::Wgpu] {
        match on_device(kind, model) {
            Ok(engine) => engines.push(engine),
            Err(Error::Unavailable { reason, .. }) => others.push((kind, reason)),
            Err(error @ (Error::Device { .. } | Error::Full { .. })) => {
                others.push((kind, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    let config = CpuConfig::default();
    engines.push(Box::new(config.build(model)?));
    engines.push(Box::new(config.build_statistics(model)?));
    let (first, device) = (engines[0].kind(), engines[0].capabilities().device);
    let why = format!("{first}: the first of cuda, wgpu and cpu that is here, on {device}");
    Ok(Choice { chain: ChainConfig::default().build(engines)?, why, others })
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn on_device(kind: EngineKind, model: &Model) -> Result<Box<dyn BatchEngine>> {
    if !is_compiled_in(kind) {
        return Err(not_compiled_in(kind));
    }
    Ok(Box::new(crate::DeviceConfig::default().build(kind, model)?))
}

#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
fn on_device(kind: EngineKind, _model: &Model) -> Result<Box<dyn BatchEngine>> {
    Err(not_compiled_in(kind))
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn is_compiled_in(kind: EngineKind) -> bool {
    match kind {
        EngineKind::Cuda => cfg!(feature = "cuda"),
        EngineKind::Wgpu => cfg!(feature = "wgpu"),
        _ => true,
    }
}

fn not_compiled_in(kind: EngineKind) -> Error {
    let reason = format!("not compiled in; the feature `{kind}` of aiops-gpu adds it");
    Error::Unavailable { engine: kind, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_model;

    #[test]
    fn every_engine_is_in_the_chain_or_missing_with_a_reason() {
        let choice = choose(&small_model()).unwrap();
        let mut kinds: Vec<EngineKind> = choice.chain.engines().map(|(kind, _)| kind).collect();
        assert!(kinds.is_sorted() && kinds.ends_with(&[EngineKind::Cpu, EngineKind::Statistics]));
        assert!(choice.why.starts_with(&kinds[0].to_string()), "{}", choice.why);
        kinds.extend(choice.others.iter().map(|(kind, _)| *kind));
        assert_eq!(kinds.len(), 4);
        assert!(choice.others.iter().all(|(_, reason)| !reason.is_empty()));
    }
}
