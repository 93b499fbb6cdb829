//! The newest row of each key among the rows that are pushed, or each version of it once: a reduction whose result does
//! not depend on their order (I5).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{
    SortOptions, concat, interleave_record_batch, sort_to_indices, take, take_record_batch,
};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::order::Encoder;
use super::repeated::Repeated;
use super::{History, MergeRules, NullKeys};
use crate::lake::read::scan::Bounds;
use crate::sql::select::DELETED;

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

/// Which rows are reduced, and by what.
#[derive(Debug, Clone)]
pub struct Reduction {
    /// The schema of the rows.
    pub schema: SchemaRef,
    /// The columns that make a key.
    pub keys: Vec<String>,
    /// The columns that say which row is newer.
    pub order: Vec<String>,
    /// See [`NullKeys`].
    pub null_keys: NullKeys,
    /// Whether each version of a key is held once, not only the newest: rows of one key that differ in their order.
    pub versions: bool,
    /// The columns whose texts many rows have: each text is held once.
    pub repeated: Vec<String>,
}

impl Reduction {
    /// By the rules of a merge, of rows of this schema.
    pub(super) fn of(rules: &MergeRules, schema: &SchemaRef) -> Self {
        let repeats = |name: &&String| {
            let field = schema.field_with_name(name);
            !rules.keys.contains(name) && field.is_ok_and(|f| *f.data_type() == DataType::Utf8)
        };
        Self {
            schema: schema.clone(),
            keys: rules.keys.clone(),
            order: rules.order.clone(),
            null_keys: rules.null_keys,
            versions: rules.history == History::Scd2,
            repeated: rules.repeated.iter().filter(repeats).cloned().collect(),
        }
    }

    /// The columns of which each value is held once.
    pub(super) fn identity(&self) -> Vec<String> {
        let mut identity = self.keys.clone();
        if self.versions {
            identity.extend(self.order.iter().cloned());
        }
        identity
    }

    /// The schema with a last column that says which rows delete their key.
    pub(super) fn with_deleted(&self) -> SchemaRef {
        let mut fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, false)));
        Arc::new(Schema::new(fields))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Newest {
    schema: SchemaRef,
    schema_with_deleted: SchemaRef,
    /// That of the batches: numbers in place of repeated texts.
    held: SchemaRef,
    /// The texts of repeated columns, by the index of the column.
    texts: Vec<(usize, Repeated)>,
    keys: Encoder,
    key_columns: Vec<String>,
    order: Encoder,
    null_keys: NullKeys,
    versions: bool,
    /// By the bytes of the identity: of the key, or of key and order.
    by_key: HashMap<Box<[u8]>, Winner, ahash::RandomState>,
    batches: Vec<RecordBatch>,
    held_rows: usize,
    /// Bytes of the batches.
    held_bytes: usize,
    /// Bytes of keys, as often as a merge may copy them, and of orders.
    key_bytes: usize,
    /// Rows that were pushed.
    pub rows: u64,
    /// Rows skipped because of a null in their key.
    pub null_key_rows: u64,
}

/// What a merge holds of a row beside its key, its order and its columns, in bytes: the entries of maps and lists, and
/// what the allocator adds.
const WINNER: usize = 256;
/// Rows that may be held beyond twice the winners before losers are dropped.
const SLACK: usize = 64 * 1024;
/// Small batches that may be held before they are made into larger ones.
const MOST_BATCHES: usize = 1_024;
/// Rows of a batch of winners: a string column of one batch has to stay below 2 GiB.
const KEPT_ROWS: usize = 8 * 1024;

