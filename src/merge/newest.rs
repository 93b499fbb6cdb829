//! The newest row of each key among the rows that are pushed: a reduction whose result does not depend on
//! their order (I5).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{
    SortOptions, concat, interleave_record_batch, sort_to_indices, take, take_record_batch,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::NullKeys;
use super::order::Encoder;
use crate::lake::read::scan::Bounds;

/// The newest row of one key.
#[derive(Debug)]
pub struct Winner {
    /// Its order, as comparable bytes.
    pub order: Box<[u8]>,
    /// Whether it deletes the key.
    pub deleted: bool,
    batch: u32,
    row: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Newest {
    schema: SchemaRef,
    keys: Encoder,
    key_columns: Vec<String>,
    order: Encoder,
    null_keys: NullKeys,
    by_key: HashMap<Box<[u8]>, Winner>,
    batches: Vec<RecordBatch>,
    held_rows: usize,
    /// Rows that were pushed.
    pub rows: u64,
    /// Rows skipped because of a null in their key.
    pub null_key_rows: u64,
    /// Rows that were not pushed, because a cell of their key or order was rescued.
    pub misfit_rows: u64,
}

/// Rows that may be held beyond twice the winners before losers are dropped.
const SLACK: usize = 64 * 1024;
/// Small batches that may be held before they are made into larger ones.
const MOST_BATCHES: usize = 1_024;
/// Rows of a batch of winners: a string column of one batch has to stay below 2 GiB.
const KEPT_ROWS: usize = 8 * 1024;

impl Newest {
    /// For rows of this schema.
    pub fn new(
        schema: &SchemaRef,
        keys: &[String],
        order: &[String],
        null_keys: NullKeys,
    ) -> Result<Self, ArrowError> {
        Ok(Self {
            schema: schema.clone(),
            keys: Encoder::new(schema, keys)?,
            key_columns: keys.to_vec(),
            order: Encoder::new(schema, order)?,
            null_keys,
            by_key: HashMap::new(),
            batches: vec![],
            held_rows: 0,
            rows: 0,
            null_key_rows: 0,
            misfit_rows: 0,
        })
    }

    /// Adds rows. `deleted` says which of them delete their key. Keys outside `share` are skipped.
    pub fn push(
        &mut self,
        batch: RecordBatch,
        deleted: &BooleanArray,
        share: Share,
    ) -> Result<(), ArrowError> {
        let (keys, orders) = (self.keys.encode(&batch)?, self.order.encode(&batch)?);
        let nulls = match self.null_keys {
            NullKeys::Skip => self.keys.has_null(&batch)?,
            NullKeys::Equal => vec![],
        };
        let index = self.batches.len() as u32;
        // The rows that are held: those that were newest when they came.
        let mut won: Vec<u32> = Vec::new();
        for row in 0..batch.num_rows() {
            let key = keys.row(row);
            if !share.holds(key.as_ref()) {
                continue;
            }
            self.rows += 1;
            if nulls.get(row).copied().unwrap_or(false) {
                self.null_key_rows += 1;
                continue;
            }
            let order = orders.row(row);
            let winner = || Winner {
                order: order.as_ref().into(),
                deleted: deleted.value(row),
                batch: index,
                row: won.len() as u32,
            };
            match self.by_key.entry(key.as_ref().into()) {
                Entry::Vacant(entry) => drop(entry.insert(winner())),
                Entry::Occupied(mut entry) if order.as_ref() > &*entry.get().order => {
                    entry.insert(winner());
                }
                Entry::Occupied(_) => continue,
            }
            won.push(row as u32);
        }
        self.hold(batch, won)?;
        let crowded = self.batches.len() > self.by_key.len() / KEPT_ROWS + MOST_BATCHES;
        if crowded || self.held_rows > 2 * self.by_key.len() + SLACK {
            self.drop_losers()?;
        }
        Ok(())
    }

