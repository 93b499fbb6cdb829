//! The table of refused rows: what a merge changes in it.
//!
//! The rows are read a second time, and only where one of them is refused: then with all columns of bronze. What is in
//! quarantine is compared by what identifies a row of bronze for ever, so a row is in it once, however often it is
//! merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::judge::{SQL, judge};
use super::known::{CONTENT, IDENTITY, Known, Standing, prints};
use super::output::arrow_error;
use super::{MergeError, MergeTask};
use crate::lake::read::arrow::conform;
use crate::lake::read::scan::FileTask;
use crate::lake::write::data::DataWriter;
use crate::lake::write::filtered::{Filtered, Staying};
use crate::lake::{Lake, LakeError, Removed, Table, Uncommitted};
use crate::sql::SqlError;
use crate::sql::select::SOURCE;
use crate::sql::tolerant::{FailedRow, SetAside};

/// The columns of quarantine that always have bounds.
pub const BOUNDS: [&str; 2] = ["_event_time", "_source_uri"];

/// Which rows of the source are compared with quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that are refused: the others are new.
    #[default]
    New,
    /// All: some were judged before.
    All,
    /// Those that these files of quarantine hold, and that this rule refused: no other row is merged.
    Quarantined {
        /// The files, by path.
        files: BTreeSet<String>,
        /// The rule; none: whichever it was.
        rule: Option<String>,
    },
}

/// What a merge changes in quarantine.
#[derive(Debug)]
pub struct Quarantined {
    /// Its state.
    pub table: Table,
    /// Files written.
    pub add: Uncommitted,
    /// What they replace.
    pub removed: Removed,
    /// Rows that come, by rule.
    pub refused: BTreeMap<String, u64>,
    /// Rows that were there, and are written again: with another reason, or another content.
    pub changed: u64,
    /// Rows that go, those that are written again among them; none are counted where all of it is replaced.
    pub gone: u64,
}

impl Quarantined {
    /// Rows that come.
    pub fn came(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// The table's schema.
pub(super) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let time = |name: &str| {
        Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), true)
    };
    let [rule, reason, row] = CONTENT.map(text);
    let [uri, version, _, _] = IDENTITY.map(text);
    Arc::new(Schema::new(vec![
        rule,
        reason,
        text("key"),
        row,
        uri,
        version,
        number(IDENTITY[3]),
        time(IDENTITY[2]),
        number("bronze_snapshot"),
        time("quarantined_at"),
    ]))
}

/// Writes refused rows.
pub(super) struct QuarantineWriter<'a> {
    lake: &'a Lake,
    task: &'a MergeTask,
    table: Table,
    writer: DataWriter,
    /// The files of quarantine that rows are compared with.
    files: Vec<FileTask>,
    known: Known,
    refused: BTreeMap<String, u64>,
    changed: u64,
}

impl<'a> QuarantineWriter<'a> {
    /// Writes to a state of the table, of which these rows in these files are known.
    pub(super) fn open(
        lake: &'a Lake,
        task: &'a MergeTask,
        table: Table,
        (files, known): (Vec<FileTask>, Known),
    ) -> Result<Self, MergeError> {
        let bounds = BOUNDS.map(str::to_owned);
        let writer = DataWriter::new(lake, &table, table.schema())?.with_bounds_on(&bounds);
        let (refused, changed) = (BTreeMap::new(), 0);
        Ok(Self { lake, task, table, writer, files, known, refused, changed })
    }

