//! Histograms and summaries as the few series that analysis needs of them.

use crate::proto::{Broken, Kind, Reader, Tag, unexpected};

/// Which series of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    Whole,
    Count,
    Sum,
    Min,
    Max,
    Quantile(f64),
}

impl Part {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Part::Whole | Part::Quantile(_) => "",
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::Min => "_min",
            Part::Max => "_max",
        }
    }

    pub(super) fn quantile(self) -> Option<f64> {
        match self {
            Part::Quantile(quantile) => Some(quantile),
            _ => None,
        }
    }

    /// Whether it adds up over time, as against describing one interval.
    pub(super) fn grows(self) -> bool {
        matches!(self, Part::Count | Part::Sum)
    }
}

/// One point of a histogram, an exponential histogram or a summary; reused from point to point.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    pub(super) time: u64,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) no_value: bool,
    /// Upper bounds and counts, from low to high; the last bound may be missing and is infinite.
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) quantiles: Vec<(f64, f64)>,
}

const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
const TIME: Tag = Tag::new(3, Kind::Fixed64);
const COUNT: Tag = Tag::new(4, Kind::Fixed64);
const SUM: Tag = Tag::new(5, Kind::Fixed64);

impl Distribution {
    pub(super) fn clear(&mut self) {
        let empty = Distribution::default();
        let Distribution { mut bounds, mut counts, mut quantiles, .. } =
            std::mem::replace(self, empty);
        bounds.clear();
        counts.clear();
        quantiles.clear();
        (self.bounds, self.counts, self.quantiles) = (bounds, counts, quantiles);
    }

    /// Hands out its samples; `delta` when it covers one interval only.
    pub(super) fn samples(&self, delta: bool, each: &mut dyn FnMut(Part, f64)) {
        if self.no_value {
            each(Part::Count, f64::NAN);
            return each(Part::Sum, f64::NAN);
        }
        each(Part::Count, self.count as f64);
        let rest = [(Part::Sum, self.sum), (Part::Min, self.min), (Part::Max, self.max)];
        for (part, value) in rest {
            // A minimum of all time moves once and never back.
            if let Some(value) = value.filter(|_| part == Part::Sum || delta) {
                each(part, value);
            }
        }
        self.quantiles.iter().for_each(|&(quantile, value)| each(Part::Quantile(quantile), value));
        if delta {
            let estimated = QUANTILES.into_iter().filter_map(|q| Some((q, self.quantile(q)?)));
            estimated.for_each(|(quantile, value)| each(Part::Quantile(quantile), value));
        }
    }

