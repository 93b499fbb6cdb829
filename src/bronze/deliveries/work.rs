//! The requests of a batch, folder by folder.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

use super::decide::{Folder, Verdict, decide};
use super::deliver::{Delivered, SKEW};
use super::delivery::{Objection, after};
use super::{Deliveries, Rule, folder_of};
use crate::batch::BatchId;
use crate::bronze::{Bronze, BronzeError, BronzeReport, IngestedBatch, ObjectEnd, Unrequested};
use crate::ledger::{Attempt, Known, ObjectOutcome, ObjectRow};
use crate::reason::Reason;
use crate::source::{ObjectId, RawObject, Requested};
use crate::telemetry::metrics;

/// How often silversmith looks at a folder that changes meanwhile.
const LOOKS: u32 = 5;
/// The requests for one folder, by their index in the batch.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) objects: Vec<usize>,
    pub(super) markers: Vec<usize>,
}

impl Part {
    /// The request that what is found in the folder is reported with.
    pub(super) fn cause(&self) -> usize {
        self.markers.iter().chain(&self.objects).copied().next().unwrap_or_default()
    }
}

/// What an object is ingested for.
#[derive(Clone, Copy)]
enum Of {
    /// This request.
    Request(usize),
    /// None: it was found with this one.
    FoundWith(usize),
}

/// A batch in work.
pub(super) struct Work<'a> {
    pub(super) bronze: &'a Bronze,
    pub(super) deliveries: &'a Deliveries,
    pub(super) batch: &'a [Requested],
    /// Of the ledger's rows that no delivery brings.
    id: BatchId,
    ends: Vec<Option<ObjectEnd>>,
    pub(super) rows: Vec<ObjectRow>,
    recorded: HashSet<ObjectId>,
    /// What is ingested without a delivery.
    single: Vec<(Requested, Of)>,
    pub(super) unrequested: Vec<Unrequested>,
    report: BronzeReport,
    /// Objects that waited, and that no request is for.
    released: usize,
    /// Folders whose objects wait.
    pub(super) held: HashSet<String>,
}

impl Bronze {
    /// Ingests a batch where the objects of a folder are one delivery.
    pub(in crate::bronze) async fn ingest_by_folder(
        &self,
        deliveries: &Deliveries,
        batch: &[Requested],
    ) -> Result<IngestedBatch, BronzeError> {
        let mut parts: BTreeMap<String, Part> = BTreeMap::new();
        for (index, requested) in batch.iter().enumerate() {
            let uri = requested.uri();
            let part = parts.entry(folder_of(&uri).to_owned()).or_default();
            match deliveries.is_marker(&uri) {
                true => part.markers.push(index),
                false => part.objects.push(index),
            }
        }
        let mut work = Work::new(self, deliveries, batch);
        for (uri, part) in &parts {
            Box::pin(work.folder(uri, part)).await?;
        }
        let held = std::mem::take(&mut work.held);
        let mut ingested = Box::pin(work.finish()).await?;
        // SUBTLE: another worker may have committed a folder after it was listed here and before the ledger said that
        // its objects wait: then nothing else would look at them again. The other worker looks after its commit.
        let mut late = Work::new(self, deliveries, batch);
        for (uri, part) in parts.iter().filter(|(uri, _)| held.contains(*uri)) {
            if late.is_whole(uri).await? {
                let wanted = late.uris(part);
                Box::pin(late.late(uri, part, &wanted)).await?;
            }
        }
        if !late.is_untouched() {
            let late = Box::pin(late.finish_known()).await?;
            ingested.report.add(late.report);
            for (end, of_late) in ingested.ends.iter_mut().zip(late.ends) {
                if let Some(of_late) = of_late {
                    *end = of_late;
                }
            }
            ingested.unrequested.extend(late.unrequested);
            ingested.released += late.released;
        }
        Ok(ingested)
    }
}

/// How a batch ended; of the requests that were looked at.
pub(super) struct Finished {
    report: BronzeReport,
    ends: Vec<Option<ObjectEnd>>,
    unrequested: Vec<Unrequested>,
    released: usize,
}

impl<'a> Work<'a> {
    fn new(bronze: &'a Bronze, deliveries: &'a Deliveries, batch: &'a [Requested]) -> Self {
        Self {
            bronze,
            deliveries,
            batch,
            id: BatchId::new(bronze.lake.ambient().uuid().to_string()),
            ends: vec![None; batch.len()],
            rows: vec![],
            recorded: HashSet::new(),
            single: vec![],
            unrequested: vec![],
            report: BronzeReport::default(),
            released: 0,
            held: HashSet::new(),
        }
    }

    /// Whether the delivery of a folder was committed.
    async fn is_whole(&self, uri: &str) -> Result<bool, BronzeError> {
        let whole = self.state(uri).await?.whole;
        Ok(whole.is_some_and(|attempt| attempt.outcome == ObjectOutcome::Ingested))
    }

    fn is_untouched(&self) -> bool {
        self.single.is_empty() && self.rows.is_empty() && self.ends.iter().all(Option::is_none)
    }
}

