//! The state of a router per shard.

use aiops_core::{Interner, SeriesId, Shard, SnapshotReader, SnapshotWriter, Timestamp};

use super::{ClassedBy, Classified, Router, class::Shape, seen};
use crate::{
    Result, saved,
    shard::{self, PerSeriesState},
};

impl Router {
    /// Everything that was learnt about the series of one shard, in every tier: banks, policies,
    /// classes, holds, and what was told. Seats are shared by all shards and are not part of it: a
    /// restored series asks for one again, by class.
    pub fn snapshot_shard(&self, interner: &Interner, shard: Shard) -> Vec<u8> {
        shard::snapshot(self, interner, shard)
    }

    /// Replaces what is known about the series of one shard, and returns how many series came. They
    /// continue bit for bit where they get the same seats.
    ///
    /// # Errors
    /// As [`restore_shard`](crate::restore_shard); the router is then as it was.
    pub fn restore_shard(
        &mut self,
        interner: &mut Interner,
        shard: Shard,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<usize> {
        let restored = shard::restore(self, interner, shard, bytes, now)?;
        self.settle();
        Ok(restored)
    }
}

impl PerSeriesState for Router {
    fn kind(&self) -> String {
        let names: Vec<_> = self.levels.iter().map(|level| level.watcher.bank().name()).collect();
        format!("router:{}", names.join("+"))
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        let classified = self.class(id);
        let (tag, number) = match classified.map(|c| c.because) {
            None => (0, 0.0),
            Some(ClassedBy::TooYoung) => (1, 0.0),
            Some(ClassedBy::Rule(at)) => (2, at as f64),
            Some(ClassedBy::Shape(share)) => (3, share),
        };
        out.u8(tag);
        out.f64(number);
        out.u8(classified.map_or(0, |c| class_code(c.class)));
        let shape = self.shapes.get(&id);
        out.u8(u8::from(shape.is_some()));
        if let Some(shape) = shape {
            shape.save(out);
        }
        self.holds.save(id, out);
        seen::save(self.told.get(&id), out);
        for level in &self.levels {
            let mut part = SnapshotWriter::new();
            level.watcher.save(id, &mut part);
            out.bytes(&part.finish());
        }
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        let (tag, number, code) = (from.u8()?, saved::finite(from, "class")?, from.u8()?);
        let class = class_of(code)?;
        let because = match tag {
            0 => None,
            1 => Some(ClassedBy::TooYoung),
            2 => Some(ClassedBy::Rule(number as usize)),
            3 => Some(ClassedBy::Shape(number)),
            _ => return Err(saved::invalid("reason of a class", tag)),
        };
        let shape = if from.u8()? != 0 { Some(Shape::load(from)?) } else { None };
        let mut holds = self.holds.clone();
        holds.load(id, from)?;
        let told = seen::load(self.levels.len(), from)?;
        for level in &mut self.levels {
            let part = from.bytes()?;
            let mut reader = SnapshotReader::new(part);
            level.watcher.load(id, &mut reader)?;
            reader.end()?;
        }
        self.forget(id);
        self.holds = holds;
        if let Some(told) = told {
            self.told.insert(id, told);
        }
        if let Some(shape) = shape {
            self.shapes.insert(id, shape);
        }
        if id.index() >= self.series.len() {
            self.series.resize(id.index() + 1, None);
        }
        let had = self.series[id.index()].take().is_some();
        self.known -= usize::from(had);
        if let Some(because) = because {
            self.known += 1;
            self.set_class(id, Classified { class, because });
        }
        Ok(())
    }

    fn release(&mut self, ids: &[SeriesId]) {
        Router::release(self, ids);
    }
}

fn class_code(class: aiops_core::MetricClass) -> u8 {
    match class {
        aiops_core::MetricClass::Infrastructure => 0,
        aiops_core::MetricClass::Business => 1,
        aiops_core::MetricClass::Critical => 2,
    }
}

fn class_of(code: u8) -> Result<aiops_core::MetricClass> {
    match code {
        0 => Ok(aiops_core::MetricClass::Infrastructure),
        1 => Ok(aiops_core::MetricClass::Business),
        2 => Ok(aiops_core::MetricClass::Critical),
        _ => Err(saved::invalid("class", code)),
    }
}
