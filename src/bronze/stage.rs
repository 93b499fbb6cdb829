//! Staging: the objects of a batch are read, side by side, into data files that nobody sees yet.
//!
//! Everything happens in the order of the batch, whatever finishes first: so the columns that a
//! batch adds, and their types, do not depend on luck.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Mutex, mpsc};

use super::{Bronze, BronzeError};
use crate::csv::CsvError;
use crate::csv::layout::{Layout, lay_out};
use crate::csv::reader::CsvReader;
use crate::csv::typed::{TypedBatch, typed};
use crate::lake::writer::DataWriter;
use crate::lake::{DataFile, LakeError, Table, TableSchema, scan};
use crate::ledger::{ObjectOutcome, ObjectRow, UNREADABLE};
use crate::source::{ObjectId, RawObject, ReadError};

/// Data files of a batch, and which objects' rows are in them.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) file: DataFile,
    pub(super) schema: TableSchema,
    pub(super) objects: HashSet<ObjectId>,
}

/// A batch, read.
#[derive(Debug)]
pub(super) struct Staged {
    /// The table's state whose schema was extended; none when no object had a column.
    pub(super) base: Option<Table>,
    /// The schema that the files need.
    pub(super) schema: Option<TableSchema>,
    pub(super) files: Vec<StagedFile>,
    pub(super) ingested: Vec<ObjectRow>,
    pub(super) failed: Vec<ObjectRow>,
}

/// The table's schema while the objects of a batch add columns to it.
#[derive(Default)]
struct Growing {
    table: Option<Table>,
    schema: Option<TableSchema>,
}

/// An object with its place in the schema found.
struct LaidOut {
    object: RawObject,
    reader: CsvReader,
    layout: Layout,
    /// None for an object without rows.
    place: Option<(Table, TableSchema)>,
}

/// An object read to its end and verified.
struct Parsed {
    object: RawObject,
    rows: u64,
    rescued: u64,
    place: Option<(Table, TableSchema)>,
    held: Held,
}

enum Held {
    Memory(Vec<RecordBatch>),
    Files(Vec<DataFile>),
}

/// An object that cannot be taken in, on its own account.
struct Failed {
    object: RawObject,
    outcome: ObjectOutcome,
    reason: &'static str,
    error: String,
}

/// An error is shared trouble; a `Failed` concerns one object.
type OneObject<T> = Result<Result<T, Failed>, BronzeError>;

impl Bronze {
    pub(super) async fn stage(
        &self,
        batch_id: &str,
        batch: &[RawObject],
    ) -> Result<Staged, BronzeError> {
        // One identity twice in a batch is one object.
        let mut seen = HashSet::new();
        let objects: Vec<_> = batch.iter().filter(|o| seen.insert(o.id.clone())).cloned().collect();
        let at_once = self.settings.read_concurrency.max(1);
        let growing = Arc::new(Mutex::new(Growing {
            table: self.lake.find(&self.settings.table).await?,
            schema: None,
        }));
        // Owned by each of the futures, so that the whole may move between threads.
        let this = Arc::new(self.clone());
        let (opener, arranger, parser) = (this.clone(), this.clone(), this);
        let grown = growing.clone();
        let mut parsed = futures::stream::iter(objects)
            .map(move |object| {
                let this = opener.clone();
                async move { this.open(object).await }
            })
            .buffered(at_once)
            .then(move |opened| {
                let (this, growing) = (arranger.clone(), grown.clone());
                async move {
                    match opened? {
                        Ok((object, reader)) => {
                            this.lay_out(object, reader, &mut *growing.lock().await).await
                        }
                        Err(failed) => Ok(Err(failed)),
                    }
                }
            })
            .map(move |laid_out| {
                let this = parser.clone();
                async move {
                    match laid_out? {
                        Ok(laid_out) => this.parse(laid_out).await,
                        Err(failed) => Ok(Err(failed)),
                    }
                }
            })
            .buffered(at_once)
            .boxed();

        let mut gathering = Gathering::new(self, batch_id);
        loop {
            match parsed.try_next().await {
                // SUBTLE: `growing` is not locked here: who holds it goes on only when the stream is polled.
                Ok(Some(Ok(parsed))) => {
                    if let Err(error) = gathering.take_in(parsed).await {
                        gathering.abandon().await;
                        return Err(error);
                    }
                }
                Ok(Some(Err(failed))) => gathering.note(failed),
                Ok(None) => break,
                Err(error) => {
                    gathering.abandon().await;
                    return Err(error);
                }
            }
        }
        drop(parsed);
        let growing = growing.lock().await;
        gathering.finish(growing.table.clone(), growing.schema.clone()).await
    }

