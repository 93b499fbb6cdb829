//! When the objects were modified that some rows come from.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

use crate::lake::read::scan::Bounds;

/// The column that says it.
const TIME: &str = "_event_time";

/// The first and the last time, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    range: Option<(i64, i64)>,
    /// Whether a row does not say it.
    unknown: bool,
}

impl Times {
    /// Adds a row of a batch.
    pub fn add(&mut self, batch: &RecordBatch, row: usize) {
        let times = batch.column_by_name(TIME);
        let times = times.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        match times.filter(|times| times.is_valid(row)) {
            Some(times) => self.add_range((times.value(row), times.value(row))),
            None => self.unknown = true,
        }
    }

    /// Those of both.
    pub fn and(mut self, others: Self) -> Self {
        self.unknown |= others.unknown;
        others.range.into_iter().for_each(|range| self.add_range(range));
        self
    }

    /// What bounds them; nothing where a row does not say it.
    pub fn bounds(self) -> Vec<Bounds> {
        let Some((first, last)) = self.range.filter(|_| !self.unknown) else { return vec![] };
        let seconds = [first, last].map(|micros| micros.div_euclid(1_000_000));
        Bounds::of_seconds(TIME, seconds.into_iter()).into_iter().collect()
    }

    fn add_range(&mut self, (first, last): (i64, i64)) {
        let (least, greatest) = self.range.unwrap_or((first, last));
        self.range = Some((least.min(first), greatest.max(last)));
    }
}
