//! Look-up by index: key → file, position and order, in sorted runs on this machine's disk.
//!
//! The time of a look-up follows the keys, not the rows of the target. The index is a cache: it may be deleted at any
//! time, it is rebuilt from the table, and it is never believed over the table. Files of a table never change, so what
//! it says of a file stays right; which files are live, and which of their rows, the table's manifests and deletes say
//! at each look-up. So the index is right for any state of the table, of any writer, and needs no history:
//! - live files that it does not cover are read once, and covered from then on;
//! - entries of files that are not live are skipped, and dropped when their run is merged;
//! - rows that position deletes delete now are skipped;
//! - files with equality deletes are scanned: which of their rows are deleted, only their values say.
//!
//! The index itself is [`crate::key_index`]. Files of this folder:
//! - `order.rs`: what an entry says of a row's order
//! - `choice.rs`: whether a scan reads less; `learn.rs`, `decide.rs`: the table's side

mod blocking;
mod choice;
mod decide;
mod error;
mod learn;
mod order;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::scan::ScanLookup;
use super::{Found, KeyLookup, Target};
use crate::key_index::AFTER_FAILURE;
use crate::key_index::entry::secret;
use crate::key_index::folder::Index;
use crate::key_index::header::{Column, Definition};
use crate::lake::Lake;
use crate::lake::read::scan::{Bounds, FileTask};
use crate::merge::newest::Newest;
use crate::merge::output::arrow_error;
use crate::merge::plan::Hit;
use crate::merge::{MergeError, MergeRules};
use choice::Reads;
use decide::{Candidate, Decider, candidates};
use error::IndexError;
use learn::Learner;
use order::OrderPrefix;

/// When an index is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexUse {
    /// Where that reads less than a scan does, in files that have so many rows at least.
    FromRows(u64),
    /// For every look-up.
    Always,
}

impl Default for IndexUse {
    fn default() -> Self {
        Self::FromRows(choice::FEW_ROWS)
    }
}

/// Where indexes are, and when they are used.
#[derive(Debug, Clone)]
pub struct IndexSettings {
    /// The folder of all indexes.
    pub folder: PathBuf,
    /// Bytes for sorting.
    pub memory: usize,
    /// See [`IndexUse`].
    pub when: IndexUse,
}

/// The index of a table, which one look-up uses at a time.
#[derive(Debug, Default)]
struct Slot {
    /// None before the first look-up, and after an error.
    index: Option<Index>,
    /// After a failure: when the index is opened again.
    not_before: Option<DateTime<Utc>>,
}

