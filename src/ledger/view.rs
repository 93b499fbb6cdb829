//! The ledger as of one state of bronze.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use super::folder::{folder_of, is_object};
use super::index::{Asked, Files, batches};
use super::rows::{self, Rank};
use super::{Attempt, Known, Ledger, ObjectOutcome, Unpublished};
use crate::lake::read::scan::{Bounds, FileTask};
use crate::lake::write::FileRef;
use crate::lake::{LakeError, Table};
use crate::source::ObjectId;

/// A second after all rows.
const FAR: i64 = 250_000_000_000;

/// The ledger as of one state of bronze and of the objects table.
#[derive(Debug)]
pub struct View {
    ledger: Ledger,
    objects: Table,
    /// Files that bronze's snapshot properties name and that are not published yet.
    unpublished: Vec<FileTask>,
}

impl Ledger {
    /// See [`View`]. SUBTLE: bronze must be loaded before this call. Rows that are published between the
    /// two loads move from bronze's snapshot properties to the objects table, and are seen there. In the
    /// other order they would be seen in neither.
    ///
    /// Rows whose file is gone before it was published are not in it.
    pub async fn view(&self, bronze: Option<&Table>) -> Result<View, LakeError> {
        let (objects, unpublished) = self.look(bronze).await?;
        Ok(self.view_of(objects, &unpublished.files))
    }

    /// The same with all rows, for a batch: those whose file is gone are rebuilt, and published, first.
    pub async fn whole_view(&self, bronze: Option<&Table>) -> Result<View, LakeError> {
        let (objects, unpublished) = self.look(bronze).await?;
        match bronze.filter(|_| unpublished.gone > 0) {
            Some(bronze) => {
                Box::pin(self.publish(bronze, &[])).await?;
                self.view(Some(bronze)).await
            }
            None => Ok(self.view_of(objects, &unpublished.files)),
        }
    }

    async fn look(&self, bronze: Option<&Table>) -> Result<(Table, Unpublished), LakeError> {
        let objects = self.open().await?;
        let unpublished = match bronze {
            Some(bronze) => {
                let through = self.published_through(bronze, &objects).await?;
                self.unpublished(bronze, &objects, through.as_ref(), &[]).await?
            }
            None => Unpublished::default(),
        };
        Ok((objects, unpublished))
    }

    /// With these files beside the objects table.
    pub(super) fn view_of(&self, objects: Table, unpublished: &[FileRef]) -> View {
        let unpublished = unpublished.iter().map(|file| file.to_task(&objects)).collect();
        View { ledger: self.clone(), objects, unpublished }
    }
}

impl View {
    /// The objects table, as it was loaded.
    pub fn objects(&self) -> &Table {
        &self.objects
    }

