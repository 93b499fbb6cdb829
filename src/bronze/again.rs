//! Reading again what was ingested, under another configuration, at the request of an operator.
//!
//! The objects are listed, and each is requested with a time: what was ingested of it before that time is replaced. So
//! a request takes effect once, however often and by whatever worker it is carried out.

use std::collections::HashSet;

use chrono::TimeDelta;
use futures::TryStreamExt;
use globset::GlobSet;

use super::{Bronze, BronzeError, BronzeReport};
use crate::batch::Batcher;
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
        let mut pages = self.source.list(&listing);
        while let Some(page) = pages.try_next().await? {
            for object in page.objects {
                let uri = &object.id.uri;
                if !self.settings.source.is_match(uri) || !which.is_match(uri) {
                    continue;
                }
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
        let mut pages = self.source.list(&listing);
        let mut count = 0;
        while let Some(page) = pages.try_next().await? {
            let is_match = |object: &&RawObject| {
                self.settings.source.is_match(&object.id.uri) && which.is_match(&object.id.uri)
            };
            count += page.objects.iter().filter(is_match).count();
        }
        Ok(count)
    }

    async fn ingest_again(&self, batch: Vec<RawObject>) -> Result<BronzeReport, BronzeError> {
        let ids: HashSet<ObjectId> = batch.iter().map(|object| object.id.clone()).collect();
        let bronze = self.lake.find(&self.settings.table).await?;
        let known = self.ledger.known(bronze.as_ref(), &ids).await?;
        let mut sequences = match &bronze {
            Some(bronze) => self.sequences(bronze, &ids).await?,
            None => Default::default(),
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