impl Slot {
    /// Records an error, which has closed the index. One that is lost is built again, and begins at once.
    fn failed(&mut self, error: &IndexError, now: DateTime<Utc>) {
        if matches!(error, IndexError::Index(error) if !error.is_lost()) {
            self.not_before = Some(now + AFTER_FAILURE);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::merge) struct IndexLookup {
    lake: Lake,
    scan: ScanLookup,
    settings: IndexSettings,
    /// By the table's UUID.
    slots: Mutex<HashMap<String, Arc<AsyncMutex<Slot>>>>,
}

#[async_trait]
impl KeyLookup for IndexLookup {
    async fn find(
        &self,
        target: &Target,
        newest: &Arc<Newest>,
        bounds: &[Bounds],
    ) -> Result<Found, MergeError> {
        let files = self.lake.files_of(&target.table, None, bounds).await?;
        let rows: u64 = files.iter().filter_map(FileTask::rows).sum();
        let reads = Reads { keys: newest.rows, rows };
        let table = &target.rules.table;
        let request = Request { target, newest, files: &files, reads };
        let why = match self.through_index(&request).await {
            Ok(Looked::Up { hits, learned }) => {
                tracing::debug!(%table, ?reads, learned, hits = hits.len(), "keys: by the index");
                return Ok(Found { files, hits });
            }
            Ok(Looked::Away(why)) => why,
            Err(IndexError::Merge(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(%table, %error, "the key index failed; the keys are scanned");
                "the index failed"
            }
        };
        tracing::debug!(%table, ?reads, why, "keys: by a scan");
        self.scan.among(target, newest, files).await
    }
}

/// What a look-up asks for.
struct Request<'a> {
    target: &'a Target,
    newest: &'a Arc<Newest>,
    files: &'a [FileTask],
    reads: Reads,
}

/// What a look-up came to.
enum Looked<T> {
    Up {
        hits: T,
        learned: usize,
    },
    /// A scan is to be done, and why.
    Away(&'static str),
}

/// The files of a look-up, as indexes into their list.
#[derive(Default)]
struct Files {
    /// By their number in the index.
    covered: HashMap<u32, usize>,
    new: Vec<usize>,
    /// Files that no index can answer for.
    scanned: Vec<usize>,
}

impl Files {
    fn of(index: &Index, files: &[FileTask]) -> Self {
        let mut all = Self::default();
        for (at, file) in files.iter().enumerate() {
            if file.rows() == Some(0) {
                continue;
            }
            match file.indexable_rows() {
                Some(rows) => match index.covers(file.path(), file.bytes(), rows) {
                    Some(number) => drop(all.covered.insert(number, at)),
                    None => all.new.push(at),
                },
                None => all.scanned.push(at),
            }
        }
        all
    }
}

impl IndexLookup {
    pub(in crate::merge) fn new(lake: &Lake, threads: usize, settings: IndexSettings) -> Self {
        let scan = ScanLookup::new(lake, threads);
        Self { lake: lake.clone(), scan, settings, slots: Mutex::default() }
    }

    async fn through_index(&self, request: &Request<'_>) -> Result<Looked<Vec<Hit>>, IndexError> {
        let Request { target, newest, files, reads } = *request;
        if let IndexUse::FromRows(few) = self.settings.when
            && let Some(why) = choice::scan(reads, few)
        {
            return Ok(Looked::Away(why));
        }
        let (definition, prefix) = definition(target)?;
        let mut slot = self.slot(&definition.table).lock_owned().await;
        let now = self.lake.ambient().now();
        if slot.not_before.is_some_and(|time| now < time) {
            return Ok(Looked::Away("the index failed a short time ago"));
        }
        let found = self.ask(&mut slot, definition, prefix, request).await;
        if let Err(error) = &found {
            slot.failed(error, self.lake.ambient().now());
        }
        let (candidates, scanned, learned) = match found? {
            Looked::Up { hits: (candidates, scanned), learned } => (candidates, scanned, learned),
            Looked::Away(why) => return Ok(Looked::Away(why)),
        };
        self.tidy_behind(slot, target);
        let (lake, threads) = (&self.lake, self.scan.threads);
        let decider = Decider { lake, target, newest, files, threads };
        let mut hits = decider.hits(candidates).await?;
        hits.extend(self.scan.hits_in(target, newest, files, &scanned).await?);
        Ok(Looked::Up { hits, learned })
    }

    /// Asks the index, which covers all files then but for those that are to be scanned. After an error it is closed.
    async fn ask(
        &self,
        slot: &mut Slot,
        definition: Definition,
        prefix: OrderPrefix,
        request: &Request<'_>,
    ) -> Result<Looked<(Vec<Candidate>, Vec<usize>)>, IndexError> {
        let Request { target, newest, files, reads } = *request;
        let Some(index) = self.opened(slot.index.take(), definition, &target.rules).await? else {
            return Ok(Looked::Away("another process has the index"));
        };
        let found = Files::of(&index, files);
        let (index, stay) = self.stay(index, target, files, &found, reads.rows).await?;
        if !stay && self.settings.when != IndexUse::Always {
            slot.index = Some(index);
            return Ok(Looked::Away("most files are new, and may be replaced again"));
        }
        let new: Vec<FileTask> = found.new.iter().map(|at| files[*at].clone()).collect();
        let (lake, threads, memory) = (&self.lake, self.scan.threads, self.settings.memory);
        let learner = Learner { lake, target, prefix: &prefix, threads, memory };
        let index = if new.is_empty() { index } else { learner.learn(index, &new).await? };
        let (covered, newest) = (Files::of(&index, files).covered, newest.clone());
        let search = move |index: &mut Index| candidates(index, &newest, &prefix, &covered);
        let (index, candidates) = blocking::with(index, &target.rules, search).await?;
        slot.index = Some(index);
        Ok(Looked::Up { hits: (candidates, found.scanned), learned: new.len() })
    }

    fn slot(&self, table: &str) -> Arc<AsyncMutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(table.to_owned()).or_default().clone()
    }

    /// The index, opened unless it is the one of this definition already.
    async fn opened(
        &self,
        open: Option<Index>,
        definition: Definition,
        rules: &MergeRules,
    ) -> Result<Option<Index>, IndexError> {
        if let Some(index) = open.filter(|index| index.is_of(&definition)) {
            return Ok(Some(index));
        }
        let (folder, ambient) = (self.settings.folder.clone(), self.lake.ambient().clone());
        let secret = secret(&ambient);
        let opened = tokio::task::spawn_blocking(move || {
            Index::open(&folder, &definition, secret, ambient.now())
        });
        blocking::joined(opened.await, rules)
    }

    /// Whether the files that the index does not cover will stay, so that to cover them pays.
    async fn stay(
        &self,
        index: Index,
        target: &Target,
        files: &[FileTask],
        found: &Files,
        rows: u64,
    ) -> Result<(Index, bool), IndexError> {
        let count = |file: &FileTask| file.rows().unwrap_or_default();
        let new: Vec<&FileTask> = found.new.iter().map(|at| &files[*at]).collect();
        let new_rows: u64 = new.iter().map(|file| count(file)).sum();
        if choice::few_new(new_rows, rows) {
            return Ok((index, true));
        }
        let paths: Vec<String> = new.iter().map(|file| file.path().to_owned()).collect();
        let live = live_paths(&self.lake, target).await?;
        let wait = move |index: &mut Index| index.wait_for(paths, &live);
        let (index, again) = blocking::with(index, &target.rules, wait).await?;
        let seen = new.iter().filter(|file| again.contains(file.path()));
        let seen_rows: u64 = seen.map(|file| count(file)).sum();
        Ok((index, choice::will_stay(seen_rows, new_rows)))
    }

    /// Merges runs where that is due; the next look-up waits meanwhile.
    fn tidy_behind(&self, mut slot: OwnedMutexGuard<Slot>, target: &Target) {
        let Some(index) = slot.index.take_if(|index| index.is_due(rows_of(target))) else { return };
        let (lake, target) = (self.lake.clone(), target.clone());
        tokio::spawn(async move {
            let table = &target.rules.table;
            match tidied(&lake, index, &target).await {
                Ok(index) => {
                    let (bytes, runs, entries) = index.size();
                    tracing::debug!(%table, bytes, runs, entries, "runs of the key index merged");
                    slot.index = Some(index);
                }
                Err(error) => {
                    slot.failed(&error, lake.ambient().now());
                    tracing::warn!(%table, %error, "runs of the key index were not merged");
                }
            }
        });
    }
}

/// The rows of all live files, deleted ones included, where the table says so.
fn rows_of(target: &Target) -> Option<u64> {
    target.table.current()?.summary.get("total-records")?.parse().ok()
}

/// All live files, those without a key of this look-up included.
async fn live_paths(lake: &Lake, target: &Target) -> Result<HashSet<String>, IndexError> {
    let live = lake.files_of(&target.table, None, &[]).await?;
    Ok(live.iter().map(|file| file.path().to_owned()).collect())
}

/// Merges the runs that are due, without files that are not live.
async fn tidied(lake: &Lake, index: Index, target: &Target) -> Result<Index, IndexError> {
    let live = live_paths(lake, target).await?;
    let tidied = blocking::with(index, &target.rules, move |index| index.tidy(&live));
    Ok(tidied.await?.0)
}

/// What the index of a target is for, and how its orders are shortened.
fn definition(target: &Target) -> Result<(Definition, OrderPrefix), MergeError> {
    let (schema, rules) = (target.schema.arrow(), &target.rules);
    let field = |name: &String| schema.field_with_name(name).map_err(|e| arrow_error(rules, e));
    let column = |name: &String| {
        let field = field(name)?;
        let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY).cloned().unwrap_or_default();
        Ok::<_, MergeError>(Column { id, kind: field.data_type().to_string() })
    };
    let columns = |names: &[String]| names.iter().map(column).collect::<Result<Vec<_>, _>>();
    let mut widths = Vec::new();
    for name in &rules.order {
        // What is not a number is compared as its bytes are, and ends the numbers.
        let Some(width) = field(name)?.data_type().primitive_width() else { break };
        widths.push(width);
    }
    let (keys, order) = (columns(&rules.keys)?, columns(&rules.order)?);
    Ok((Definition { table: target.table.uuid(), keys, order }, OrderPrefix::new(widths)))
}