    /// Keeps some rows of a batch, without the others in memory (I7).
    fn hold(&mut self, batch: RecordBatch, rows: Vec<u32>) -> Result<(), ArrowError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.held_rows += rows.len();
        self.batches.push(match rows.len() == batch.num_rows() {
            true => batch,
            false => take_record_batch(&batch, &UInt32Array::from(rows))?,
        });
        Ok(())
    }

    /// Keeps only the winners' rows, in batches of bounded size.
    fn drop_losers(&mut self) -> Result<(), ArrowError> {
        let mut winners: Vec<(u32, u32)> = self.by_key.values().map(|w| (w.batch, w.row)).collect();
        winners.sort_unstable();
        let kept = winners
            .chunks(KEPT_ROWS)
            .map(|share| self.gather(share))
            .collect::<Result<Vec<_>, _>>()?;
        for winner in self.by_key.values_mut() {
            if let Ok(index) = winners.binary_search(&(winner.batch, winner.row)) {
                (winner.batch, winner.row) =
                    ((index / KEPT_ROWS) as u32, (index % KEPT_ROWS) as u32);
            }
        }
        self.held_rows = winners.len();
        self.batches = kept;
        Ok(())
    }

    fn gather(&self, rows: &[(u32, u32)]) -> Result<RecordBatch, ArrowError> {
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows: Vec<(usize, usize)> =
            rows.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        interleave_record_batch(&batches, &rows)
    }

    /// The winner of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Winner> {
        self.by_key.get(key)
    }

    /// All winners, sorted by key.
    pub fn sorted(&self) -> Vec<(&[u8], &Winner)> {
        let mut all: Vec<_> = self.by_key.iter().map(|(key, winner)| (&**key, winner)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(b.0));
        all
    }

    /// The rows of winners, in the order given.
    pub fn rows_of(&self, winners: &[&Winner]) -> Result<RecordBatch, ArrowError> {
        let rows: Vec<_> = winners.iter().map(|w| (w.batch, w.row)).collect();
        self.gather(&rows)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The least and greatest value of each key column, where none is null.
    pub fn bounds(&mut self) -> Result<Vec<Bounds>, ArrowError> {
        if self.is_empty() {
            return Ok(vec![]);
        }
        if self.held_rows > self.by_key.len() {
            self.drop_losers()?;
        }
        let mut bounds = Vec::new();
        for name in &self.key_columns {
            let columns: Vec<&ArrayRef> =
                self.batches.iter().filter_map(|batch| batch.column_by_name(name)).collect();
            if columns.is_empty() || columns.iter().any(|column| column.null_count() > 0) {
                continue;
            }
            let least = extreme(&columns, false)?;
            let greatest = extreme(&columns, true)?;
            bounds.push(Bounds { column: name.clone(), least, greatest });
        }
        Ok(bounds)
    }
}

/// The least, or the greatest, value of a column in several parts.
fn extreme(columns: &[&ArrayRef], greatest: bool) -> Result<ArrayRef, ArrowError> {
    let first = |values: &ArrayRef| -> Result<ArrayRef, ArrowError> {
        let options = SortOptions { descending: greatest, nulls_first: false };
        let index: UInt32Array = sort_to_indices(values, Some(options), Some(1))?;
        take(values, &index, None)
    };
    let of_each = columns.iter().map(|column| first(column)).collect::<Result<Vec<_>, _>>()?;
    let of_each: Vec<&dyn Array> = of_each.iter().map(AsRef::as_ref).collect();
    first(&concat(&of_each)?)
}

/// A share of all keys, by hash: a total too large for memory is merged in passes (I7).
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// This pass, from 0.
    pub index: u64,
    /// All passes.
    pub of: u64,
}

impl Share {
    /// Everything in one pass.
    pub const ALL: Self = Self { index: 0, of: 1 };

    fn holds(self, key: &[u8]) -> bool {
        if self.of <= 1 {
            return true;
        }
        // FNV-1a: it has to be the same in every pass, and nothing more.
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash % self.of == self.index
    }
}
