//! Tenants, and what senders declare of metric families.

use super::kind::{self, SeriesInfo};
use super::series::Normaliser;
use crate::{Declared, Form, Rejection};
use aiops_core::{SeriesId, SeriesKey};
use rustc_hash::FxHashMap;

#[derive(Debug, Default)]
pub(super) struct Tenant {
    pub(super) live: usize,
    families: FxHashMap<String, (Form, String)>,
}

impl Tenant {
    /// Histograms and OpenMetrics counters are declared under their base name.
    fn family(&self, name: &str) -> Option<Declared<'_>> {
        let suffixes = ["", "_bucket", "_sum", "_count", "_total"];
        let mut bases = suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix));
        let (form, unit) = bases.find_map(|base| self.families.get(base))?;
        Some(Declared { form: *form, unit })
    }
}

/// Declarations.
impl Normaliser {
    pub(super) fn tenant(&mut self, name: &str) -> Result<usize, Rejection> {
        if let Some(&number) = self.tenant_numbers.get(name) {
            return Ok(number);
        }
        if self.tenants.len() >= self.config.max_tenants {
            return Err(Rejection::TenantLimit);
        }
        self.tenants.push(Tenant::default());
        self.tenant_numbers.insert(name.to_owned(), self.tenants.len() - 1);
        Ok(self.tenants.len() - 1)
    }

    /// What the sender said with the series, else what it declared of the family.
    pub(super) fn understand(
        &self,
        key: &SeriesKey,
        said: Declared<'_>,
        owner: usize,
    ) -> SeriesInfo {
        let mut declared = said;
        if let Some(family) = self.tenants[owner].family(&key.name) {
            if declared.form == Form::Unknown {
                declared.form = family.form;
            }
            if declared.unit.is_empty() {
                declared.unit = family.unit;
            }
        }
        kind::infer(&key.name, &key.labels, declared, &self.config.kinds)
    }

    pub(crate) fn declare(&mut self, tenant: &str, family: &str, declared: Declared<'_>) {
        let Ok(owner) = self.tenant(tenant) else { return };
        let limit = self.config.max_families_per_tenant;
        let families = &mut self.tenants[owner].families;
        let new = (declared.form, declared.unit);
        let known = families.get(family).map(|(form, unit)| (*form, unit.as_str()));
        if known == Some(new) || known.is_none() && families.len() >= limit {
            return;
        }
        families.insert(family.to_owned(), (declared.form, declared.unit.to_owned()));
        self.changed = true;
    }

    /// After declarations changed: what the series of declared families mean now. One pass over all
    /// series. A counter that was taken for a gauge, or the reverse, starts anew.
    pub(crate) fn settle_declarations(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        for index in 0..self.infos.len() {
            let Some(old) = self.infos[index] else { continue };
            let Some(key) = self.interner.key(SeriesId(index as u32)) else { continue };
            let owner = self.owners[index] as usize;
            if self.tenants[owner].family(&key.name).is_none() {
                continue;
            }
            let new = self.understand(key, Declared::default(), owner);
            if (new.form, new.factor) != (old.form, old.factor) {
                self.tracks[index].reread(new.form, new.factor);
            }
            self.infos[index] = Some(new);
        }
    }
}
