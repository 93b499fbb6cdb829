//! The index on this machine's disk, where the rows are many: opened under its lock, asked away from the threads of
//! the runtime, and left alone for a while after a failure.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc::Receiver;

use super::entry::Row;
use super::error::IndexError;
use crate::ambient::SharedAmbient;
use crate::key_index::entry::{Hasher, secret};
use crate::key_index::folder::Index;
use crate::key_index::header::{Column, Definition};
use crate::key_index::run::Covered;
use crate::key_index::{AFTER_FAILURE, KeyIndexError};

/// How long an index is left alone that another process has.
const WHILE_LOCKED: Duration = Duration::from_secs(60);
/// Changes whenever the bytes of an attempt mean something else.
const ATTEMPT: &str = "attempt 1";

/// The index, if it is open.
#[derive(Debug)]
pub(super) enum Disk {
    /// It is not open, and not to be opened before.
    Closed(Option<DateTime<Utc>>),
    /// It is open.
    Open(OpenIndex),
}

/// An open index. A look-up that is dropped half-way leaves it as it was.
#[derive(Debug, Clone)]
pub(super) struct OpenIndex {
    table: String,
    /// None after an error.
    index: Arc<Mutex<Option<Index>>>,
}

/// What is added to an index.
pub(super) struct Learned {
    /// The files whose rows these are.
    pub(super) files: Vec<Covered>,
    /// Those that are in memory.
    pub(super) held: Vec<Row>,
    /// Those that are read.
    pub(super) read: Receiver<Vec<Row>>,
    /// All live files, by path.
    pub(super) live: HashSet<String>,
    /// Their rows.
    pub(super) rows: u64,
    /// Bytes for sorting.
    pub(super) memory: usize,
    pub(super) now: DateTime<Utc>,
}

impl Disk {
    /// The index of a table, if it is open.
    pub(super) fn of(&self, table: &str) -> Option<&OpenIndex> {
        match self {
            Self::Open(index) if index.table == table => Some(index),
            Self::Open(_) | Self::Closed(_) => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Closes it after an error.
    pub(super) fn fail(&mut self, now: DateTime<Utc>) {
        *self = Self::Closed(Some(now + AFTER_FAILURE));
    }

    /// Opens the index of a table, and returns its hasher; none where that has to wait.
    pub(super) async fn open(
        &mut self,
        folder: &Path,
        table: String,
        ambient: &SharedAmbient,
    ) -> Result<Option<Hasher>, IndexError> {
        let now = ambient.now();
        if matches!(self, Self::Closed(Some(not_before)) if now < *not_before) {
            return Ok(None);
        }
        // The lock of another table's goes first.
        *self = Self::Closed(None);
        let secret = secret(ambient);
        let (folder, definition) = (folder.to_owned(), definition(table.clone()));
        let opened =
            tokio::task::spawn_blocking(move || Index::open(&folder, &definition, secret, now));
        let Some(index) = opened.await?? else {
            tracing::debug!(table, "another process has the ledger's index");
            *self = Self::Closed(Some(now + WHILE_LOCKED));
            return Ok(None);
        };
        let hasher = index.hasher().clone();
        *self = Self::Open(OpenIndex { table, index: Arc::new(Mutex::new(Some(index))) });
        Ok(Some(hasher))
    }
}

fn definition(table: String) -> Definition {
    let column = |id: &str, kind: &str| Column { id: id.to_owned(), kind: kind.to_owned() };
    let keys = vec![column("source_uri", "Utf8"), column("source_version", "Utf8")];
    Definition { table, keys, order: vec![column("ledger", ATTEMPT)] }
}

impl OpenIndex {
    /// Does work with the index; after an error it is closed, and forgotten where it is damaged.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Index) -> Result<T, KeyIndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let index = self.index.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut held = index.lock().unwrap_or_else(PoisonError::into_inner);
            let (index, result) = held.take().ok_or(IndexError::Closed)?.doing(work)?;
            *held = Some(index);
            Ok(result)
        });
        done.await?
    }

    /// Covers files, if all of their rows come; false if not.
    pub(super) async fn learn(&self, learned: Learned) -> Result<bool, IndexError> {
        self.run(move |index| {
            let Learned { files, held, mut read, live, rows, memory, now } = learned;
            let expected = files.iter().map(|file| file.rows).sum();
            let mut sorter = index.sorter(expected, memory);
            let mut sorted = held.len() as u64;
            sorter.push(held.iter().map(Row::entry))?;
            drop(held);
            while let Some(some) = read.blocking_recv() {
                sorted += some.len() as u64;
                sorter.push(some.iter().map(Row::entry))?;
            }
            if sorted != expected {
                return Ok(false);
            }
            index.learn(sorter, &files, now)?;
            if index.is_due(Some(rows)) {
                index.tidy(&live)?;
            }
            let (bytes, runs, entries) = index.size();
            tracing::debug!(bytes, runs, entries, "the ledger's index covers more files");
            Ok(true)
        })
        .await
    }
}
