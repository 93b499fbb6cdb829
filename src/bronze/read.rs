//! Reading: the objects of a batch are read, side by side, into data files that no commit names yet.
//!
//! Everything happens in the order of the batch, whatever finishes first: so the columns that a
//! batch adds, and their types, do not depend on timing.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{Mutex, mpsc};

use super::gather::Gathering;
use super::growing::Growing;
use super::outcome::{ObjectEnd, Stop};
use super::provenance::{OWN_BOUNDS, rows};
use super::staged::{
    Asked, Begun, LaidOut, OpenObject, PackedObject, Parsed, ParsedRows, ReadBatch,
};
use super::windows::Windows;
use super::{Bronze, BronzeError};
use crate::batch::BatchId;
use crate::format::feed::TypeChange;
use crate::format::layout::Layout;
use crate::format::rescued::Tally;
use crate::format::typed::{TypedBatch, typed};
use crate::format::{self, FormatError, Input, Lacking, RawBatch};
use crate::lake::LakeError;
use crate::lake::write::data::DataWriter;
use crate::ledger::View;
use crate::source::{Opened, RawObject, ReadError, Requested};

impl Bronze {
    /// Reads a batch; `columns` are those that it needs for cells that do not fit, as far as that is known. After an
    /// error no file of it is left.
    pub(super) async fn read(
        &self,
        batch_id: &BatchId,
        batch: &[Requested],
        columns: &BTreeSet<String>,
    ) -> Result<ReadBatch, BronzeError> {
        let table = self.lake.find(&self.settings.table).await?;
        let view = Arc::new(self.ledger.whole_view(table.as_ref()).await?);
        let growing = Arc::new(Mutex::new(Growing::of(table, columns)));
        let mut gathering = Gathering::new(self, batch_id);
        let parsed = self.parsed(batch, &view, &growing);
        let mut gathered = gather_all(&mut gathering, parsed).await;
        if let Ok(None) = gathered {
            gathered = gathering.settle_missing(&view).await.map(|()| None);
        }
        match gathered {
            Ok(None) => {}
            Ok(Some(columns)) => {
                gathering.abandon().await;
                return Ok(ReadBatch::Needs(columns));
            }
            Err(error) => {
                gathering.abandon().await;
                return Err(error);
            }
        }
        let growing = growing.lock().await;
        let staged = gathering.finish(growing.table.clone(), growing.schema.clone()).await?;
        Ok(ReadBatch::Staged(Box::new(staged)))
    }