    async fn open(&self, object: RawObject) -> OneObject<(RawObject, CsvReader)> {
        let input = match self.source.open(&object).await {
            Ok(input) => input,
            Err(error) => return failed_read(object, error),
        };
        let (dialect, limits) = (self.settings.dialect.clone(), self.settings.limits);
        let opened =
            tokio::task::spawn_blocking(move || CsvReader::open(input, &dialect, limits)).await;
        Ok(match opened {
            Ok(Ok(reader)) => Ok((object, reader)),
            Ok(Err(error)) => Err(Failed::rejected(object, &error)),
            Err(panic) => Err(Failed::panicked(object, &panic)),
        })
    }

    async fn lay_out(
        &self,
        object: RawObject,
        reader: CsvReader,
        growing: &mut Growing,
    ) -> OneObject<LaidOut> {
        // A file without rows brings no columns: their types would be guesses from nothing.
        if reader.sample().is_none() {
            return Ok(Ok(LaidOut { object, reader, layout: Layout::default(), place: None }));
        }
        let known =
            growing.schema.clone().or_else(|| growing.table.as_ref().map(|t| t.schema().clone()));
        let first = match self.laid_against(&reader, known.as_ref().map(|s| &**s.arrow())) {
            Ok(layout) => layout,
            Err(error) => return Ok(Err(Failed::rejected(object, &error))),
        };
        if !first.new_columns.is_empty()
            && let Err(failed) = self.prove(&object).await?
        {
            return Ok(Err(failed));
        }
        if !first.without_values.is_empty() {
            tracing::warn!(
                uri = object.id.uri,
                columns = first.without_values.join(", "),
                "columns without a value in their first rows are taken as string; declare them in [pipeline.csv.columns]"
            );
        }
        let wanted =
            Schema::new(first.new_columns.iter().cloned().chain(own_columns()).collect::<Vec<_>>());
        let table = match growing.table.clone() {
            Some(table) => table,
            None => {
                let wanted = Arc::new(wanted.clone());
                self.lake.find_or_create(&self.settings.table, &wanted, None).await?
            }
        };
        growing.table = Some(table.clone());
        let (schema, layout) = match known {
            Some(schema) => (schema, first),
            // Where another worker has made the table meanwhile, its columns are the ones that count.
            None => match self.laid_against(&reader, Some(table.schema().arrow())) {
                Ok(layout) => (table.schema().clone(), layout),
                Err(error) => return Ok(Err(Failed::rejected(object, &error))),
            },
        };
        let wanted = Schema::new(
            layout.new_columns.iter().cloned().chain(own_columns()).collect::<Vec<_>>(),
        );
        let extended = schema.extended(table.name(), &wanted, table.last_column_id())?;
        let schema = extended.unwrap_or(schema);
        growing.schema = Some(schema.clone());
        Ok(Ok(LaidOut { object, reader, layout, place: Some((table, schema)) }))
    }