    /// Reads the rows again, with their row of bronze.
    pub(super) async fn read(
        &mut self,
        mut rows: SendableRecordBatchStream,
        aside: &SetAside,
    ) -> Result<(), MergeError> {
        let failed =
            |e| SqlError::of(&format!("silver table {}: its SQL", self.task.rules.table), e);
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            self.judged(&batch).await?;
            self.failed(aside.take()).await?;
        }
        self.failed(aside.take()).await
    }

    async fn judged(&mut self, batch: &RecordBatch) -> Result<(), MergeError> {
        let expectations = self.task.rules.rows.expectations();
        let judged = judge(batch, expectations);
        if self.task.compares() {
            for (row, print) in prints(batch, SOURCE).into_iter().enumerate() {
                if let (Some(print), false) = (print, judged.refused.contains_key(&row)) {
                    self.known.passed(&print);
                }
            }
        }
        if judged.refused.is_empty() {
            return Ok(());
        }
        let refused: UInt32Array = judged.refused.keys().map(|row| Some(*row as u32)).collect();
        let arrow = |e| arrow_error(&self.task.rules, e);
        let rows = take_record_batch(batch, &refused).map_err(arrow)?;
        let said = judged.refused.values().map(|refusal| refusal.said(expectations)).collect();
        let bronze = columns(&rows, &self.bronze_columns(), SOURCE).map_err(arrow)?;
        let keys = columns(&rows, &self.task.rules.keys, "").map_err(arrow)?;
        self.write(said, bronze, keys).await
    }

    async fn failed(&mut self, failed: Vec<FailedRow>) -> Result<(), MergeError> {
        let Some(first) = failed.first() else { return Ok(()) };
        let arrow = |e| arrow_error(&self.task.rules, e);
        let rows = concat_batches(&first.row.schema(), failed.iter().map(|failed| &failed.row));
        let rows = rows.map_err(arrow)?;
        let said = failed.into_iter().map(|failed| (SQL.to_owned(), failed.why)).collect();
        let bronze = columns(&rows, &self.bronze_columns(), "").map_err(arrow)?;
        let keys = columns(&rows, &self.task.rules.keys, "").map_err(arrow)?;
        self.write(said, bronze, keys).await
    }

    fn bronze_columns(&self) -> Vec<String> {
        self.task.source.schema().column_names()
    }

    /// Writes rows of bronze, each with its rule and reason, unless they are there.
    async fn write(
        &mut self,
        said: Vec<(String, String)>,
        bronze: RecordBatch,
        keys: RecordBatch,
    ) -> Result<(), MergeError> {
        let rules = &self.task.rules;
        let arrow = |e| arrow_error(rules, e);
        let texts = lines(&bronze, false).map_err(arrow)?;
        let keys = lines(&keys, true).map_err(arrow)?;
        let only = matches!(self.task.quarantine_scope, Scope::Quarantined { .. });
        let mut coming: Vec<u32> = Vec::new();
        for (row, print) in prints(&bronze, "").into_iter().enumerate() {
            let (rule, reason) = &said[row];
            let said = [Some(rule.as_str()), Some(reason.as_str()), texts[row].as_deref()];
            match self.known.refused(print, said) {
                Standing::Same => continue,
                Standing::New if only => continue,
                Standing::New => *self.refused.entry(rule.clone()).or_default() += 1,
                Standing::Changed => self.changed += 1,
            }
            coming.push(row as u32);
        }
        if coming.is_empty() {
            return Ok(());
        }
        let pick = |of: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
            Arc::new(coming.iter().map(|row| of(*row as usize)).collect::<StringArray>())
        };
        let now = self.lake.ambient().now().timestamp_micros();
        let times = TimestampMicrosecondArray::from(vec![now; coming.len()]);
        let snapshot = self.task.source_snapshot.map(|id| id.0);
        let mut written: Vec<(&str, ArrayRef)> = vec![
            (CONTENT[0], pick(&|row| Some(said[row].0.clone()))),
            (CONTENT[1], pick(&|row| Some(said[row].1.clone()))),
            (CONTENT[2], pick(&|row| texts[row].clone())),
            ("key", pick(&|row| keys[row].clone())),
            ("bronze_snapshot", Arc::new(Int64Array::from(vec![snapshot; coming.len()]))),
            ("quarantined_at", Arc::new(times.with_timezone("+00:00"))),
        ];
        let coming = UInt32Array::from(coming);
        let identity = columns(&bronze, &IDENTITY.map(str::to_owned), "").map_err(arrow)?;
        let identity = take_record_batch(&identity, &coming).map_err(arrow)?;
        let fields = identity.schema();
        written.extend(
            fields.fields().iter().map(|f| f.name().as_str()).zip(identity.columns().to_vec()),
        );
        let written = written.into_iter().map(|(name, values)| (name, values, true));
        let rows = RecordBatch::try_from_iter_with_nullable(written).map_err(arrow)?;
        let rows = conform(self.table.name(), rows, self.table.schema().arrow())?;
        Ok(self.writer.write(&rows).await?)
    }

    /// What changes; none where nothing does.
    pub(super) async fn close(self) -> Result<Option<Quarantined>, MergeError> {
        let Self { lake, task, table, writer, files, known, refused, changed } = self;
        let mut add = writer.close().await?;
        if task.from_nothing {
            return Ok(Some(replaced(table, add, refused)));
        }
        let going = known.going();
        let (mut gone, mut removed) = (0, BTreeSet::new());
        if !going.is_empty() {
            let rest = without(lake, &table, files, &going).await?;
            gone = rest.gone;
            removed = rest.removed;
            add.extend(rest.files);
        }
        let changes = gone > 0 || !refused.is_empty();
        let removed = Removed::Files(removed);
        Ok(changes.then_some(Quarantined { table, add, removed, refused, changed, gone }))
    }
}