    /// The objects of a batch, in its order: opened side by side, laid out one by one, and parsed side
    /// by side.
    fn parsed(
        &self,
        batch: &[Requested],
        view: &Arc<View>,
        growing: &Arc<Mutex<Growing>>,
    ) -> BoxStream<'static, Result<Parsed, Stop>> {
        let at_once = self.settings.read_concurrency.max(1);
        let windows = Arc::new(Windows::of(self.settings.unpacking_bytes));
        // Owned by each of the futures, so that the whole may move between threads.
        let this = Arc::new(self.clone());
        let (opener, arranger, parser) = (this.clone(), this.clone(), this);
        let (view, growing) = (view.clone(), growing.clone());
        stream::iter(batch.to_vec())
            .map(move |requested| {
                let (this, view) = (opener.clone(), view.clone());
                async move { this.begin(requested, Some(&view)).await }
            })
            .buffered(at_once)
            .then(move |begun| {
                let (this, growing, windows) = (arranger.clone(), growing.clone(), windows.clone());
                // SUBTLE: this goes on only while the stream is polled, and holds the lock meanwhile:
                // nothing else may take the lock before the stream is dropped.
                async move {
                    let opened = match begun? {
                        Begun::Open(opened) => opened,
                        Begun::Packed(packed) => this.open(windows.reserve(packed).await).await?,
                    };
                    this.lay_out(opened, &mut *growing.lock().await).await
                }
            })
            .map(move |laid_out| {
                let this = parser.clone();
                async move { this.parse(laid_out?).await }
            })
            .buffered(at_once)
            .boxed()
    }

    /// Begins an object, and opens it if that takes no memory to speak of. What the ledger has as ingested is not read
    /// again.
    async fn begin(&self, requested: Requested, view: Option<&View>) -> Result<Begun, Stop> {
        let Opened { object, input, at } = self.source.open(&requested).await.map_err(|error| {
            let id = requested.presumed(self.lake.ambient().now());
            Stop::source(id, requested.size(), &error)
        })?;
        let asked = Asked::of(&requested, &object);
        if let Some(view) = view
            && view.ingested_at(&object.id).await?.is_some_and(|at| asked.leaves(at))
        {
            return Err(Stop::at(&object, ObjectEnd::Known));
        }
        let weighed = tokio::task::spawn_blocking(move || Ok(format::weighed(input)));
        let (bytes, memory) = Stop::joined(&object, weighed.await)?;
        let memory = memory.max(self.settings.format.of(&object.id.uri).memory());
        let input = Input { bytes, at, size: object.size };
        let packed = PackedObject { object, asked, input, memory };
        match memory {
            0 => self.open(packed).await.map(Begun::Open),
            _ => Ok(Begun::Packed(packed)),
        }
    }

    /// Opens an object: reads its header and its sample.
    async fn open(&self, packed: PackedObject) -> Result<OpenObject, Stop> {
        let PackedObject { object, asked, input, .. } = packed;
        let (settings, limits) = (self.settings.format.of(&object.id.uri), self.settings.limits);
        let path = self.settings.feed.path_columns.then(|| object.id.uri.clone());
        let opened = tokio::task::spawn_blocking(move || {
            format::open_at(&settings, input, limits, path.as_deref())
        });
        let reader = Stop::joined(&object, opened.await)?;
        Ok(OpenObject { object, asked, reader })
    }

    /// Reads an object to its end, only to know that this works: only then do its columns become the
    /// table's. That is once in the life of a column. It returns columns that the file has beside those.
    pub(super) async fn prove(
        &self,
        object: &RawObject,
        layout: &Layout,
    ) -> Result<Vec<Lacking>, Stop> {
        // One at a time, beside what is reserved: waiting for others could be waiting for this object itself.
        let again = match self.begin(Requested::Listed(object.clone()), None).await? {
            Begun::Open(opened) => opened,
            Begun::Packed(packed) => self.open(packed).await?,
        };
        if again.object != *object {
            let changed = ReadError::Changed(object.id.uri.clone());
            return Err(Stop::source(object.id.clone(), object.size, &changed));
        }
        let (mut reader, layout) = (again.reader, layout.clone());
        let (type_change, most) = (self.settings.feed.type_change, self.settings.max_rescued);
        let columns = self.settings.limits.columns;
        let read = tokio::task::spawn_blocking(move || {
            let (mut tally, mut lacking) = (Tally::default(), Vec::<Lacking>::new());
            while let Some(raw) = reader.next_batch()? {
                layout.find_lacking(&raw, &mut lacking);
                if lacking.len() > columns {
                    return Err(FormatError::TooManyKeys { limit: columns });
                }
                let (misshapen, first_row) = (raw.misshapen, raw.first_row);
                let rescued = match (most, type_change) {
                    // Cells that are not of their type do not matter.
                    (None, TypeChange::Rescue | TypeChange::NewColumn) => raw.misfits,
                    _ => fitting(raw, &layout, type_change)?.rescued,
                };
                tally.add(&rescued, misshapen, first_row);
            }
            tally.check(most).map(|()| lacking)
        });
        let lacking = Stop::joined(object, read.await)?;
        self.verify(object).await.map(|()| lacking)
    }

    async fn verify(&self, object: &RawObject) -> Result<(), Stop> {
        let verified = self.source.verify(object).await;
        verified.map_err(|error| Stop::source(object.id.clone(), object.size, &error))
    }

    /// Reads the rest of an object on a thread, and verifies that all of it was the version opened.
    async fn parse(&self, laid_out: LaidOut) -> Result<Parsed, Stop> {
        let LaidOut { object, asked, mut reader, layout, target } = laid_out;
        let (sender, mut batches) = mpsc::channel::<TypedBatch>(2);
        let (type_change, most) = (self.settings.feed.type_change, self.settings.max_rescued);
        let thread = tokio::task::spawn_blocking(move || -> Result<_, FormatError> {
            let (mut tally, mut missing) = (Tally::default(), BTreeSet::new());
            while let Some(raw) = reader.next_batch()? {
                let mut batch = fitting(raw, &layout, type_change)?;
                tally.add(&batch.rescued, batch.misshapen, batch.first_row);
                missing.append(&mut batch.missing);
                // A closed channel: the receiver has an error of its own to report. Without all of its columns the
                // object is read again.
                if missing.is_empty() && sender.blocking_send(batch).is_err() {
                    break;
                }
            }
            tally.check(most)?;
            Ok(missing)
        });
        let rows = ParsedRows::Memory(vec![]);
        let mut parsed = Parsed { object, asked, count: 0, rescued: 0, target, rows };
        let kept = self.keep(&mut parsed, &mut batches).await;
        drop(batches);
        let read = thread.await;
        // An object that changed is not to blame for what was read of it.
        let ended = match (kept, self.verify(&parsed.object).await) {
            (Err(error), _) => Err(Stop::from(error)),
            (Ok(()), Err(changed)) => Err(changed),
            (Ok(()), Ok(())) => Stop::joined(&parsed.object, read).and_then(|missing| {
                if missing.is_empty() { Ok(()) } else { Err(Stop::Needs(missing)) }
            }),
        };
        match ended {
            Ok(()) => Ok(parsed),
            Err(stop) => {
                parsed.discard().await;
                Err(stop)
            }
        }
    }

    /// Keeps the rows of an object in memory while they are few, else in files of their own.
    async fn keep(
        &self,
        parsed: &mut Parsed,
        batches: &mut mpsc::Receiver<TypedBatch>,
    ) -> Result<(), LakeError> {
        let ingested_at = self.lake.ambient().now();
        let (mut in_memory, mut bytes) = (Vec::new(), 0);
        let mut writer: Option<DataWriter> = None;
        while let Some(batch) = batches.recv().await {
            let Some((table, schema)) = &parsed.target else { continue };
            parsed.rescued += batch.rescued_rows() as u64;
            let from = (&parsed.object, parsed.asked.sequence.as_deref());
            let rows = rows(&self.settings.table, batch, from, ingested_at, schema)?;
            parsed.count += rows.num_rows() as u64;
            bytes += rows.get_array_memory_size();
            in_memory.push(rows);
            if writer.is_none() && bytes > self.settings.buffer_bytes {
                let bounded = OWN_BOUNDS.map(str::to_owned);
                writer = Some(DataWriter::new(&self.lake, table, schema)?.with_bounds_on(&bounded));
            }
            if let Some(writer) = &mut writer {
                for rows in in_memory.drain(..) {
                    writer.write(&rows).await?;
                }
            }
        }
        parsed.rows = match writer {
            Some(writer) => ParsedRows::Files(writer.close().await?),
            None => ParsedRows::Memory(in_memory),
        };
        Ok(())
    }
}