    /// Reads an object to its end, for nothing but to know that it can be: only then do its columns
    /// become the table's. That is once in the life of a column.
    async fn prove(&self, object: &RawObject) -> OneObject<()> {
        let (_, mut reader) = match self.open(object.clone()).await? {
            Ok(opened) => opened,
            Err(failed) => return Ok(Err(failed)),
        };
        let read = tokio::task::spawn_blocking(move || -> Result<(), CsvError> {
            while reader.next_batch()?.is_some() {}
            Ok(())
        });
        match read.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(Err(Failed::rejected(object.clone(), &error))),
            Err(panic) => return Ok(Err(Failed::panicked(object.clone(), &panic))),
        }
        match self.source.verify(object).await {
            Ok(()) => Ok(Ok(())),
            Err(error) => failed_read(object.clone(), error),
        }
    }

    fn laid_against(&self, reader: &CsvReader, table: Option<&Schema>) -> Result<Layout, CsvError> {
        lay_out(reader, &self.settings.declared, table, self.settings.schema_change)
    }

    /// Reads the rest of the object on a thread, and verifies that it was the version announced.
    async fn parse(&self, laid_out: LaidOut) -> OneObject<Parsed> {
        let LaidOut { object, mut reader, layout, place } = laid_out;
        let (sender, mut batches) = mpsc::channel::<TypedBatch>(2);
        let thread = tokio::task::spawn_blocking(move || -> Result<(), CsvError> {
            while let Some(raw) = reader.next_batch()? {
                // A closed channel: the receiver has an error of its own to report.
                if sender.blocking_send(typed(raw, &layout)?).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let mut parsed = Parsed { object, rows: 0, rescued: 0, place, held: Held::Memory(vec![]) };
        let written = self.hold(&mut parsed, &mut batches).await;
        drop(batches);
        let read = thread.await;
        let verified = self.source.verify(&parsed.object).await;
        let outcome = match (written, read, verified) {
            (Err(error), _, _) => Err(error.into()),
            (_, _, Err(error)) => failed_read(parsed.object.clone(), error),
            (_, Err(panic), _) => Ok(Err(Failed::panicked(parsed.object.clone(), &panic))),
            (_, Ok(Err(error)), _) => Ok(Err(Failed::rejected(parsed.object.clone(), &error))),
            (Ok(()), Ok(Ok(())), Ok(())) => return Ok(Ok(parsed)),
        };
        if let Held::Files(files) = parsed.held {
            let paths = files.iter().map(|f| f.file_path().to_owned()).collect();
            self.lake.discard(paths).await;
        }
        outcome
    }

    /// Keeps the rows in memory while they are few, else in files of their own.
    async fn hold(
        &self,
        parsed: &mut Parsed,
        batches: &mut mpsc::Receiver<TypedBatch>,
    ) -> Result<(), LakeError> {
        let ingested_at = self.lake.ambient().now();
        let (mut held, mut bytes) = (Vec::new(), 0);
        let mut writer: Option<DataWriter> = None;
        while let Some(batch) = batches.recv().await {
            let Some((table, schema)) = &parsed.place else { continue };
            parsed.rescued += batch.rescued_rows() as u64;
            let rows = self.rows(batch, &parsed.object, ingested_at, schema.arrow())?;
            parsed.rows += rows.num_rows() as u64;
            bytes += rows.get_array_memory_size();
            held.push(rows);
            if writer.is_none() && bytes > self.settings.buffer_bytes {
                writer = Some(DataWriter::new(&self.lake, table, schema)?);
            }
            if let Some(writer) = &mut writer {
                for rows in held.drain(..) {
                    writer.write(&rows).await?;
                }
            }
        }
        parsed.held = match writer {
            Some(writer) => Held::Files(writer.close().await?),
            None => Held::Memory(held),
        };
        Ok(())
    }

    /// Typed CSV columns and silversmith's own, as the table has them.
    fn rows(
        &self,
        batch: TypedBatch,
        object: &RawObject,
        ingested_at: DateTime<Utc>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch, LakeError> {
        let count = batch.rescued.len();
        let text = |value: &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, count)))
        };
        let time = |value: DateTime<Utc>| -> ArrayRef {
            let micros = std::iter::repeat_n(value.timestamp_micros(), count);
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("+00:00"))
        };
        let first = batch.first_row as i64;
        let mut columns = batch.columns;
        columns.push(("_source_uri".to_owned(), text(&object.id.uri)));
        columns.push(("_source_version".to_owned(), text(&object.id.version)));
        let numbers = Int64Array::from_iter_values(first..first + count as i64);
        columns.push(("_source_row".to_owned(), Arc::new(numbers)));
        columns.push(("_event_time".to_owned(), time(object.id.last_modified)));
        columns.push(("_ingested_at".to_owned(), time(ingested_at)));
        columns.push(("_rescued".to_owned(), Arc::new(batch.rescued)));
        let rows = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, values)| (name, values, true)),
        )
        .map_err(|source| LakeError::Arrow {
            table: self.settings.table.clone(),
            doing: "making rows",
            source,
        })?;
        scan::conform(&self.settings.table, rows, schema)
    }
}

/// The columns that silversmith adds to every bronze table.
pub(super) fn own_columns() -> Vec<FieldRef> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    [
        ("_source_uri", DataType::Utf8, "where the row came from"),
        ("_source_version", DataType::Utf8, "the version of the object: ETag, or size and time"),
        ("_source_row", DataType::Int64, "the row in the object; 1 is the first after the header"),
        ("_event_time", time.clone(), "the object's LastModified"),
        ("_ingested_at", time, "when silversmith read the row"),
        ("_rescued", DataType::Utf8, "what did not fit the columns, as JSON"),
    ]
    .into_iter()
    .map(|(name, kind, doc)| {
        let metadata = [("doc".to_owned(), doc.to_owned())].into();
        Arc::new(Field::new(name, kind, true).with_metadata(metadata))
    })
    .collect()
}