    fn files(&self) -> Files<'_> {
        let (lake, objects) = (&self.ledger.lake, &self.objects);
        Files { lake, objects, unpublished: &self.unpublished }
    }

    /// What is known of `wanted`.
    pub async fn known(&self, wanted: &HashSet<ObjectId>) -> Result<Known, LakeError> {
        let ids: Vec<ObjectId> = wanted.iter().cloned().collect();
        match self.ledger.index.find(&self.files(), Asked::Exactly(&ids)).await? {
            Some(found) => {
                let of = |(index, attempt): (usize, Attempt)| (ids[index].clone(), attempt);
                Ok(found.into_iter().map(of).collect())
            }
            None => self.scan(wanted).await,
        }
    }

    /// When an object was ingested, as far as that is cheap to know: where there are too many for an index the answer
    /// is never, and the commit looks up its whole batch at once.
    pub async fn ingested_at(&self, id: &ObjectId) -> Result<Option<DateTime<Utc>>, LakeError> {
        let asked = Asked::Exactly(std::slice::from_ref(id));
        let found = self.ledger.index.find(&self.files(), asked).await?.unwrap_or_default();
        let ingested = found.iter().find(|(_, a)| a.outcome == ObjectOutcome::Ingested);
        Ok(ingested.map(|(_, attempt)| attempt.finished_at))
    }

    /// Which of these were ingested in that version at any time: for objects that are gone, and whose
    /// LastModified is no longer known.
    pub async fn ingested_once(
        &self,
        wanted: &[ObjectId],
    ) -> Result<HashSet<(String, String)>, LakeError> {
        let version = |id: &ObjectId| (id.uri.clone(), id.version.clone());
        if wanted.is_empty() {
            return Ok(HashSet::new());
        }
        match self.ledger.index.find(&self.files(), Asked::AtAnyTime(wanted)).await? {
            Some(found) => {
                let is_ingested =
                    |(_, attempt): &(usize, Attempt)| attempt.outcome == ObjectOutcome::Ingested;
                let of = |(index, _): (usize, Attempt)| version(&wanted[index]);
                Ok(found.into_iter().filter(is_ingested).map(of).collect())
            }
            None => self.search(wanted.iter().map(version).collect()).await,
        }
    }

    /// Looks in the files for versions that were ingested at any time.
    async fn search(
        &self,
        wanted: HashSet<(String, String)>,
    ) -> Result<HashSet<(String, String)>, LakeError> {
        let uris: HashSet<&str> = wanted.iter().map(|(uri, _)| uri.as_str()).collect();
        let mut found = HashSet::new();
        let files = self.all_files(&bounds_of(&uris)).await?;
        let mut batches = batches(&self.ledger.lake, &self.objects, files);
        while let Some(batch) = batches.try_next().await? {
            for (id, attempt) in rows::attempts(self.objects.name(), &batch, Some(&uris))? {
                let version = (id.uri, id.version);
                if attempt.outcome == ObjectOutcome::Ingested && wanted.contains(&version) {
                    found.insert(version);
                }
            }
        }
        Ok(found)
    }

    /// The objects of a folder that wait for their delivery, of rows that are no older than `since`.
    pub async fn waiting_in(
        &self,
        folder: &str,
        since: DateTime<Utc>,
    ) -> Result<HashSet<ObjectId>, LakeError> {
        let after_all = format!("{folder}\u{10FFFF}");
        let seconds = [since.timestamp(), since.timestamp().max(FAR)];
        let bounds = [
            Bounds::of_texts(rows::SOURCE_URI, [folder, &after_all].into_iter()),
            Bounds::of_seconds(rows::FINISHED_AT, seconds.into_iter()),
        ];
        let bounds: Vec<Bounds> = bounds.into_iter().flatten().collect();
        let files = self.all_files(&bounds).await?;
        let mut batches = batches(&self.ledger.lake, &self.objects, files);
        let mut waiting = HashSet::new();
        while let Some(batch) = batches.try_next().await? {
            for (id, attempt) in rows::attempts(self.objects.name(), &batch, None)? {
                let is_here = folder_of(&id.uri) == folder && is_object(&id);
                if is_here && attempt.outcome == ObjectOutcome::Waiting {
                    waiting.insert(id);
                }
            }
        }
        let known = self.known(&waiting).await?;
        waiting.retain(|id| known.get(id).is_some_and(|a| a.outcome == ObjectOutcome::Waiting));
        Ok(waiting)
    }

    /// The published files within bounds, and the unpublished ones.
    async fn all_files(&self, bounds: &[Bounds]) -> Result<Vec<FileTask>, LakeError> {
        let mut files = self.ledger.lake.files_of(&self.objects, None, bounds).await?;
        files.extend(self.unpublished.iter().cloned());
        Ok(files)
    }

    /// For people: how the newest attempt at each of these URIs ended, in whatever version, in words
    /// such as `rejected (unreadable)`.
    pub async fn newest(&self, uris: &[String]) -> Result<HashMap<String, String>, LakeError> {
        let wanted: HashSet<&str> = uris.iter().map(String::as_str).collect();
        let files = self.all_files(&bounds_of(&wanted)).await?;
        let mut newest: HashMap<String, (Rank, String)> = HashMap::new();
        let mut batches = batches(&self.ledger.lake, &self.objects, files);
        while let Some(batch) = batches.try_next().await? {
            for (uri, rank, words) in rows::words(&batch, &wanted) {
                if newest.get(&uri).is_none_or(|(before, _)| *before < rank) {
                    newest.insert(uri, (rank, words));
                }
            }
        }
        Ok(newest.into_iter().map(|(uri, (_, words))| (uri, words)).collect())
    }

    /// Looks in the files whose objects were modified when these were.
    async fn scan(&self, wanted: &HashSet<ObjectId>) -> Result<Known, LakeError> {
        let mut known = Known::default();
        let times = wanted.iter().map(|id| id.last_modified.timestamp());
        let Some(bounds) = Bounds::of_seconds(rows::LAST_MODIFIED, times) else {
            return Ok(known);
        };
        let uris: HashSet<&str> = wanted.iter().map(|id| id.uri.as_str()).collect();
        let files = self.all_files(&[bounds]).await?;
        let mut batches = batches(&self.ledger.lake, &self.objects, files);
        while let Some(batch) = batches.try_next().await? {
            for (id, attempt) in rows::attempts(self.objects.name(), &batch, Some(&uris))? {
                if wanted.contains(&id) {
                    keep_newest(&mut known, id, attempt);
                }
            }
        }
        Ok(known)
    }
}

fn keep_newest<K: Eq + Hash>(newest: &mut HashMap<K, Attempt>, key: K, attempt: Attempt) {
    if newest.get(&key).is_none_or(|before| before.rank() < attempt.rank()) {
        newest.insert(key, attempt);
    }
}

fn bounds_of(uris: &HashSet<&str>) -> Vec<Bounds> {
    Bounds::of_texts(rows::SOURCE_URI, uris.iter().copied()).into_iter().collect()
}
