//! Rows that do not fit into memory, on disk: runs sorted by key, and the parts that they are merged into again.
//!
//! A run has each of its keys once. Merged, the runs give the newest row of each key in the order of the keys: a part
//! at a time, each a range of keys with all rows of it. Where there are many runs, eight of a level become one of the
//! next: a row is written once for each level, of which there are few however large the source is. The files have no
//! names: they go with the process, however it ends.
//!
//! Where every version of a key counts, a key may have more of them than fit into a part. Then a part ends with the
//! version that the next one begins with, so that each version is seen beside the one after it.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::Rows;

use super::newest::{Newest, Reduction};
use super::order::Encoder;
use super::repeated::compact;

/// Runs of a level that become one of the next. At most one fewer of each level stay, each with a batch in memory.
const MERGED: usize = 8;
/// Bytes of a batch of a run, about.
const BATCH_BYTES: usize = 128 * 1024;

/// Sorted runs on disk.
pub(super) struct Runs {
    reduction: Reduction,
    /// Each with its level, the highest first.
    runs: Vec<(u32, File)>,
    /// Bytes that a part may take while runs are made one.
    part: usize,
}

impl Runs {
    pub(super) fn new(reduction: &Reduction, part: usize) -> Self {
        Self { reduction: reduction.clone(), runs: vec![], part }
    }

    /// Adds the rows of one reduction, as a run.
    pub(super) fn add(&mut self, newest: Newest) -> Result<(), ArrowError> {
        let mut run = RunWriter::new(&self.reduction)?;
        run.write(&newest)?;
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
        while let Some(newest) = merging.next(self.part)? {
            run.write(&newest)?;
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

    fn write(&mut self, newest: &Newest) -> Result<(), ArrowError> {
        for batch in newest.sorted_batches(BATCH_BYTES) {
            self.0.write(&batch?)?;
        }
        Ok(())
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
    schema: SchemaRef,
    cursors: Vec<Cursor>,
    carried: Option<Carried>,
}

impl Merging {
    fn of(reduction: &Reduction, files: impl Iterator<Item = File>) -> Result<Self, ArrowError> {
        let mut cursors = Vec::new();
        for file in files {
            cursors.extend(Cursor::open(reduction, file)?);
        }
        let (reduction, schema) = (reduction.clone(), reduction.with_deleted());
        Ok(Self { reduction, schema, cursors, carried: None })
    }

    /// The next part, of about `bytes`; none at the end.
    pub(super) fn next_part(&mut self, bytes: usize) -> Result<Option<Part>, ArrowError> {
        let mut newest = Newest::new(&self.reduction)?;
        let mut continues = false;
        if let Some(carried) = self.carried.take() {
            continues = carried.continues;
            newest.push(carried.rows, &BooleanArray::from(vec![carried.deleted]))?;
        }
        self.fill(&mut newest, bytes)?;
        let goes_on = self.reduction.versions && !self.cursors.is_empty();
        if goes_on && let Some((last, continues)) = newest.last_version() {
            let rows = newest.rows_of(&[last])?;
            self.carried = Some(Carried { rows, deleted: last.deleted, continues });
        }
        let part = Part { newest, continues, goes_on };
        Ok(Some(part).filter(|part| !part.newest.is_empty()))
    }

    /// The rows of the next keys, about `bytes` of them; none at the end.
    fn next(&mut self, bytes: usize) -> Result<Option<Newest>, ArrowError> {
        let mut newest = Newest::new(&self.reduction)?;
        self.fill(&mut newest, bytes)?;
        Ok(Some(newest).filter(|newest| !newest.is_empty()))
    }

    fn fill(&mut self, newest: &mut Newest, bytes: usize) -> Result<(), ArrowError> {
        while let Some(rows) = self.next_rows()? {
            let deleted = rows.column(rows.num_columns() - 1).as_boolean().clone();
            let columns: Vec<usize> = (0..rows.num_columns() - 1).collect();
            newest.push(rows.project(&columns)?, &deleted)?;
            if newest.memory() >= bytes {
                break;
            }
        }
        Ok(())
    }

    /// All rows of the next keys, whatever run they are in.
    fn next_rows(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        // Up to here every run is in memory.
        let Some(last) = self.cursors.iter().map(Cursor::last).min() else { return Ok(None) };
        let last: Box<[u8]> = last.into();
        let mut rows = Vec::new();
        for cursor in &mut self.cursors {
            rows.extend(cursor.take_to(&last)?);
        }
        self.cursors.retain(|cursor| !cursor.is_at_end());
        compact(concat_batches(&self.schema, &rows)?).map(Some)
    }
}

/// A run being read: the batch in memory, and where the rows begin that were not taken.
struct Cursor {
    reader: StreamReader<BufReader<File>>,
    encoder: Encoder,
    batch: RecordBatch,
    keys: Rows,
    at: usize,
}

impl Cursor {
    /// None: the run is empty.
    fn open(reduction: &Reduction, file: File) -> Result<Option<Self>, ArrowError> {
        let mut reader = StreamReader::try_new(BufReader::new(file), None)?;
        let encoder = Encoder::new(&reduction.schema, &reduction.identity())?;
        let Some(batch) = reader.next().transpose()? else { return Ok(None) };
        let keys = encoder.encode(&batch)?;
        Ok(Some(Self { reader, encoder, batch, keys, at: 0 }))
    }

    fn last(&self) -> &[u8] {
        let rows = self.keys.num_rows();
        self.keys.row(rows.saturating_sub(1)).data()
    }

    fn is_at_end(&self) -> bool {
        self.at == self.keys.num_rows()
    }

    /// Takes the rows with keys up to `last`, and reads on where none are left.
    fn take_to(&mut self, last: &[u8]) -> Result<Option<RecordBatch>, ArrowError> {
        let (from, mut to, mut end) = (self.at, self.at, self.keys.num_rows());
        while to < end {
            let middle = (to + end) / 2;
            match self.keys.row(middle).data() <= last {
                true => to = middle + 1,
                false => end = middle,
            }
        }
        if to == from {
            return Ok(None);
        }
        let rows = self.batch.slice(from, to - from);
        self.at = to;
        if self.is_at_end()
            && let Some(batch) = self.reader.next().transpose()?
        {
            self.keys = self.encoder.encode(&batch)?;
            (self.batch, self.at) = (batch, 0);
        }
        Ok(Some(rows))
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