fn failed_read<T>(object: RawObject, error: ReadError) -> OneObject<T> {
    let (outcome, reason) = match &error {
        ReadError::Trouble { .. } => return Err(error.into()),
        ReadError::Missing(_) => (ObjectOutcome::Missing, "missing"),
        ReadError::Changed(_) => (ObjectOutcome::Missing, "changed"),
        ReadError::Unreadable { .. } => (ObjectOutcome::Rejected, UNREADABLE),
    };
    Ok(Err(Failed { object, outcome, reason, error: error.to_string() }))
}

impl Failed {
    fn rejected(object: RawObject, error: &CsvError) -> Self {
        let text = format!("{}: {}", object.id.uri, crate::error::chain(error));
        Self { object, outcome: ObjectOutcome::Rejected, reason: error.reason(), error: text }
    }

    fn panicked(object: RawObject, panic: &tokio::task::JoinError) -> Self {
        let error = format!("{}: reading it failed inside silversmith: {panic}", object.id.uri);
        Self { object, outcome: ObjectOutcome::Rejected, reason: "defect", error }
    }
}

/// Collects parsed objects into shared files.
struct Gathering<'a> {
    bronze: &'a Bronze,
    batch_id: &'a str,
    shared: Option<(DataWriter, TableSchema, HashSet<ObjectId>)>,
    files: Vec<StagedFile>,
    ingested: Vec<ObjectRow>,
    failed: Vec<ObjectRow>,
}

impl<'a> Gathering<'a> {
    fn new(bronze: &'a Bronze, batch_id: &'a str) -> Self {
        Self { bronze, batch_id, shared: None, files: vec![], ingested: vec![], failed: vec![] }
    }

    async fn take_in(&mut self, parsed: Parsed) -> Result<(), BronzeError> {
        let id = parsed.object.id.clone();
        match (parsed.held, parsed.place) {
            (Held::Files(files), Some((_, schema))) => {
                self.files.extend(files.into_iter().map(|file| StagedFile {
                    file,
                    schema: schema.clone(),
                    objects: HashSet::from([id.clone()]),
                }));
            }
            (Held::Memory(batches), Some((table, schema))) => {
                // Files are written under one schema: a column more means another file.
                let grown = self.shared.as_ref().is_some_and(|(_, s, _)| !schema.fits_into(s));
                if grown {
                    self.close_shared().await?;
                }
                if self.shared.is_none() {
                    let writer = DataWriter::new(&self.bronze.lake, &table, &schema)?;
                    self.shared = Some((writer, schema.clone(), HashSet::new()));
                }
                let Some((writer, _, objects)) = &mut self.shared else { return Ok(()) };
                for batch in &batches {
                    writer.write(batch).await?;
                }
                if parsed.rows > 0 {
                    objects.insert(id);
                }
            }
            _ => {}
        }
        self.ingested.push(ObjectRow {
            id: parsed.object.id,
            size: Some(parsed.object.size),
            outcome: ObjectOutcome::Ingested,
            reason: None,
            error: None,
            rows: parsed.rows,
            rescued: Some(parsed.rescued),
            batch: self.batch_id.to_owned(),
            finished_at: self.bronze.lake.ambient().now(),
        });
        Ok(())
    }

    fn note(&mut self, failed: Failed) {
        tracing::warn!(
            batch = self.batch_id,
            uri = failed.object.id.uri,
            reason = failed.reason,
            "object not ingested"
        );
        self.failed.push(ObjectRow {
            id: failed.object.id,
            size: Some(failed.object.size),
            outcome: failed.outcome,
            reason: Some(failed.reason),
            error: Some(failed.error),
            rows: 0,
            rescued: Some(0),
            batch: self.batch_id.to_owned(),
            finished_at: self.bronze.lake.ambient().now(),
        });
    }

    async fn close_shared(&mut self) -> Result<(), BronzeError> {
        if let Some((writer, schema, objects)) = self.shared.take() {
            for file in writer.close().await? {
                let objects = objects.clone();
                self.files.push(StagedFile { file, schema: schema.clone(), objects });
            }
        }
        Ok(())
    }

    async fn finish(
        mut self,
        base: Option<Table>,
        schema: Option<TableSchema>,
    ) -> Result<Staged, BronzeError> {
        self.close_shared().await?;
        let Self { files, ingested, failed, .. } = self;
        Ok(Staged { base, schema, files, ingested, failed })
    }

    async fn abandon(mut self) {
        if let Some((writer, _, _)) = self.shared.take() {
            writer.abandon().await;
        }
        let paths = self.files.iter().map(|f| f.file.file_path().to_owned());
        self.bronze.lake.discard(paths.collect()).await;
    }
}