impl Newest {
    /// No rows yet.
    pub fn new(reduction: &Reduction) -> Result<Self, ArrowError> {
        let Reduction { schema, keys, order, null_keys, versions, repeated } = reduction;
        let texts: Vec<_> = repeated
            .iter()
            .map(|name| Ok((schema.index_of(name)?, Repeated::default())))
            .collect::<Result<_, ArrowError>>()?;
        let held = |(index, field): (usize, &FieldRef)| match texts.iter().any(|t| t.0 == index) {
            true => Arc::new(field.as_ref().clone().with_data_type(DataType::Int32)),
            false => field.clone(),
        };
        let held = schema.fields().iter().enumerate().map(held).collect::<Vec<_>>();
        Ok(Self {
            schema: schema.clone(),
            held: Arc::new(Schema::new(held)),
            texts,
            schema_with_deleted: reduction.with_deleted(),
            keys: Encoder::new(schema, keys)?,
            key_columns: keys.clone(),
            order: Encoder::new(schema, order)?,
            null_keys: *null_keys,
            versions: *versions,
            by_key: HashMap::default(),
            batches: vec![],
            held_rows: 0,
            held_bytes: 0,
            key_bytes: 0,
            rows: 0,
            null_key_rows: 0,
        })
    }

    /// Adds rows. `deleted` says which of them delete their key.
    pub fn push(&mut self, batch: RecordBatch, deleted: &BooleanArray) -> Result<(), ArrowError> {
        let (keys, orders) = (self.keys.encode(&batch)?, self.order.encode(&batch)?);
        let nulls = match self.null_keys {
            NullKeys::Skip => self.keys.has_null(&batch)?,
            NullKeys::Equal => vec![],
        };
        let (index, copies) = (self.batches.len() as u32, self.copies());
        // The rows that are held: those that were newest when they came.
        let mut won: Vec<u32> = Vec::new();
        for row in 0..batch.num_rows() {
            self.rows += 1;
            if nulls.get(row).copied().unwrap_or(false) {
                self.null_key_rows += 1;
                continue;
            }
            let (key, order) = (keys.row(row).data(), orders.row(row).data());
            let identity = if self.versions { [key, order].concat().into() } else { key.into() };
            let winner = || Winner {
                order: order.into(),
                deleted: deleted.value(row),
                batch: index,
                row: won.len() as u32,
            };
            match self.by_key.entry(identity) {
                Entry::Vacant(entry) => {
                    self.key_bytes += copies * entry.key().len() + order.len();
                    entry.insert(winner());
                }
                Entry::Occupied(mut entry) if order > &*entry.get().order => {
                    let before = entry.insert(winner());
                    self.key_bytes += order.len();
                    self.key_bytes -= before.order.len();
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
        let held = match rows.len() == batch.num_rows() {
            true => batch,
            false => take_record_batch(&batch, &UInt32Array::from(rows))?,
        };
        let mut columns = held.columns().to_vec();
        for (index, texts) in &mut self.texts {
            columns[*index] = Arc::new(texts.numbers(columns[*index].as_string::<i32>()));
        }
        let held = RecordBatch::try_new(self.held.clone(), columns)?;
        self.held_bytes += held.get_array_memory_size();
        self.batches.push(held);
        Ok(())
    }

    /// How often a merge may hold a key: those that it finds, too. Of a version, the orders of its neighbours.
    fn copies(&self) -> usize {
        if self.versions { 4 } else { 2 }
    }

    /// About how many bytes it takes, with what a merge holds of each row beside it.
    pub fn memory(&self) -> usize {
        let texts: usize = self.texts.iter().map(|(_, texts)| texts.memory()).sum();
        self.held_bytes + texts + self.key_bytes + self.by_key.len() * WINNER * self.copies() / 2
    }

    /// Whether it takes `bytes`, without most of the rows that lost.
    pub fn is_full(&mut self, bytes: usize) -> Result<bool, ArrowError> {
        if self.memory() < bytes {
            return Ok(false);
        }
        // For a moment the rows that stay are in memory twice.
        if self.held_rows > 2 * self.by_key.len() {
            self.drop_losers()?;
        }
        // With a little left it would be full again at once.
        Ok(self.memory() >= bytes / 4 * 3)
    }

    /// Keeps only the winners' rows, in batches of bounded size.
    fn drop_losers(&mut self) -> Result<(), ArrowError> {
        let mut winners: Vec<(u32, u32)> = self.by_key.values().map(|w| (w.batch, w.row)).collect();
        winners.sort_unstable();
        let kept = winners
            .chunks(KEPT_ROWS)
            .map(|share| self.gather_held(share))
            .collect::<Result<Vec<_>, _>>()?;
        let kept = self.forget_texts(kept)?;
        for winner in self.by_key.values_mut() {
            if let Ok(index) = winners.binary_search(&(winner.batch, winner.row)) {
                (winner.batch, winner.row) =
                    ((index / KEPT_ROWS) as u32, (index % KEPT_ROWS) as u32);
            }
        }
        self.held_rows = winners.len();
        self.held_bytes = kept.iter().map(RecordBatch::get_array_memory_size).sum();
        self.batches = kept;
        Ok(())
    }

    /// Leaves out the texts that no row has any more.
    fn forget_texts(&mut self, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut columns: Vec<Vec<ArrayRef>> =
            batches.iter().map(|batch| batch.columns().to_vec()).collect();
        for (index, texts) in &mut self.texts {
            let numbers: Vec<_> =
                batches.iter().map(|b| b.column(*index).as_primitive::<Int32Type>()).collect();
            for (columns, numbers) in columns.iter_mut().zip(texts.keep(&numbers)) {
                columns[*index] = Arc::new(numbers);
            }
        }
        let batch = |columns| RecordBatch::try_new(self.held.clone(), columns);
        columns.into_iter().map(batch).collect()
    }

    fn gather(&self, rows: &[(u32, u32)]) -> Result<RecordBatch, ArrowError> {
        let held = self.gather_held(rows)?;
        let mut columns = held.columns().to_vec();
        for (index, texts) in &self.texts {
            columns[*index] = texts.texts(columns[*index].as_primitive::<Int32Type>())?;
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    fn gather_held(&self, rows: &[(u32, u32)]) -> Result<RecordBatch, ArrowError> {
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(self.held.clone()));
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

    /// All versions, sorted by key and order, each with its key. The bytes of its identity end with those of its order.
    pub(super) fn sorted_versions(&self) -> Vec<(&[u8], &Winner)> {
        let all = self.sorted().into_iter();
        all.map(|(identity, winner)| (key_of(identity, winner), winner)).collect()
    }

    /// The last version, where there is one; and whether its key has another.
    pub(super) fn last_version(&self) -> Option<(&Winner, bool)> {
        let (identity, last) = self.by_key.iter().max_by(|a, b| a.0.cmp(b.0))?;
        let key = key_of(identity, last);
        let of_key = self.by_key.iter().filter(|(other, winner)| key_of(other, winner) == key);
        Some((last, of_key.take(2).count() > 1))
    }

    /// The rows of winners, in the order given.
    pub fn rows_of(&self, winners: &[&Winner]) -> Result<RecordBatch, ArrowError> {
        let rows: Vec<_> = winners.iter().map(|w| (w.batch, w.row)).collect();
        self.gather(&rows)
    }

    /// The winners sorted by key, a batch of about `bytes` at a time, each row with whether it deletes its key.
    pub(super) fn sorted_batches(
        &self,
        bytes: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        let texts: usize = self.texts.iter().map(|(_, texts)| texts.mean()).sum();
        let row = self.held_bytes / self.held_rows.max(1) + texts;
        let rows = (bytes / row.max(1)).clamp(1, KEPT_ROWS);
        let winners: Vec<&Winner> = self.sorted().into_iter().map(|(_, winner)| winner).collect();
        let batches = winners.len().div_ceil(rows);
        (0..batches).map(move |batch| {
            let some = &winners[batch * rows..winners.len().min((batch + 1) * rows)];
            let mut columns = self.rows_of(some)?.columns().to_vec();
            let deleted: BooleanArray = some.iter().map(|winner| Some(winner.deleted)).collect();
            columns.push(Arc::new(deleted));
            RecordBatch::try_new(self.schema_with_deleted.clone(), columns)
        })
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
            let least = Some(extreme(&columns, false)?);
            let greatest = Some(extreme(&columns, true)?);
            bounds.push(Bounds { column: name.clone(), least, greatest });
        }
        Ok(bounds)
    }
}

/// The key in the identity of a version.
fn key_of<'a>(identity: &'a [u8], version: &Winner) -> &'a [u8] {
    &identity[..identity.len() - version.order.len()]
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