    /// Estimates a quantile by linear interpolation in its bucket, the lowest starting at zero and
    /// the unbounded one answered with its lower bound, as Prometheus' `histogram_quantile` does;
    /// then narrowed by minimum and maximum where they are known.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let total: f64 = self.counts.iter().map(|&count| count as f64).sum();
        if total == 0.0 || self.bounds.is_empty() || self.counts.len() < self.bounds.len() {
            return None;
        }
        let rank = quantile * total;
        let mut below = 0.0;
        for (i, &count) in self.counts.iter().enumerate() {
            let count = count as f64;
            if below + count >= rank && count > 0.0 {
                let lower = match i {
                    0 => self.bounds[0].min(0.0),
                    _ => self.bounds[i - 1],
                };
                let upper = self.bounds.get(i).copied().filter(|bound| bound.is_finite());
                let value = match upper {
                    Some(upper) => lower + (upper - lower) * (rank - below) / count,
                    None => lower,
                };
                let value = value.max(self.min.unwrap_or(value));
                let value = value.min(self.max.unwrap_or(value));
                return value.is_finite().then_some(value);
            }
            below += count;
        }
        None
    }

    /// `HistogramDataPoint {time = 3; count = 4; sum = 5; bucket_counts = 6; explicit_bounds = 7;
    /// attributes = 9; flags = 10; min = 11; max = 12}`.
    pub(super) fn read_histogram(&mut self, message: &[u8]) -> Result<(), Broken> {
        const COUNTS: Tag = Tag::new(6, Kind::Bytes);
        const ONE_COUNT: Tag = Tag::new(6, Kind::Fixed64);
        const BOUNDS: Tag = Tag::new(7, Kind::Bytes);
        const ONE_BOUND: Tag = Tag::new(7, Kind::Fixed64);
        const FLAGS: Tag = Tag::new(10, Kind::Varint);
        const MIN: Tag = Tag::new(11, Kind::Fixed64);
        const MAX: Tag = Tag::new(12, Kind::Fixed64);
        self.clear();
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                TIME => self.time = reader.fixed64()?,
                COUNT => self.count = reader.fixed64()?,
                SUM => self.sum = Some(reader.double()?),
                COUNTS => packed(reader.bytes()?, |bits| self.counts.push(bits))?,
                ONE_COUNT => self.counts.push(reader.fixed64()?),
                BOUNDS => packed(reader.bytes()?, |bits| self.bounds.push(f64::from_bits(bits)))?,
                ONE_BOUND => self.bounds.push(reader.double()?),
                FLAGS => self.no_value = reader.varint()? & 1 == 1,
                MIN => self.min = Some(reader.double()?),
                MAX => self.max = Some(reader.double()?),
                _ => unexpected(&mut reader, tag, &[3, 4, 5, 6, 7, 10, 11, 12])?,
            }
        }
        Ok(())
    }

    /// `ExponentialHistogramDataPoint {attributes = 1; time = 3; count = 4; sum = 5; scale = 6;
    /// zero_count = 7; positive = 8; negative = 9; flags = 10; min = 12; max = 13; ...}`.
    pub(super) fn read_exponential(&mut self, message: &[u8]) -> Result<(), Broken> {
        const SCALE: Tag = Tag::new(6, Kind::Varint);
        const ZERO: Tag = Tag::new(7, Kind::Fixed64);
        const POSITIVE: Tag = Tag::new(8, Kind::Bytes);
        const NEGATIVE: Tag = Tag::new(9, Kind::Bytes);
        const FLAGS: Tag = Tag::new(10, Kind::Varint);
        const MIN: Tag = Tag::new(12, Kind::Fixed64);
        const MAX: Tag = Tag::new(13, Kind::Fixed64);
        self.clear();
        let (mut scale, mut zero, mut offset) = (0, 0, 0);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                TIME => self.time = reader.fixed64()?,
                COUNT => self.count = reader.fixed64()?,
                SUM => self.sum = Some(reader.double()?),
                SCALE => scale = zigzag(reader.varint()?),
                ZERO => zero = reader.fixed64()?,
                POSITIVE => offset = self.read_buckets(reader.bytes()?, offset)?,
                // Of values below zero only count and sum are kept.
                NEGATIVE => drop(reader.bytes()?),
                FLAGS => self.no_value = reader.varint()? & 1 == 1,
                MIN => self.min = Some(reader.double()?),
                MAX => self.max = Some(reader.double()?),
                _ => unexpected(&mut reader, tag, &[3, 4, 5, 6, 7, 8, 9, 10, 12, 13])?,
            }
        }
        self.spread(scale, offset, zero);
        Ok(())
    }

    /// `Buckets {sint32 offset = 1; repeated uint64 bucket_counts = 2}`; returns the offset.
    fn read_buckets(&mut self, message: &[u8], mut offset: i32) -> Result<i32, Broken> {
        const OFFSET: Tag = Tag::new(1, Kind::Varint);
        const COUNTS: Tag = Tag::new(2, Kind::Bytes);
        const ONE_COUNT: Tag = Tag::new(2, Kind::Varint);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                OFFSET => offset = zigzag(reader.varint()?),
                COUNTS => {
                    let mut packed = Reader::new(reader.bytes()?);
                    while !packed.rest().is_empty() {
                        self.counts.push(packed.varint()?);
                    }
                }
                ONE_COUNT => self.counts.push(reader.varint()?),
                _ => unexpected(&mut reader, tag, &[1, 2])?,
            }
        }
        Ok(offset)
    }

    /// Turns buckets of growing width into bounds: bucket i is (base^i, base^(i+1)] with
    /// base = 2^(2^-scale). Zeros get a bucket of their own below.
    pub(super) fn spread(&mut self, scale: i32, offset: i32, zero: u64) {
        let width = (-f64::from(scale)).exp2();
        let bound = |bucket: usize| ((f64::from(offset) + bucket as f64) * width).exp2();
        self.bounds.push(bound(0));
        self.bounds.extend((1..=self.counts.len()).map(bound));
        self.counts.insert(0, zero);
    }

    /// `SummaryDataPoint {time = 3; count = 4; sum = 5; quantile_values = 6; attributes = 7;
    /// flags = 8}`, a quantile being `{quantile = 1; value = 2}`.
    pub(super) fn read_summary(&mut self, message: &[u8]) -> Result<(), Broken> {
        const VALUES: Tag = Tag::new(6, Kind::Bytes);
        const FLAGS: Tag = Tag::new(8, Kind::Varint);
        const QUANTILE: Tag = Tag::new(1, Kind::Fixed64);
        const VALUE: Tag = Tag::new(2, Kind::Fixed64);
        self.clear();
        // Without a sum field the sum is zero, unlike in histograms.
        self.sum = Some(0.0);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            match tag {
                TIME => self.time = reader.fixed64()?,
                COUNT => self.count = reader.fixed64()?,
                SUM => self.sum = Some(reader.double()?),
                FLAGS => self.no_value = reader.varint()? & 1 == 1,
                VALUES => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut pair = Reader::new(reader.bytes()?);
                    while let Some(tag) = pair.tag()? {
                        match tag {
                            QUANTILE => quantile = pair.double()?,
                            VALUE => value = pair.double()?,
                            _ => unexpected(&mut pair, tag, &[1, 2])?,
                        }
                    }
                    self.quantiles.push((quantile, value));
                }
                _ => unexpected(&mut reader, tag, &[3, 4, 5, 6, 8])?,
            }
        }
        Ok(())
    }
}

