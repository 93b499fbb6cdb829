//! Reading again what was ingested, under another configuration, at the request of an operator.
//!
//! The objects are listed, and each is requested with a time: what was ingested of it before that time is replaced. So
//! a request takes effect once, however often and by whatever worker it is carried out.

use std::collections::{HashMap, HashSet};

use chrono::TimeDelta;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use globset::GlobSet;

use super::{Bronze, BronzeError, BronzeReport};
use crate::batch::Batcher;
use crate::ledger::ObjectOutcome;
use crate::source::{Listing, ObjectId, RawObject, Requested, Reread};

impl Bronze {
    /// Reads the objects below `root` again that match the pipeline and `which`. Where an object gives rows, they
    /// replace those that it gave before; where it cannot be read, these stay.
    pub async fn read_again(
        &self,
        root: &str,
        which: &GlobSet,
        mut progress: impl FnMut(&BronzeReport) + Send,
    ) -> Result<BronzeReport, BronzeError> {
        self.prepare().await?;
        let mut report = BronzeReport::default();
        let mut batcher = Batcher::new(self.settings.batch);
        let listing = Listing { root: root.to_owned(), ..Listing::default() };
        let mut pages = self.matching(&listing, which);
        while let Some(page) = pages.try_next().await? {
            for object in page {
                report.listed += 1;
                let size = object.size;
                if let Some(batch) = batcher.push(object, size, self.lake.ambient().now()) {
                    report.add(self.ingest_again(batch).await?);
                    progress(&report);
                }
            }
        }
        if let Some(batch) = batcher.close_if_due(self.lake.ambient().now(), true) {
            report.add(self.ingest_again(batch).await?);
        }
        Ok(report)
    }

    /// How many objects below `root` match the pipeline and `which`.
    pub async fn count_again(&self, root: &str, which: &GlobSet) -> Result<usize, BronzeError> {
        let listing = Listing { root: root.to_owned(), ..Listing::default() };
        let pages = self.matching(&listing, which);
        pages.try_fold(0, async |count, page| Ok(count + page.len())).await
    }

    /// The listed objects that match the pipeline and `which`, page by page.
    fn matching<'a>(
        &'a self,
        listing: &'a Listing,
        which: &'a GlobSet,
    ) -> BoxStream<'a, Result<Vec<RawObject>, BronzeError>> {
        let is_match = |object: &RawObject| {
            self.settings.is_data(&object.id.uri) && which.is_match(&object.id.uri)
        };
        let pages = self.source.list(listing).map_ok(move |mut page| {
            page.objects.retain(is_match);
            page.objects
        });
        pages.err_into().boxed()
    }

    async fn ingest_again(&self, batch: Vec<RawObject>) -> Result<BronzeReport, BronzeError> {
        let ids: HashSet<ObjectId> = batch.iter().map(|object| object.id.clone()).collect();
        let bronze = self.lake.find(&self.settings.table).await?;
        let known = self.ledger.known(bronze.as_ref(), &ids).await?;
        let ingested = known.iter().filter(|(_, a)| a.outcome == ObjectOutcome::Ingested);
        let ingested: HashSet<ObjectId> = ingested.map(|(id, _)| id.clone()).collect();
        let mut sequences = match &bronze {
            // Only an event of S3 brings one.
            Some(bronze) if self.is_on_s3() => self.sequences(bronze, &ingested).await?,
            _ => HashMap::new(),
        };
        let now = self.lake.ambient().now();
        let requested = batch.into_iter().map(|object| {
            // SUBTLE: the clock of the worker that ingested it may be ahead.
            let before = known.get(&object.id).map(|attempt| attempt.finished_at);
            let after = before.map(|before| before + TimeDelta::microseconds(1));
            Requested::Again(Reread {
                asked_at: after.map_or(now, |after| now.max(after)),
                sequence: sequences.remove(&object.id),
                object,
            })
        });
        Ok(self.ingest(&requested.collect::<Vec<_>>()).await?.report)
    }
}