impl Work<'_> {
    async fn folder(&mut self, uri: &str, part: &Part) -> Result<(), BronzeError> {
        let wanted: HashSet<String> = self.uris(part);
        for _ in 0..LOOKS {
            let state = self.state(uri).await?;
            if state.whole.is_some_and(|attempt| attempt.outcome == ObjectOutcome::Ingested) {
                return self.late(uri, part, &wanted).await;
            }
            let folder = self.bronze.look(self.deliveries, uri, &wanted).await?;
            let objection = match self.decide(&folder).await? {
                Ok(Verdict::Waits(what)) => {
                    return self.hold(&folder, part, &state, what, None).await;
                }
                Ok(Verdict::Refused(refusal)) => Objection::Refused(refusal),
                Ok(Verdict::Complete(complete)) => {
                    let since = state.whole.map(|attempt| attempt.finished_at);
                    match self.bronze.deliver(self.deliveries, &folder, complete, since).await? {
                        Ok(delivered) => {
                            self.delivered(&folder, part, delivered).await?;
                            return self.overlooked(&folder, part, since).await;
                        }
                        Err(objection) => objection,
                    }
                }
                Err(objection) => objection,
            };
            match objection {
                Objection::Moved | Objection::Overtaken => {}
                Objection::Refused(refusal) => {
                    let what = refusal.error.clone();
                    return self.hold(&folder, part, &state, what, Some(refusal)).await;
                }
                Objection::Postponed(error) => return self.postpone(part, &error),
            }
        }
        self.postpone(part, &format!("{uri} changes while it is read"))
    }

    async fn decide(&self, folder: &Folder) -> Result<Result<Verdict, Objection>, BronzeError> {
        let most = self.deliveries.most_objects;
        let rule = &self.deliveries.rule;
        let manifest = match (rule, folder.marker()) {
            (Rule::Manifest(marker), Some(object)) => {
                match self.bronze.manifest(marker, object, &folder.uri, most).await? {
                    Ok(manifest) => Some(manifest),
                    Err(objection) => return Ok(Err(objection)),
                }
            }
            _ => None,
        };
        Ok(Ok(decide(rule, folder, manifest.as_ref(), most)))
    }

    /// The folder was committed with this batch.
    async fn delivered(
        &mut self,
        folder: &Folder,
        part: &Part,
        delivered: Delivered,
    ) -> Result<(), BronzeError> {
        let Delivered { mut ends, report } = delivered;
        self.report.add(report);
        for index in &part.markers {
            self.same_end(*index, ObjectEnd::Ingested);
        }
        let mut asked = HashSet::new();
        for index in &part.objects {
            let uri = self.batch.get(*index).map(Requested::uri).unwrap_or_default();
            match ends.get(&uri) {
                Some(ObjectEnd::Known) if self.is_again(*index) => self.alone(*index),
                Some(end) => self.same_end(*index, end.clone()),
                None => self.missing(*index).await?,
            }
            asked.insert(uri);
        }
        ends.retain(|uri, end| !asked.contains(uri) && *end != ObjectEnd::Known);
        self.released += ends.len();
        for (uri, end) in ends {
            if let (ObjectEnd::Failed { reason, error, .. }, Some(object)) =
                (end, folder.objects.get(&uri))
            {
                let (object, cause) = (object.clone(), part.cause());
                self.unrequested.push(Unrequested { object, reason, error, cause });
            }
        }
        Ok(())
    }

    /// What came and was recorded as waiting while the delivery was committed is late.
    async fn overlooked(
        &mut self,
        folder: &Folder,
        part: &Part,
        since: Option<DateTime<Utc>>,
    ) -> Result<(), BronzeError> {
        let bronze = self.bronze.lake.find(&self.bronze.settings.table).await?;
        let view = self.bronze.ledger.view(bronze.as_ref()).await?;
        let since = since.unwrap_or_else(|| self.bronze.lake.ambient().now()) - SKEW;
        let waiting = view.waiting_in(&folder.uri, since).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let now = self.bronze.look(self.deliveries, &folder.uri, &HashSet::new()).await?;
        let is_waiting = |object: &&RawObject| waiting.contains(&object.id);
        let others: Vec<RawObject> = now.objects.values().filter(is_waiting).cloned().collect();
        let known = self.known(waiting.clone()).await?;
        self.late_others(&folder.uri, others, &known, part.cause());
        for marker in now.markers.values().filter(is_waiting) {
            self.record(marker, ObjectOutcome::Ingested, None, known.get(&marker.id));
        }
        Ok(())
    }

    /// Rejects an object that is there: of this request, or without one.
    pub(super) fn fail(
        &mut self,
        index: Option<usize>,
        object: &RawObject,
        (reason, error): (Reason, String),
        before: Option<&Attempt>,
    ) {
        let outcome = ObjectOutcome::Rejected;
        tracing::warn!(batch = %self.id, uri = object.id.uri, %reason, "object not ingested");
        self.record(object, outcome, Some((Some(reason), error.clone())), before);
        if let Some(index) = index {
            self.end(index, ObjectEnd::Failed { outcome, reason, error });
        }
    }

    /// An object that no request is for has failed.
    pub(super) fn failed(&mut self) {
        self.report.failed += 1;
    }

    fn postpone(&mut self, part: &Part, error: &str) -> Result<(), BronzeError> {
        for index in part.objects.iter().chain(&part.markers) {
            self.end(*index, ObjectEnd::Postponed { error: error.to_owned() });
        }
        Ok(())
    }

    /// A row of the ledger. One object twice in a batch has one.
    pub(super) fn record(
        &mut self,
        object: &RawObject,
        outcome: ObjectOutcome,
        why: Option<(Option<Reason>, String)>,
        before: Option<&Attempt>,
    ) {
        let (reason, error) = why.map_or((None, None), |(reason, error)| (reason, Some(error)));
        if self.recorded.insert(object.id.clone()) {
            self.rows.push(ObjectRow {
                id: object.id.clone(),
                size: Some(object.size),
                outcome,
                reason,
                error,
                rows: 0,
                rescued: Some(0),
                batch: self.id.clone(),
                finished_at: after(self.bronze.lake.ambient().now(), before),
            });
        }
    }

    /// The request is for an object that no delivery holds.
    pub(super) fn alone(&mut self, index: usize) {
        if let Some(requested) = self.batch.get(index) {
            self.single.push((requested.clone(), Of::Request(index)));
        }
    }

    /// The same of an object that no request is for, found with one.
    pub(super) fn found(&mut self, object: RawObject, cause: usize) {
        self.single.push((Requested::Listed(object), Of::FoundWith(cause)));
    }

    /// How a request ended, counted.
    pub(super) fn end(&mut self, index: usize, end: ObjectEnd) {
        metrics::objects(&self.bronze.settings.pipeline, end.as_str(), 1);
        let count = match &end {
            ObjectEnd::Ingested => &mut self.report.ingested,
            ObjectEnd::Known => &mut self.report.known,
            ObjectEnd::Waiting => &mut self.report.waiting,
            ObjectEnd::Failed { .. } => &mut self.report.failed,
            ObjectEnd::Postponed { .. } => &mut self.report.postponed,
        };
        *count += 1;
        self.same_end(index, end);
    }

    /// How a request ended that is known already.
    pub(super) fn end_again(&mut self, index: usize, end: ObjectEnd) {
        if !self
            .deliveries
            .is_marker(&self.batch.get(index).map(Requested::uri).unwrap_or_default())
        {
            self.report.known += 1;
        }
        self.same_end(index, end);
    }

    /// How a request ended that was counted.
    pub(super) fn same_end(&mut self, index: usize, end: ObjectEnd) {
        if let Some(slot) = self.ends.get_mut(index) {
            *slot = Some(end);
        }
    }

    /// Whether an operator asked to read it again although it is ingested.
    pub(super) fn is_again(&self, index: usize) -> bool {
        self.batch.get(index).is_some_and(|requested| requested.again().is_some())
    }

    pub(super) async fn known(&self, ids: HashSet<ObjectId>) -> Result<Known, BronzeError> {
        let bronze = self.bronze.lake.find(&self.bronze.settings.table).await?;
        Ok(self.bronze.ledger.known(bronze.as_ref(), &ids).await?)
    }

    pub(super) fn uris(&self, part: &Part) -> HashSet<String> {
        let all = part.objects.iter().chain(&part.markers);
        all.filter_map(|index| self.batch.get(*index)).map(Requested::uri).collect()
    }

    /// Ingests what no delivery holds, and makes the outcomes of the others durable (I1).
    async fn finish(self) -> Result<IngestedBatch, BronzeError> {
        let Finished { report, ends, unrequested, released } = self.finish_known().await?;
        let lost = || ObjectEnd::Postponed { error: "it was not looked at".to_owned() };
        let ends = ends.into_iter().map(|end| end.unwrap_or_else(lost)).collect();
        Ok(IngestedBatch { report, ends, unrequested, released })
    }

    async fn finish_known(mut self) -> Result<Finished, BronzeError> {
        let single = std::mem::take(&mut self.single);
        for some in single.chunks(self.bronze.settings.batch.max_objects.max(1)) {
            let requested: Vec<Requested> = some.iter().map(|(r, _)| r.clone()).collect();
            let ingested = Box::pin(self.bronze.ingest_batch(&requested)).await?;
            self.report.add(ingested.report);
            for ((requested, of), end) in some.iter().zip(ingested.ends) {
                match (*of, end, requested) {
                    (Of::Request(index), end, _) => self.same_end(index, end),
                    (
                        Of::FoundWith(cause),
                        ObjectEnd::Failed { reason, error, .. },
                        Requested::Listed(object),
                    ) => {
                        let object = object.clone();
                        self.unrequested.push(Unrequested { object, reason, error, cause });
                    }
                    (Of::FoundWith(_), ..) => {}
                }
            }
        }
        self.bronze.ledger.record(&self.rows).await?;
        let mut report = self.report;
        report.listed =
            report.ingested + report.known + report.failed + report.postponed + report.waiting;
        let (ends, unrequested, released) = (self.ends, self.unrequested, self.released);
        Ok(Finished { report, ends, unrequested, released })
    }
}