fn packed(bytes: &[u8], mut each: impl FnMut(u64)) -> Result<(), Broken> {
    let mut reader = Reader::new(bytes);
    while !reader.rest().is_empty() {
        each(reader.fixed64()?);
    }
    Ok(())
}

/// Protobuf's `sint32`.
fn zigzag(raw: u64) -> i32 {
    let raw = raw as u32;
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_histogram_by_hand() {
        // Ten observations up to 1, ten in (1, 2], none above: the median is 1, p95 lies 9/10 up the
        // second bucket.
        let mut histogram = Distribution {
            bounds: vec![1.0, 2.0],
            counts: vec![10, 10, 0],
            ..Distribution::default()
        };
        assert_eq!(histogram.quantile(0.5), Some(1.0));
        assert_eq!(histogram.quantile(0.95), Some(1.9));
        histogram.max = Some(1.5);
        assert_eq!(histogram.quantile(0.95), Some(1.5), "never above the maximum");
        histogram.counts = vec![0, 0, 4];
        histogram.max = None;
        assert_eq!(histogram.quantile(0.5), Some(2.0), "unbounded: its lower bound");
        histogram.counts = vec![0, 0, 0];
        assert_eq!(histogram.quantile(0.5), None);
    }

    #[test]
    fn exponential_buckets_double_at_scale_zero() {
        let mut histogram = Distribution { counts: vec![1, 1], ..Distribution::default() };
        histogram.spread(0, 1, 2);
        assert_eq!(histogram.bounds, [2.0, 4.0, 8.0]);
        assert_eq!(histogram.counts, [2, 1, 1]);
        assert_eq!(histogram.quantile(0.75), Some(4.0));
        let mut fine = Distribution { counts: vec![1], ..Distribution::default() };
        fine.spread(1, 2, 0);
        assert!((fine.bounds[1] - 2.0 * 2.0_f64.sqrt()).abs() < 1e-12);
        let mut absurd = Distribution { counts: vec![1], ..Distribution::default() };
        absurd.spread(i32::MIN, i32::MAX, 0);
        assert_eq!(absurd.quantile(0.5), None, "no score is infinite");
    }

    #[test]
    fn zigzag_by_the_book() {
        assert_eq!([0, 1, 2, 3, 0xffff_ffff].map(zigzag), [0, -1, 1, -2, i32::MIN]);
    }
}
