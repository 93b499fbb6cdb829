//! A complete folder → one commit.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::Deliveries;
use super::decide::{Complete, Folder};
use super::delivery::{Delivery, Objection};
use crate::bronze::{Bronze, BronzeError, BronzeReport, Ingested, ObjectEnd};
use crate::ledger::{Known, ObjectOutcome};
use crate::reason::Reason;
use crate::source::{ObjectId, RawObject, Requested};
use crate::telemetry::metrics;

/// How far the clocks of two workers may differ.
pub(super) const SKEW: TimeDelta = TimeDelta::hours(1);

/// A delivery that was committed.
pub(super) struct Delivered {
    /// How each of its objects ended, the surplus ones included, by URI.
    pub(super) ends: BTreeMap<String, ObjectEnd>,
    pub(super) report: BronzeReport,
}

impl Bronze {
    /// Commits a complete folder, whatever the limits of a batch: every object of it that is not ingested, or none. Objects of
    /// it may wait since then.
    pub(super) async fn deliver(
        &self,
        deliveries: &Deliveries,
        folder: &Folder,
        complete: Complete,
        since: Option<DateTime<Utc>>,
    ) -> Result<Result<Delivered, Objection>, BronzeError> {
        let manifest = deliveries.marker().map(|marker| marker.name.clone()).unwrap_or_default();
        let known = self.known_of(folder, &complete).await?;
        let is_new = |id: &ObjectId| {
            known.get(id).is_none_or(|attempt| attempt.outcome != ObjectOutcome::Ingested)
        };
        let mut sums = complete.checksums;
        sums.retain(|(object, _)| is_new(&object.id));
        if let Some(objection) = self.check_sums(&manifest, &sums).await? {
            return Ok(Err(objection));
        }
        let surplus = complete.surplus.iter().filter(|object| is_new(&object.id));
        let surplus =
            surplus.map(|object| (object.clone(), format!("{manifest} does not name it")));
        let delivery = Delivery {
            folder: folder.uri.clone(),
            markers: folder.markers.values().filter(|marker| is_new(&marker.id)).cloned().collect(),
            surplus: surplus.collect(),
            gone: self.gone_from(deliveries, folder, since).await?,
            rows: complete.rows,
            manifest,
            newest: known.values().max_by_key(|attempt| attempt.finished_at).copied(),
        };
        let mut ends: BTreeMap<String, ObjectEnd> = BTreeMap::new();
        let all = complete.objects.iter().chain(&complete.surplus);
        let before = all.filter(|object| !is_new(&object.id));
        ends.extend(before.map(|object| (object.id.uri.clone(), ObjectEnd::Known)));
        let new: Vec<RawObject> =
            complete.objects.into_iter().filter(|object| is_new(&object.id)).collect();
        let requested: Vec<Requested> = new.into_iter().map(Requested::Listed).collect();
        let batch = match Box::pin(self.ingest_one(&requested, Some(&delivery))).await? {
            Ingested::Batch(batch) => batch,
            Ingested::Not(objection) => return Ok(Err(objection)),
        };
        ends.extend(requested.iter().map(Requested::uri).zip(batch.ends));
        let mut report = batch.report;
        for (object, error) in delivery.surplus {
            let (outcome, reason) = (ObjectOutcome::Rejected, Reason::Surplus);
            metrics::objects(&self.settings.pipeline, outcome.as_str(), 1);
            report.failed += 1;
            ends.insert(object.id.uri, ObjectEnd::Failed { outcome, reason, error });
        }
        metrics::deliveries(&self.settings.pipeline, "complete");
        tracing::info!(
            pipeline = self.settings.pipeline,
            folder = folder.uri,
            objects = report.ingested,
            rows = report.rows,
            failed = report.failed,
            "delivery complete"
        );
        Ok(Ok(Delivered { ends, report }))
    }

    /// The object versions that wait for a delivery and are not in its folder any more.
    async fn gone_from(
        &self,
        deliveries: &Deliveries,
        folder: &Folder,
        since: Option<DateTime<Utc>>,
    ) -> Result<Vec<(ObjectId, Reason)>, BronzeError> {
        let Some(since) = since else { return Ok(vec![]) };
        let bronze = self.lake.find(&self.settings.table).await?;
        let view = self.ledger.view(bronze.as_ref()).await?;
        let waiting = view.waiting_in(&folder.uri, since - SKEW).await?;
        let is_listed = |folder: &Folder, id: &ObjectId| {
            let there = folder.objects.get(&id.uri).or_else(|| folder.markers.get(&id.uri));
            there.is_some_and(|there| there.id == *id)
        };
        if waiting.iter().all(|id| is_listed(folder, id)) {
            return Ok(vec![]);
        }
        // SUBTLE: listed after the ledger was read: what came since the delivery was listed is not gone.
        let uris = waiting.iter().map(|id| id.uri.clone()).collect();
        let now = self.look(deliveries, &folder.uri, &uris).await?;
        let all = waiting.into_iter().filter_map(|id| {
            let there = now.objects.get(&id.uri).or_else(|| now.markers.get(&id.uri));
            match there {
                None => Some((id, Reason::Missing)),
                Some(there) if there.id != id => Some((id, Reason::Changed)),
                Some(_) => None,
            }
        });
        Ok(all.collect())
    }

    /// What the ledger knows of the objects of a folder.
    async fn known_of(&self, folder: &Folder, complete: &Complete) -> Result<Known, BronzeError> {
        let all = complete.objects.iter().chain(&complete.surplus).chain(folder.markers.values());
        let ids: HashSet<ObjectId> = all.map(|object| object.id.clone()).collect();
        let bronze = self.lake.find(&self.settings.table).await?;
        Ok(self.ledger.known(bronze.as_ref(), &ids).await?)
    }
}
