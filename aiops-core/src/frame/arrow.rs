//! Conversions to and from an Arrow record batch: one row a step, one column a series.
//!
//! The first column is `time`, nanoseconds in UTC. A series' column is named by how its key reads;
//! its field metadata holds the key exactly: `tenant`, `name`, and `label.NAME` for each label. A
//! gap is a null.

use super::Frame;
use crate::{Error, Labels, Result, SeriesKey, Timestamp};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const TIME: &str = "time";
const LABEL: &str = "label.";

#[cfg_attr(docsrs, doc(cfg(feature = "arrow")))]
impl Frame {
    /// The frame as a record batch; values are copied once.
    ///
    /// # Errors
    /// [`Error::Malformed`] when Arrow refuses the batch.
    pub fn to_record_batch(&self) -> Result<RecordBatch> {
        let times = (0..self.n_steps()).map(|step| self.time(step).as_nanos());
        let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
        let mut fields = vec![Field::new(TIME, times.data_type().clone(), false)];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
        for (row, key) in self.series().iter().enumerate() {
            let field = Field::new(key.to_string(), DataType::Float64, true);
            fields.push(field.with_metadata(metadata_of(key)));
            let values = self.row(row).iter().map(|v| (!v.is_nan()).then_some(*v));
            columns.push(Arc::new(values.collect::<Float64Array>()));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::malformed("record batch", error.to_string()))
    }

    /// Reads what [`to_record_batch`](Self::to_record_batch) wrote, or any batch of its form.
    /// Columns without metadata become series of the column's name without labels.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the first column is not `time` in nanoseconds, a value column is
    /// not Float64, or the times are not an even grid; one row alone gets a step of a second.
    pub fn from_record_batch(batch: &RecordBatch) -> Result<Frame> {
        let bad = |reason: String| Error::malformed("record batch", reason);
        let schema = batch.schema();
        let is_time = |f: &Field| {
            f.name() == TIME
                && matches!(f.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _))
        };
        if !schema.fields().first().is_some_and(|field| is_time(field)) {
            return Err(bad("the first column must be `time`, a timestamp in nanoseconds".into()));
        }
        let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
        if times.null_count() > 0 {
            return Err(bad("a time is null".into()));
        }
        let (start, step) = grid(times.values()).map_err(bad)?;
        let mut series = Vec::with_capacity(batch.num_columns() - 1);
        let mut values = Vec::with_capacity(batch.num_rows() * (batch.num_columns() - 1));
        for (field, column) in schema.fields().iter().zip(batch.columns()).skip(1) {
            let Some(column) = column.as_primitive_opt::<Float64Type>() else {
                return Err(bad(format!("column {:?} is not Float64", field.name())));
            };
            series.push(key_of(field));
            values.extend(column.iter().map(|value| value.unwrap_or(f64::NAN)));
        }
        let mut frame = Frame::new(series, start, step, values)?;
        frame.n_steps = batch.num_rows();
        Ok(frame)
    }
}

fn grid(times: &[i64]) -> std::result::Result<(Timestamp, Duration), String> {
    let start = times.first().copied().unwrap_or(0);
    let step = times.get(1).map_or(Some(1_000_000_000), |second| second.checked_sub(start));
    let step = step.filter(|step| *step > 0).ok_or("times must rise")?;
    for (i, pair) in times.windows(2).enumerate() {
        if pair[1].checked_sub(pair[0]) != Some(step) {
            return Err(format!("times are not an even grid: row {} is off", i + 1));
        }
    }
    Ok((Timestamp::from_nanos(start), Duration::from_nanos(step as u64)))
}

fn metadata_of(key: &SeriesKey) -> HashMap<String, String> {
    let own = [("tenant".to_owned(), key.tenant.clone()), ("name".to_owned(), key.name.clone())];
    let labels = key.labels.iter().map(|(k, v)| (format!("{LABEL}{k}"), v.to_owned()));
    own.into_iter().chain(labels).collect()
}

fn key_of(field: &Field) -> SeriesKey {
    let metadata = field.metadata();
    let labels = metadata
        .iter()
        .filter_map(|(k, v)| k.strip_prefix(LABEL).map(|k| (k.to_owned(), v.clone())));
    SeriesKey {
        tenant: metadata.get("tenant").cloned().unwrap_or_default(),
        name: metadata.get("name").unwrap_or(field.name()).clone(),
        labels: labels.collect::<Labels>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_with_gaps() -> Result<()> {
        let keys = vec![
            SeriesKey { tenant: "t".into(), name: "a".into(), labels: Labels::from([("x", "1")]) },
            SeriesKey::new("b", Labels::new()),
        ];
        let values = vec![1.0, f64::NAN, 3.0, 4.0];
        let step = Duration::from_secs(10);
        let frame = Frame::new(keys, Timestamp::from_secs(50), step, values)?;
        let batch = frame.to_record_batch()?;
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 3));
        assert_eq!(batch.column(1).null_count(), 1);
        let back = Frame::from_record_batch(&batch)?;
        assert_eq!(
            (back.series(), back.start(), back.step()),
            (frame.series(), frame.start(), step)
        );
        assert_eq!((back.values()[0], back.values()[1].is_nan()), (1.0, true));
        assert!(Frame::from_record_batch(&batch.project(&[1]).unwrap()).is_err(), "no time");
        Ok(())
    }

    #[test]
    fn an_uneven_grid_is_refused() {
        assert!(grid(&[0, 10, 25]).unwrap_err().contains("row 2"));
        assert!(grid(&[0, 0]).is_err() && grid(&[10, 0]).is_err());
        assert!(grid(&[i64::MIN, i64::MAX]).is_err());
    }
}
