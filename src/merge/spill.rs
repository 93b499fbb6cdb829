//! Rows that do not fit into memory, on disk: runs sorted by key, and the parts that they are merged into again.
//!
//! A run has each of its keys once. Merged, the runs give the newest row of each key in the order of the keys: a part
//! at a time, each a range of keys with all rows of it. Where there are many runs, eight of a level become one of the
//! next: a row is written once for each level, of which there are few however large the source is. The files have no
//! names: they go with the process, however it ends.
//!
//! Where every version of a key counts, a key may have more of them than fit into a part. Then a part ends with the
//! version that the next one begins with, so that each version is seen beside the one after it.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::ops::Range;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::Rows;

use super::newest::{Newest, Reduction};
use super::order::Encoder;

/// Runs of a level that become one of the next. At most one fewer of each level stay, each with a batch in memory.
const MERGED: usize = 8;
/// Batches that the memory of a part would hold: runs that are read side by side have one each.
const BATCHES: usize = 64;
/// Bytes of a batch of a run, least and most.
const BATCH_BYTES: (usize, usize) = (64 * 1024, 1024 * 1024);

/// Sorted runs on disk.
pub(super) struct Runs {
    reduction: Reduction,
    /// Each with its level, the highest first.
    runs: Vec<(u32, File)>,
    /// Bytes of a batch, about.
    batch: usize,
}

impl Runs {
    /// None yet; parts of the runs, merged, are to take `part` bytes.
    pub(super) fn new(reduction: &Reduction, part: usize) -> Self {
        let (least, most) = BATCH_BYTES;
        let batch = (part / BATCHES).clamp(least, most);
        Self { reduction: reduction.clone(), runs: vec![], batch }
    }

    /// Adds the rows of one reduction, as a run.
    pub(super) fn add(&mut self, newest: Newest) -> Result<(), ArrowError> {
        let mut run = RunWriter::new(&self.reduction)?;
        for batch in newest.sorted_batches(self.batch) {
            run.write(&batch?)?;
        }
        // Runs that are made one take its memory.
        drop(newest);
        self.runs.push((0, run.finish()?));
        while let Some(level) = due(self.runs.iter().map(|(level, _)| *level)) {
            self.make_one(level + 1)?;
        }
        Ok(())
    }

    /// Makes the last runs one of this level.
    fn make_one(&mut self, level: u32) -> Result<(), ArrowError> {
        let last = self.runs.split_off(self.runs.len().saturating_sub(MERGED));
        let files = last.into_iter().map(|(_, file)| file);
        let mut merging = Merging::of(&self.reduction, files)?;
        let mut run = RunWriter::new(&self.reduction)?;
        while let Some(rows) = merging.next_rows()? {
            run.write(&rows)?;
        }
        self.runs.push((level, run.finish()?));
        Ok(())
    }

    /// Reads them back.
    pub(super) fn merged(self) -> Result<Merging, ArrowError> {
        Merging::of(&self.reduction, self.runs.into_iter().map(|(_, file)| file))
    }
}

/// The level of the last runs, where they are to become one.
fn due(levels: impl DoubleEndedIterator<Item = u32>) -> Option<u32> {
    let mut last = levels.rev().take(MERGED);
    let level = last.next()?;
    (last.filter(|other| *other == level).count() == MERGED - 1).then_some(level)
}

/// A run being written.
struct RunWriter(StreamWriter<BufWriter<File>>);

impl RunWriter {
    fn new(reduction: &Reduction) -> Result<Self, ArrowError> {
        let file = BufWriter::new(tempfile::tempfile()?);
        StreamWriter::try_new(file, &reduction.with_deleted()).map(Self)
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.0.write(batch)
    }

