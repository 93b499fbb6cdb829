//! Listing: what lies in the raw zone and is not in the ledger is taken in.
//!
//! On S3 the checkpoint holds a floor: what is older was dealt with by earlier listings. It stays at or
//! below the newest object listed, the beginning of the listing, every object that has to come up again
//! and every upload that was not complete when the listing began (its object will appear with the time
//! of its beginning). A folder goes by the ledger alone.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;

use super::{Bronze, BronzeError, BronzeReport, Fate};
use crate::batch::Batcher;
use crate::checkpoint::{self, BronzeCheckpoint, ListingProgress, Replay};
use crate::ledger::{ObjectOutcome, UNREADABLE};
use crate::source::{Listing, RawObject, Requested};

/// Listed objects are looked up in the ledger and taken in this many at a time at most, so that memory
/// does not follow the listing (I7).
const SHARE: usize = 10_000;
/// Where batches are small, so many of them: a listing that is broken off is taken up after its last share.
const BATCHES: usize = 10;
/// An object that could not be read is tried again no sooner: it may open, and fail further on.
const RETRY_PAUSE: TimeDelta = TimeDelta::minutes(1);
/// How far the store's clock, which stamps the objects, may be behind ours; and how long a PUT may take
/// that is stamped with its beginning.
const SKEW: TimeDelta = TimeDelta::hours(1);
/// A listing that was broken off is taken up again within this time.
const TAKEN_UP: TimeDelta = TimeDelta::hours(24);

/// What a listing has learnt.
struct Course {
    report: BronzeReport,
    progress: ListingProgress,
    error: Option<String>,
}

impl Course {
    fn unresolved(&mut self, at: DateTime<Utc>) {
        self.progress.unresolved =
            Some(self.progress.unresolved.map_or(at, |before| before.min(at)));
    }
}

impl Bronze {
    /// Lists what is new in the raw zone and takes in what the ledger does not know.
    pub async fn step(&self) -> Result<BronzeReport, BronzeError> {
        self.step_telling(|_| {}).await
    }

    /// [`Bronze::step`], with `told` told now and then of what was done so far.
    pub async fn step_telling(
        &self,
        told: impl FnMut(&BronzeReport) + Send,
    ) -> Result<BronzeReport, BronzeError> {
        self.list(&self.settings.root, true, told).await
    }

    /// Lists everything below `root`, floor or not, and takes in what the ledger does not know.
    pub async fn backfill(
        &self,
        root: &str,
        told: impl FnMut(&BronzeReport) + Send,
    ) -> Result<BronzeReport, BronzeError> {
        self.list(root, false, told).await
    }

