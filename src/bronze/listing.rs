//! Listing: objects in the raw zone that are not in the ledger are ingested.
//!
//! On S3 the checkpoint holds a low watermark: earlier listings processed what is older. It stays at or
//! below the newest object listed, the beginning of the listing, every object that a later listing has
//! to show again, and every upload that was not complete when the listing began (its object will appear
//! with the time of its beginning). A folder goes by the ledger alone.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;

use super::{
    Bronze, BronzeCheckpoint, BronzeError, BronzeReport, ListingProgress, ObjectEnd, Replay,
};
use crate::batch::Batcher;
use crate::ledger::ObjectOutcome;
use crate::ledger::folder::folder_of;
use crate::reason::Reason;
use crate::source::{Listing, ObjectId, RawObject, Requested};

/// Listed objects are looked up in the ledger and ingested this many at a time at most, so that memory
/// does not follow the listing (I7).
const CHUNK: usize = 10_000;
/// Where batches are small, this many of them: an interrupted listing resumes after its last chunk.
const BATCHES: usize = 10;
/// An object that could not be read is tried again no sooner: it may open, and fail further on.
const RETRY_PAUSE: TimeDelta = TimeDelta::minutes(1);
/// How far the store's clock, which stamps the objects, may be behind this machine's; and how long a PUT
/// may take that is stamped with its beginning.
const SKEW: TimeDelta = TimeDelta::hours(1);
/// An interrupted listing is resumed within this time; later the next listing starts over.
const RESUMED_WITHIN: TimeDelta = TimeDelta::hours(24);

/// What a running listing has found so far.
struct Run {
    report: BronzeReport,
    /// Whether deliveries that wait are looked at again.
    backfills: bool,
    progress: ListingProgress,
    error: Option<String>,
    /// Objects that were listed as waiting and ended with the request for another one.
    released: usize,
}

impl Run {
    fn of(progress: ListingProgress, backfills: bool) -> Self {
        Self { report: BronzeReport::default(), backfills, progress, error: None, released: 0 }
    }

    fn unresolved(&mut self, at: DateTime<Utc>) {
        self.progress.unresolved =
            Some(self.progress.unresolved.map_or(at, |before| before.min(at)));
    }
}

impl Bronze {
    /// Lists what is new in the raw zone and ingests what the ledger does not know.
    pub async fn step(&self) -> Result<BronzeReport, BronzeError> {
        self.step_with(|_| {}).await
    }

    /// [`Bronze::step`]; `progress` gets what was done so far, now and then.
    pub async fn step_with(
        &self,
        progress: impl FnMut(&BronzeReport) + Send,
    ) -> Result<BronzeReport, BronzeError> {
        self.list(&self.settings.root, true, progress).await
    }

    /// Lists everything below `root`, whatever the low watermark, and ingests what the ledger does not
    /// know.
    pub async fn backfill(
        &self,
        root: &str,
        progress: impl FnMut(&BronzeReport) + Send,
    ) -> Result<BronzeReport, BronzeError> {
        self.list(root, false, progress).await
    }

    /// The next listing of the whole pipeline goes back to this time.
    pub async fn list_from(&self, time: DateTime<Utc>) -> Result<(), BronzeError> {
        let asked_at = self.lake.ambient().now();
        self.save_checkpoint(|checkpoint| {
            let from = checkpoint.replay.map_or(time, |before| before.from.min(time));
            checkpoint.replay = Some(Replay { from, asked_at });
        })
        .await
    }

    async fn list(
        &self,
        root: &str,
        only_new: bool,
        mut progress: impl FnMut(&BronzeReport) + Send,
    ) -> Result<BronzeReport, BronzeError> {
        self.prepare().await?;
        let mut run = self.start(root, only_new).await?;
        let reached = run.progress.reached.clone();
        let listing = Listing { root: root.to_owned(), reached, shallow: false };
        let mut pages = self.source.list(&listing);
        let mut chunk: Vec<RawObject> = Vec::new();
        while let Some(page) = pages.try_next().await? {
            chunk.extend(page.objects.into_iter().filter(|object| self.is_due(object, &mut run)));
            if let Some((prefix, to)) = page.reached {
                run.progress.reached.insert(prefix, to);
            }
            if chunk.len() >= self.chunk() {
                self.ingest_chunk(std::mem::take(&mut chunk), &mut run).await?;
                if self.is_on_s3() {
                    let reached = run.progress.clone();
                    self.save_checkpoint(|c| c.listing = Some(reached.clone())).await?;
                }
                progress(&run.report);
            }
        }
        drop(pages);
        self.ingest_chunk(chunk, &mut run).await?;
        self.finish(root, run).await
    }