/// All of quarantine is replaced.
pub(super) fn replaced(
    table: Table,
    add: Uncommitted,
    refused: BTreeMap<String, u64>,
) -> Quarantined {
    Quarantined { table, add, removed: Removed::All, refused, changed: 0, gone: 0 }
}

/// Files of quarantine again, without these rows.
async fn without(
    lake: &Lake,
    table: &Table,
    files: Vec<FileTask>,
    going: &Known,
) -> Result<Filtered, LakeError> {
    let stays = |batch: &RecordBatch| -> BooleanArray {
        going.among(batch, "").iter().map(|goes| goes.map(|goes| !goes)).collect()
    };
    let bounds = BOUNDS.map(str::to_owned);
    let staying = Staying { columns: &IDENTITY, stays: &stays, bounds: &bounds };
    lake.filtered(table, files, &staying, false).await
}

/// Those of these columns that a batch has with this prefix, without it.
fn columns(batch: &RecordBatch, names: &[String], prefix: &str) -> Result<RecordBatch, ArrowError> {
    let mut found = Vec::new();
    for name in names {
        if let Some(values) = batch.column_by_name(&format!("{prefix}{name}")) {
            found.push((name.clone(), values.clone(), true));
        }
    }
    match found.is_empty() {
        false => RecordBatch::try_from_iter_with_nullable(found),
        true => batch.project(&[]),
    }
}

/// Each row as JSON, with its nulls or without; none where there is no column.
fn lines(batch: &RecordBatch, nulls: bool) -> Result<Vec<Option<String>>, ArrowError> {
    if batch.num_columns() == 0 {
        return Ok(vec![None; batch.num_rows()]);
    }
    let builder = WriterBuilder::new().with_explicit_nulls(nulls);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    Ok(text.lines().map(|line| Some(line.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_whatever_its_cells_hold() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a\n\"b"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(9_007_199_254_740_993)]));
        let rows = [("t", texts, true), ("n", numbers, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(rows).unwrap();
        let expected = [r#"{"t":"a\n\"b"}"#, r#"{"n":9007199254740993}"#];
        let found = lines(&batch, false).unwrap();
        assert_eq!(found, expected.map(|line| Some(line.to_owned())));
        let with_nulls = lines(&batch, true).unwrap();
        assert_eq!(with_nulls[1].as_deref(), Some(r#"{"t":null,"n":9007199254740993}"#));
        assert_eq!(lines(&batch.project(&[]).unwrap(), true).unwrap(), [None, None]);
    }
}