/// Casts rows, and refuses a cell that does not fit its type where the configuration does.
fn fitting(
    raw: RawBatch,
    layout: &Layout,
    type_change: TypeChange,
) -> Result<TypedBatch, FormatError> {
    let batch = typed(raw, layout)?;
    match (type_change, &batch.misfit) {
        (TypeChange::Fail, Some((column, row))) => {
            Err(FormatError::TypeChanged { column: column.clone(), row: *row })
        }
        _ => Ok(batch),
    }
}

/// Gathers a batch, unless it needs columns that the table lacks: then all of these.
async fn gather_all(
    gathering: &mut Gathering<'_>,
    mut parsed: BoxStream<'_, Result<Parsed, Stop>>,
) -> Result<Option<BTreeSet<String>>, BronzeError> {
    let mut needed = BTreeSet::new();
    while let Some(next) = parsed.next().await {
        match next {
            Ok(parsed) if needed.is_empty() => gathering.ingest(parsed).await?,
            // It is read again with the others.
            Ok(parsed) => parsed.discard().await,
            Err(Stop::Object { id, size, end }) => gathering.end(id, size, end),
            Err(Stop::Repeated(id)) => gathering.repeated(id),
            Err(Stop::Needs(columns)) => needed.extend(columns),
            Err(Stop::Batch(error)) => return Err(error),
        }
    }
    Ok(Some(needed).filter(|needed| !needed.is_empty()))
}