    /// Counts a listed object, and says whether it is this pipeline's and not below the low watermark.
    fn is_due(&self, object: &RawObject, run: &mut Run) -> bool {
        let is_data = self.settings.is_data(&object.id.uri);
        if !is_data && !self.settings.is_marker(&object.id.uri) {
            return false;
        }
        run.report.listed += usize::from(is_data);
        let modified = object.id.last_modified;
        run.progress.newest = run.progress.newest.max(Some(modified));
        let is_older = run.progress.since.is_some_and(|since| modified < since);
        run.report.known += usize::from(is_older && is_data);
        !is_older
    }

    fn chunk(&self) -> usize {
        self.settings.batch.max_objects.saturating_mul(BATCHES).min(CHUNK)
    }

    pub(super) fn is_on_s3(&self) -> bool {
        self.settings.root.starts_with("s3://")
    }

    /// Where a listing starts: at the low watermark, or where the same listing was interrupted.
    async fn start(&self, root: &str, only_new: bool) -> Result<Run, BronzeError> {
        let mut progress = ListingProgress {
            root: root.to_owned(),
            began_at: self.lake.ambient().now(),
            since: None,
            newest: None,
            unresolved: None,
            reached: BTreeMap::new(),
        };
        if !self.is_on_s3() {
            return Ok(Run::of(progress, !only_new));
        }
        // A low watermark holds for the objects of one glob.
        let is_of_this = |c: &BronzeCheckpoint| {
            c.source.as_ref().is_none_or(|source| *source == self.settings.glob)
        };
        let stored = self.load_checkpoint().await?.filter(is_of_this);
        if only_new {
            let replay = stored.as_ref().and_then(|c| c.replay).map(|replay| replay.from);
            let low = stored.as_ref().and_then(|c| c.low_watermark);
            progress.since = low.map(|low| replay.map_or(low, |from| low.min(from)));
        }
        if let Some(before) = stored.and_then(|stored| interrupted(stored, &progress)) {
            tracing::info!(root, began_at = %before.began_at, "resuming an interrupted listing");
            return Ok(Run::of(before, !only_new));
        }
        // Before the listing: what is completed during it may or may not be listed.
        let is_match = |uri: &str| self.settings.is_data(uri) || self.settings.is_marker(uri);
        progress.unresolved = self.source.oldest_incomplete(root, &is_match).await?;
        Ok(Run::of(progress, !only_new))
    }

    /// Ingests what is unknown of a chunk, looked up part by part: a folder may bring one that is much
    /// larger than a page.
    async fn ingest_chunk(
        &self,
        mut chunk: Vec<RawObject>,
        run: &mut Run,
    ) -> Result<(), BronzeError> {
        chunk.sort_by(|a, b| (a.id.last_modified, &a.id.uri).cmp(&(b.id.last_modified, &b.id.uri)));
        let mut batcher = Batcher::new(self.settings.batch);
        for objects in chunk.chunks(self.chunk()) {
            for object in self.unknown(objects, run).await? {
                let size = object.size;
                let closed = batcher.push(object, size, self.lake.ambient().now());
                if let Some(batch) = closed {
                    self.ingest_listed(batch, run).await?;
                }
            }
        }
        if let Some(batch) = batcher.close_if_due(self.lake.ambient().now(), true) {
            self.ingest_listed(batch, run).await?;
        }
        Ok(())
    }