    /// The next whole listing that begins goes back as far as to this time.
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
        mut told: impl FnMut(&BronzeReport) + Send,
    ) -> Result<BronzeReport, BronzeError> {
        self.prepare().await?;
        let mut course = self.course(root, only_new).await?;
        let listing = Listing { root: root.to_owned(), reached: course.progress.reached.clone() };
        let mut pages = self.source.list(&listing);
        let mut share: Vec<RawObject> = Vec::new();
        while let Some(page) = pages.try_next().await? {
            for object in page.objects {
                if !self.settings.source.is_match(&object.id.uri) {
                    continue;
                }
                course.report.listed += 1;
                let modified = object.id.last_modified;
                course.progress.newest = course.progress.newest.max(Some(modified));
                if course.progress.since.is_some_and(|since| modified < since) {
                    course.report.known += 1;
                } else {
                    share.push(object);
                }
            }
            if let Some((lane, to)) = page.reached {
                course.progress.reached.insert(lane, to);
            }
            if share.len() >= self.share() {
                self.take_share(std::mem::take(&mut share), &mut course).await?;
                if self.is_on_s3() {
                    let progress = course.progress.clone();
                    self.save_checkpoint(|c| c.listing = Some(progress.clone())).await?;
                }
                told(&course.report);
            }
        }
        drop(pages);
        self.take_share(share, &mut course).await?;
        self.finish(root, course).await
    }

    fn share(&self) -> usize {
        self.settings.batch.max_objects.saturating_mul(BATCHES).min(SHARE)
    }

    fn is_on_s3(&self) -> bool {
        self.settings.root.starts_with("s3://")
    }

    /// Where a listing starts: at the floor, or where one of the same was broken off.
    async fn course(&self, root: &str, only_new: bool) -> Result<Course, BronzeError> {
        let now = self.lake.ambient().now();
        let mut progress = ListingProgress {
            root: root.to_owned(),
            began_at: now,
            since: None,
            newest: None,
            unresolved: None,
            reached: BTreeMap::new(),
        };
        let course = |progress| Course { report: BronzeReport::default(), progress, error: None };
        if !self.is_on_s3() {
            return Ok(course(progress));
        }
        let stored =
            checkpoint::load::<BronzeCheckpoint>(&*self.checkpoints, &self.settings.pipeline)
                .await?
                .map(|(checkpoint, _)| checkpoint);
        // A floor holds for the objects of one glob.
        let stored = stored.filter(|c| c.source.as_ref().is_none_or(|s| *s == self.settings.glob));
        if only_new {
            let replay = stored.as_ref().and_then(|c| c.replay).map(|replay| replay.from);
            let floor = stored.as_ref().and_then(|c| c.floor);
            progress.since = floor.map(|floor| replay.map_or(floor, |from| floor.min(from)));
        }
        let asked_at = stored.as_ref().and_then(|c| c.replay).map(|replay| replay.asked_at);
        let broken_off = stored.and_then(|c| c.listing).filter(|before| {
            before.root == root
                && before.since == progress.since
                && now - before.began_at < TAKEN_UP
                // It may have passed what somebody has asked for since.
                && asked_at.is_none_or(|asked_at| asked_at < before.began_at)
        });
        if let Some(before) = broken_off {
            tracing::info!(root, began_at = %before.began_at, "taking up a listing that was broken off");
            return Ok(course(before));
        }
        // Before the listing: what is completed during it may or may not be listed.
        let wanted = |uri: &str| self.settings.source.is_match(uri);
        progress.unresolved = self.source.oldest_incomplete(root, &wanted).await?;
        Ok(course(progress))
    }

    /// Takes in what is unknown of a share; one that is much larger than a page, which only a folder
    /// brings, bit by bit.
    async fn take_share(
        &self,
        mut share: Vec<RawObject>,
        course: &mut Course,
    ) -> Result<(), BronzeError> {
        share.sort_by(|a, b| (a.id.last_modified, &a.id.uri).cmp(&(b.id.last_modified, &b.id.uri)));
        let mut batcher = Batcher::new(self.settings.batch);
        for objects in share.chunks(self.share()) {
            for object in self.unknown(objects, course).await? {
                let size = object.size;
                let closed = batcher.push(object, size, self.lake.ambient().now());
                if let Some(batch) = closed {
                    self.take_batch(batch, course).await?;
                }
            }
        }
        if let Some(batch) = batcher.close_if_due(self.lake.ambient().now(), true) {
            self.take_batch(batch, course).await?;
        }
        Ok(())
    }

    async fn take_batch(
        &self,
        batch: Vec<RawObject>,
        course: &mut Course,
    ) -> Result<(), BronzeError> {
        let times: Vec<_> = batch.iter().map(|object| object.id.last_modified).collect();
        let wanted: Vec<Requested> = batch.into_iter().map(Requested::Listed).collect();
        let taken = self.ingest(&wanted).await?;
        for (fate, at) in taken.fates.iter().zip(times) {
            match fate {
                Fate::Postponed { error } => {
                    course.error.get_or_insert_with(|| error.clone());
                    course.unresolved(at);
                }
                Fate::Failed(row) if row.reason == Some(UNREADABLE) => course.unresolved(at),
                _ => {}
            }
        }
        course.report.add(taken.report);
        Ok(())
    }

    /// Those that the ledger has no outcome for: a listing brings nothing up again, but for what was
    /// missing or could not be read, and is there now, and what somebody wants to have tried again.
    async fn unknown(
        &self,
        objects: &[RawObject],
        course: &mut Course,
    ) -> Result<Vec<RawObject>, BronzeError> {
        let bronze = self.lake.find(&self.settings.table).await?;
        let wanted: HashSet<_> = objects.iter().map(|o| o.id.clone()).collect();
        let known = self.ledger.known(bronze.as_ref(), &wanted).await?;
        let now = self.lake.ambient().now();
        let mut unknown = Vec::new();
        for object in objects {
            let again = match known.get(&object.id) {
                None => true,
                Some(attempt) if attempt.outcome == ObjectOutcome::Replayed => true,
                // It is there, so what kept it from being read may have passed. Asked without reading
                // it: an attempt that fails the same way is no news for the ledger.
                Some(attempt) if attempt.again => {
                    course.unresolved(object.id.last_modified);
                    now - attempt.finished_at >= RETRY_PAUSE
                        && self.source.open(&Requested::Listed(object.clone())).await.is_ok()
                }
                Some(_) => false,
            };
            match again {
                true => unknown.push(object.clone()),
                false => course.report.known += 1,
            }
        }
        Ok(unknown)
    }

    async fn finish(&self, root: &str, course: Course) -> Result<BronzeReport, BronzeError> {
        let Course { report, progress, error } = course;
        let whole = root == self.settings.root;
        let floor = [progress.newest, Some(progress.began_at - SKEW), progress.unresolved];
        let floor = floor.into_iter().flatten().min();
        self.save_checkpoint(|checkpoint| {
            checkpoint.processed_through = checkpoint.processed_through.max(progress.newest);
            if self.is_on_s3() && whole {
                checkpoint.floor = floor;
                // What was asked for while this listing went on is for the next one.
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