    fn finish(mut self) -> Result<File, ArrowError> {
        self.0.finish()?;
        let mut file = self.0.into_inner()?;
        file.flush()?;
        let mut file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

/// The newest rows, or the versions, of a range of keys.
pub(super) struct Part {
    pub(super) newest: Newest,
    /// Whether its first version is also the last of the part before, which has another version of that key.
    pub(super) continues: bool,
    /// Whether its last version is also the first of the next part, which decides about it.
    pub(super) goes_on: bool,
}

impl Part {
    /// All of a source.
    pub(super) fn whole(newest: Newest) -> Self {
        Self { newest, continues: false, goes_on: false }
    }
}

/// The last version of a part, for the next one.
struct Carried {
    rows: RecordBatch,
    deleted: bool,
    continues: bool,
}

/// Runs that are read side by side.
pub(super) struct Merging {
    reduction: Reduction,
    cursors: Vec<Cursor>,
    carried: Option<Carried>,
}

impl Merging {
    fn of(reduction: &Reduction, files: impl Iterator<Item = File>) -> Result<Self, ArrowError> {
        let mut cursors = Vec::new();
        for file in files {
            cursors.extend(Cursor::open(reduction, file)?);
        }
        Ok(Self { reduction: reduction.clone(), cursors, carried: None })
    }

    /// The next part, of about `bytes`; none at the end.
    pub(super) fn next_part(&mut self, bytes: usize) -> Result<Option<Part>, ArrowError> {
        let mut newest = Newest::new(&self.reduction)?;
        let mut continues = false;
        if let Some(carried) = self.carried.take() {
            continues = carried.continues;
            newest.push(carried.rows, &BooleanArray::from(vec![carried.deleted]))?;
        }
        while let Some(rows) = self.next_rows()? {
            let (rows, deleted) = apart(&rows)?;
            newest.push(rows, &deleted)?;
            if newest.memory() >= bytes {
                break;
            }
        }
        let goes_on = self.reduction.versions && !self.cursors.is_empty();
        if goes_on && let Some((last, continues)) = newest.last_version() {
            let rows = newest.rows_of(&[last])?;
            self.carried = Some(Carried { rows, deleted: last.deleted, continues });
        }
        let part = Part { newest, continues, goes_on };
        Ok(Some(part).filter(|part| !part.newest.is_empty()))
    }

    /// The newest rows, or the versions, of the next keys, sorted by key; none at the end. The last column says which
    /// rows delete.
    pub(super) fn next_rows(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        // Up to here every run is in memory.
        let Some(last) = self.cursors.iter().map(Cursor::last).min() else { return Ok(None) };
        let last: Box<[u8]> = last.into();
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for (index, cursor) in self.cursors.iter_mut().enumerate() {
            rows.extend(cursor.take_to(&last).map(|row| (index, row)));
        }
        let key = |(cursor, row): &(usize, usize)| self.cursors[*cursor].keys.row(*row).data();
        // The rows of each run are sorted already, which this sort makes use of.
        rows.sort_by(|a, b| key(a).cmp(key(b)));
        let mut newest: Vec<(usize, usize)> = Vec::with_capacity(rows.len());
        for same in rows.chunk_by(|a, b| key(a) == key(b)) {
            newest.extend(self.newest_of(same)?);
        }
        let batches: Vec<&RecordBatch> = self.cursors.iter().map(|c| &c.batch).collect();
        let rows = interleave_record_batch(&batches, &newest)?;
        for cursor in &mut self.cursors {
            cursor.read_on()?;
        }
        self.cursors.retain(|cursor| !cursor.is_at_end());
        Ok(Some(rows))
    }

    /// The newest of the rows of one key, of several runs.
    fn newest_of(&self, same: &[(usize, usize)]) -> Result<Option<(usize, usize)>, ArrowError> {
        let [first, others @ ..] = same else { return Ok(None) };
        let mut newest = *first;
        for other in others {
            let order = |(cursor, row): (usize, usize)| {
                self.cursors[cursor].orders().map(|orders| orders.row(row))
            };
            if order(*other)? > order(newest)? {
                newest = *other;
            }
        }
        Ok(Some(newest))
    }
}

/// Rows without their last column, and that: whether they delete.
pub(super) fn apart(rows: &RecordBatch) -> Result<(RecordBatch, BooleanArray), ArrowError> {
    let last = rows.num_columns().saturating_sub(1);
    let columns: Vec<usize> = (0..last).collect();
    Ok((rows.project(&columns)?, rows.column(last).as_boolean().clone()))
}

/// A run being read: the batch in memory, and where the rows begin that were not taken.
struct Cursor {
    reader: StreamReader<BufReader<File>>,
    key: Encoder,
    order: Encoder,
    batch: RecordBatch,
    keys: Rows,
    /// Where a key of the batch is in another run, too.
    orders: OnceCell<Rows>,
    at: usize,
}

impl Cursor {
    /// None: the run is empty.
    fn open(reduction: &Reduction, file: File) -> Result<Option<Self>, ArrowError> {
        let mut reader = StreamReader::try_new(BufReader::new(file), None)?;
        let key = Encoder::new(&reduction.schema, &reduction.identity())?;
        let order = Encoder::new(&reduction.schema, &reduction.order)?;
        let Some(batch) = reader.next().transpose()? else { return Ok(None) };
        let keys = key.encode(&batch)?;
        Ok(Some(Self { reader, key, order, batch, keys, orders: OnceCell::new(), at: 0 }))
    }

    fn last(&self) -> &[u8] {
        let rows = self.keys.num_rows();
        self.keys.row(rows.saturating_sub(1)).data()
    }

    fn orders(&self) -> Result<&Rows, ArrowError> {
        if let Some(orders) = self.orders.get() {
            return Ok(orders);
        }
        let orders = self.order.encode(&self.batch)?;
        Ok(self.orders.get_or_init(|| orders))
    }

    fn is_at_end(&self) -> bool {
        self.at == self.keys.num_rows()
    }

    /// Takes the rows with keys up to `last`.
    fn take_to(&mut self, last: &[u8]) -> Range<usize> {
        let (from, mut to, mut end) = (self.at, self.at, self.keys.num_rows());
        while to < end {
            let middle = (to + end) / 2;
            match self.keys.row(middle).data() <= last {
                true => to = middle + 1,
                false => end = middle,
            }
        }
        self.at = to;
        from..to
    }

    /// Reads the next batch, where no rows of this one are left.
    fn read_on(&mut self) -> Result<(), ArrowError> {
        if self.is_at_end()
            && let Some(batch) = self.reader.next().transpose()?
        {
            self.keys = self.key.encode(&batch)?;
            (self.batch, self.orders, self.at) = (batch, OnceCell::new(), 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many runs come: few stay, and a row is written once for each level.
    #[test]
    fn runs_stay_few_and_a_row_is_written_few_times() {
        const RUNS: u64 = 5_000;
        // Each with the runs that are in it.
        let (mut runs, mut written): (Vec<(u32, u64)>, u64) = (vec![], 0);
        for _ in 0..RUNS {
            runs.push((0, 1));
            written += 1;
            while let Some(level) = due(runs.iter().map(|(level, _)| *level)) {
                let size: u64 = runs.drain(runs.len() - MERGED..).map(|(_, size)| size).sum();
                runs.push((level + 1, size));
                written += size;
            }
            assert!(runs.len() <= 5 * (MERGED - 1), "{runs:?}");
        }
        assert_eq!(runs.iter().map(|(_, size)| size).sum::<u64>(), RUNS);
        assert!(written <= 5 * RUNS, "{written}");
    }
}
