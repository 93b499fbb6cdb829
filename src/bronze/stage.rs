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

use super::gather::{End, Gathering};
use super::{Bronze, BronzeError, Fate};
use crate::format::CsvError;
use crate::format::csv::CsvReader;
use crate::format::layout::{Layout, lay_out};
use crate::format::typed::{TypedBatch, typed};
use crate::lake::read::arrow::conform;
use crate::lake::write::data::DataWriter;
use crate::lake::{DataFile, LakeError, Table, TableSchema};
use crate::ledger::{ObjectRow, View};
use crate::source::{ObjectId, Opened, RawObject, ReadError, Requested};

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
    /// What became of each object of the batch, in its order.
    pub(super) fates: Vec<Fate>,
}

/// The table's schema while the objects of a batch add columns to it.
#[derive(Default)]
struct Growing {
    table: Option<Table>,
    schema: Option<TableSchema>,
    /// One identity twice in a batch is one object.
    seen: HashSet<ObjectId>,
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
pub(super) struct Parsed {
    pub(super) object: RawObject,
    pub(super) rows: u64,
    pub(super) rescued: u64,
    pub(super) place: Option<(Table, TableSchema)>,
    pub(super) held: Held,
}

pub(super) enum Held {
    Memory(Vec<RecordBatch>),
    Files(Vec<DataFile>),
}

/// An error is shared trouble; an `End` concerns one object.
type OneObject<T> = Result<Result<T, End>, BronzeError>;

impl Bronze {
    pub(super) async fn stage(
        &self,
        batch_id: &str,
        batch: &[Requested],
    ) -> Result<Staged, BronzeError> {
        let at_once = self.settings.read_concurrency.max(1);
        let table = self.lake.find(&self.settings.table).await?;
        let view = Arc::new(self.ledger.view(table.as_ref()).await?);
        let growing = Arc::new(Mutex::new(Growing { table, ..Growing::default() }));
        // Owned by each of the futures, so that the whole may move between threads.
        let this = Arc::new(self.clone());
        let (opener, arranger, parser) = (this.clone(), this.clone(), this);
        let (grown, seen) = (growing.clone(), view.clone());
        let mut parsed = futures::stream::iter(batch.to_vec())
            .map(move |wanted| {
                let (this, view) = (opener.clone(), seen.clone());
                async move { this.open(wanted, Some(&view)).await }
            })
            .buffered(at_once)
            .then(move |opened| {
                let (this, growing) = (arranger.clone(), grown.clone());
                async move {
                    match opened? {
                        Ok((object, reader)) => {
                            this.lay_out(object, reader, &mut *growing.lock().await).await
                        }
                        Err(end) => Ok(Err(end)),
                    }
                }
            })
            .map(move |laid_out| {
                let this = parser.clone();
                async move {
                    match laid_out? {
                        Ok(laid_out) => this.parse(laid_out).await,
                        Err(end) => Ok(Err(end)),
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
                    if let Err(error) = gathering.ingest(parsed).await {
                        gathering.abandon().await;
                        return Err(error);
                    }
                }
                Ok(Some(Err(end))) => gathering.end(end),
                Ok(None) => break,
                Err(error) => {
                    gathering.abandon().await;
                    return Err(error);
                }
            }
        }
        drop(parsed);
        if let Err(error) = gathering.settle_missing(&view).await {
            gathering.abandon().await;
            return Err(error);
        }
        let growing = growing.lock().await;
        gathering.finish(growing.table.clone(), growing.schema.clone()).await
    }

    /// Opens an object and reads its header; what the ledger has as ingested is not read again.
    async fn open(
        &self,
        wanted: Requested,
        view: Option<&View>,
    ) -> OneObject<(RawObject, CsvReader)> {
        let Opened { object, input } = match self.source.open(&wanted).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(self.not_opened(wanted, error))),
        };
        if let Some(view) = view
            && view.is_ingested(&object.id).await?
        {
            return Ok(Err(End::Known(object.id)));
        }
        let (dialect, limits) = (self.settings.dialect.clone(), self.settings.limits);
        let opened =
            tokio::task::spawn_blocking(move || CsvReader::open(input, &dialect, limits)).await;
        Ok(match opened {
            Ok(Ok(reader)) => Ok((object, reader)),
            Ok(Err(error)) => Err(End::unread(object, error)),
            Err(panic) => Err(End::panicked(object, &panic)),
        })
    }

    fn not_opened(&self, wanted: Requested, error: ReadError) -> End {
        let id = wanted.presumed(self.lake.ambient().now());
        match error {
            ReadError::Missing(_) => End::Missing { wanted, error: error.to_string() },
            error => End::of(id, Some(wanted.size()), error),
        }
    }

    async fn lay_out(
        &self,
        object: RawObject,
        reader: CsvReader,
        growing: &mut Growing,
    ) -> OneObject<LaidOut> {
        if !growing.seen.insert(object.id.clone()) {
            return Ok(Err(End::Twice(object.id)));
        }
        // A file without rows brings no columns: their types would be guesses from nothing.
        if reader.sample().is_none() {
            return Ok(Ok(LaidOut { object, reader, layout: Layout::default(), place: None }));
        }
        let known =
            growing.schema.clone().or_else(|| growing.table.as_ref().map(|t| t.schema().clone()));
        let first = match self.laid_against(&reader, known.as_ref().map(|s| &**s.arrow())) {
            Ok(layout) => layout,
            Err(error) => return Ok(Err(End::unread(object, error))),
        };
        if !first.new_columns.is_empty()
            && let Err(end) = self.prove(&object).await?
        {
            return Ok(Err(end));
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
                Err(error) => return Ok(Err(End::unread(object, error))),
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
        let (again, mut reader) = match self.open(Requested::Listed(object.clone()), None).await? {
            Ok(opened) => opened,
            Err(end) => return Ok(Err(end)),
        };
        let uri = || object.id.uri.clone();
        if again != *object {
            return Ok(Err(End::of(object.id.clone(), None, ReadError::Changed(uri()))));
        }
        let read = tokio::task::spawn_blocking(move || -> Result<(), CsvError> {
            while reader.next_batch()?.is_some() {}
            Ok(())
        });
        match read.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(Err(End::unread(object.clone(), error))),
            Err(panic) => return Ok(Err(End::panicked(object.clone(), &panic))),
        }
        let verified = self.source.verify(object).await;
        Ok(verified.map_err(|error| End::of(object.id.clone(), Some(object.size), error)))
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
        let object = parsed.object.clone();
        let outcome = match (written, read, verified) {
            (Err(error), _, _) => Err(error.into()),
            (_, _, Err(error)) => Ok(Err(End::of(object.id, Some(object.size), error))),
            (_, Err(panic), _) => Ok(Err(End::panicked(object, &panic))),
            (_, Ok(Err(error)), _) => Ok(Err(End::unread(object, error))),
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
                let bounded = OWN_BOUNDS.map(str::to_owned);
                writer = Some(DataWriter::new(&self.lake, table, schema)?.with_bounds_on(&bounded));
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
        conform(&self.settings.table, rows, schema)
    }
}

/// Of silversmith's own columns, those that rows are looked for by.
pub(super) const OWN_BOUNDS: [&str; 2] = ["_event_time", "_source_uri"];

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