    async fn ingest_listed(&self, batch: Vec<RawObject>, run: &mut Run) -> Result<(), BronzeError> {
        let times: Vec<_> = batch.iter().map(|object| object.id.last_modified).collect();
        let requested: Vec<Requested> = batch.into_iter().map(Requested::Listed).collect();
        let ingested = self.ingest(&requested).await?;
        for (end, at) in ingested.ends.iter().zip(times) {
            match end {
                ObjectEnd::Postponed { error } => {
                    run.error.get_or_insert_with(|| error.clone());
                    run.unresolved(at);
                }
                ObjectEnd::Failed { reason: Reason::Unreadable, .. } | ObjectEnd::Waiting => {
                    run.unresolved(at);
                }
                _ => {}
            }
        }
        run.report.add(ingested.report);
        run.released += ingested.released;
        Ok(())
    }

    /// The objects that the ledger has no outcome for; and those that were missing or unreadable and can
    /// be opened now, or that an operator replayed.
    async fn unknown(
        &self,
        objects: &[RawObject],
        run: &mut Run,
    ) -> Result<Vec<RawObject>, BronzeError> {
        let bronze = self.lake.find(&self.settings.table).await?;
        let ids: HashSet<_> = objects.iter().map(|o| o.id.clone()).collect();
        let known = self.ledger.known(bronze.as_ref(), &ids).await?;
        let waiting = known.iter().filter(|(_, a)| a.outcome == ObjectOutcome::Waiting);
        let waiting: Vec<&ObjectId> = waiting.map(|(id, _)| id).collect();
        let open = self.open_folders(&waiting, run.backfills).await?;
        let now = self.lake.ambient().now();
        let mut unknown = Vec::new();
        for object in objects {
            let again = match known.get(&object.id) {
                None => true,
                Some(attempt) if attempt.outcome == ObjectOutcome::Replayed => true,
                // The delivery may never be complete, or deliveries be configured no longer.
                Some(attempt) if attempt.outcome == ObjectOutcome::Waiting => {
                    run.unresolved(object.id.last_modified);
                    !open.contains(folder_of(&object.id.uri))
                }
                // The cause may have passed. Opened first, not read: another attempt that fails the same
                // way is no news for the ledger.
                Some(attempt) if attempt.again => {
                    run.unresolved(object.id.last_modified);
                    now - attempt.finished_at >= RETRY_PAUSE
                        && self.source.open(&Requested::Listed(object.clone())).await.is_ok()
                }
                Some(_) => false,
            };
            match again {
                true => unknown.push(object.clone()),
                false => run.report.known += usize::from(self.settings.is_data(&object.id.uri)),
            }
        }
        Ok(unknown)
    }

    async fn finish(&self, root: &str, run: Run) -> Result<BronzeReport, BronzeError> {
        let Run { mut report, progress, error, released, .. } = run;
        // They were counted when they were listed, or, by now, are counted as ingested before.
        report.known = report.known.saturating_sub(released);
        let whole = root == self.settings.root;
        let low = [progress.newest, Some(progress.began_at - SKEW), progress.unresolved];
        let low = low.into_iter().flatten().min();
        self.save_checkpoint(|checkpoint| {
            checkpoint.processed_through = checkpoint.processed_through.max(progress.newest);
            if self.is_on_s3() && whole {
                checkpoint.low_watermark = low;
                // A request that came during this listing is for the next one.
                checkpoint.replay =
                    checkpoint.replay.filter(|replay| replay.asked_at >= progress.began_at);
                checkpoint.source = Some(self.settings.glob.clone());
            }
            checkpoint.listing = None;
        })
        .await?;
        match error {
            Some(error) => Err(BronzeError::Postponed {
                count: report.postponed,
                listed: report.listed,
                error,
            }),
            None => Ok(report),
        }
    }
}

/// The progress of an interrupted listing that the listing `now` may resume.
fn interrupted(stored: BronzeCheckpoint, now: &ListingProgress) -> Option<ListingProgress> {
    let asked_at = stored.replay.map(|replay| replay.asked_at);
    stored.listing.filter(|before| {
        before.root == now.root
            && before.since == now.since
            && now.began_at - before.began_at < RESUMED_WITHIN
            // It may have passed the objects that were requested since.
            && asked_at.is_none_or(|asked_at| asked_at < before.began_at)
    })
}
