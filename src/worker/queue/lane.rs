//! A pipeline's lane: objects are gathered into batches, and the batches committed, one at a time. While
//! one is in work the next grows, so that batches follow the load.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, watch};

use super::breaker::Open;
use super::delivery::{Durable, Ticket, delay};
use super::intake::settle_told;
use super::{Common, Round};
use crate::backoff::{backoff, retry_delay};
use crate::batch::Batcher;
use crate::bronze::{BronzeError, IngestedBatch, ObjectEnd};
use crate::error::{Kind, chain};
use crate::event::ObjectEvent;
use crate::pipeline::Pipeline;
use crate::reason::Reason;
use crate::source::Requested;
use crate::telemetry::readiness;
use crate::worker::WorkerError;
use crate::worker::merge::Wake;

/// How long objects for a lane that is in trouble of its own stay away, doubled with every receive: an
/// outage of hours does not use up ten receives.
const AWAY: Duration = Duration::from_secs(15 * 60);
/// The longest of that.
const LONGEST_AWAY: Duration = Duration::from_secs(6 * 3_600);
/// An object that cannot be read is given back so many times, over ten minutes, and then told.
const READS: u32 = 8;
/// A batch of which nothing can be read is held so many times, over some minutes; then each of its
/// objects goes its own way.
const HOLDS: u32 = 8;
/// Failures in a row after which it is looked whether others would fail, too.
const DOUBTS: u32 = 3;
/// How often the checkpoint notes the newest event.
const NOTE_EVERY: chrono::TimeDelta = chrono::TimeDelta::seconds(10);

/// An object for a pipeline.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) object: ObjectEvent,
    pub(super) ticket: Ticket,
}

impl Item {
    fn put_off(self) {
        let receives = self.ticket.origin().receive_count;
        self.ticket.give_back(backoff(AWAY, receives, LONGEST_AWAY));
    }
}

/// Where objects enter a lane.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) pipeline: Pipeline,
    items: mpsc::Sender<Item>,
    drained: watch::Sender<bool>,
    troubled: watch::Receiver<bool>,
}

impl Entrance {
    /// Waits for room: that is what holds back a worker that has enough in hand. Only a lane in trouble
    /// of its own gives objects back, so that the others go on.
    pub(super) async fn enter(&mut self, item: Item) {
        let room = tokio::select! {
            biased;
            _ = self.troubled.wait_for(|troubled| *troubled) => None,
            room = self.items.reserve() => room.ok(),
        };
        match room {
            Some(room) => room.send(item),
            None => item.put_off(),
        }
    }

    /// Whether the queue seems to have nothing more for now.
    pub(super) fn drained(&self, drained: bool) {
        self.drained.send_if_modified(|before| std::mem::replace(before, drained) != drained);
    }
}

/// See the module.
pub(super) struct Lane {
    common: Arc<Common>,
    pipeline: Pipeline,
    items: mpsc::Receiver<Item>,
    drained: watch::Receiver<bool>,
    troubled: watch::Sender<bool>,
    wake: Arc<Wake>,
    newest: Option<DateTime<Utc>>,
    noted_at: DateTime<Utc>,
}

impl Lane {
    pub(super) fn new(
        common: &Arc<Common>,
        pipeline: &Pipeline,
        wake: Arc<Wake>,
    ) -> (Self, Entrance) {
        let (sender, items) = mpsc::channel(pipeline.settings.bronze.batch.max_objects.min(10_000));
        let (drain, drained) = watch::channel(true);
        let (troubled, trouble) = watch::channel(false);
        let lane = Self {
            common: common.clone(),
            pipeline: pipeline.clone(),
            items,
            drained,
            troubled,
            wake,
            newest: None,
            noted_at: common.ambient.now(),
        };
        let pipeline = pipeline.clone();
        (lane, Entrance { pipeline, items: sender, drained: drain, troubled: trouble })
    }

    /// Runs until the worker stops: then what is in work is finished, and the rest given back.
    pub(super) async fn run(mut self) {
        let stop = self.common.give_back.clone();
        if !self.prepare().await {
            return;
        }
        let mut batcher = Batcher::new(self.pipeline.settings.bronze.batch);
        while !stop.is_cancelled() {
            let idle = *self.drained.borrow_and_update() && self.items.is_empty();
            let now = self.common.ambient.now();
            if let Some(batch) = batcher.close_if_due(now, idle) {
                self.work(batch).await;
                continue;
            }
            let due = batcher.due_at().map(|due| (due - now).to_std().unwrap_or_default());
            let timer = tokio::time::sleep(due.unwrap_or(Duration::from_secs(3_600)));
            let item = tokio::select! {
                () = stop.cancelled() => break,
                item = self.items.recv() => item,
                _ = self.drained.changed() => continue,
                () = timer => continue,
            };
            let Some(item) = item else { break };
            let bytes = item.object.size.unwrap_or(0);
            if let Some(batch) = batcher.push(item, bytes, self.common.ambient.now()) {
                self.work(batch).await;
            }
        }
        self.note_newest(true).await;
    }

    /// What a crash left unpublished is published first. `false`: the worker stops.
    async fn prepare(&mut self) -> bool {
        let (mut failures, mut open) = (0, None);
        while let Err(error) = self.pipeline.bronze.prepare().await {
            failures += 1;
            if !self.pause(&mut open, error, failures).await {
                return false;
            }
        }
        self.troubled.send_replace(false);
        readiness::well(&self.part());
        true
    }

    /// What this part of the worker is called.
    fn part(&self) -> String {
        format!("bronze of {}", self.pipeline.settings.name)
    }

    /// Commits a batch, however long that takes, and settles its tickets.
    async fn work(&mut self, batch: Vec<Item>) {
        let wanted: Vec<Requested> =
            batch.iter().map(|item| Requested::ByEvent(item.object.clone())).collect();
        let (mut failures, mut open) = (0, None);
        loop {
            // Cut off by a stop, a batch is safe at any point; but what is in work is worth finishing.
            let error = match self.pipeline.bronze.ingest(&wanted).await {
                Ok(taken) => match all_in_trouble(&taken) {
                    Some(error) if failures + 1 < HOLDS => error,
                    _ => {
                        self.troubled.send_replace(false);
                        readiness::well(&self.part());
                        drop(open);
                        return self.settle(batch, taken).await;
                    }
                },
                Err(error) => {
                    // It may have been committed all the same.
                    self.wake.wake();
                    error
                }
            };
            failures += 1;
            if !self.pause(&mut open, error, failures).await {
                return;
            }
        }
    }

    /// Waits before the next attempt. Trouble that others share holds the breaker open until it has passed;
    /// trouble of one's own keeps objects away, so that the others go on. `false`: the worker stops, and
    /// what is in hand is given back.
    async fn pause(&mut self, open: &mut Option<Open>, error: BronzeError, failures: u32) -> bool {
        let again_in = retry_delay(failures);
        let pipeline = self.pipeline.settings.name.clone();
        let shared = self.is_shared(&error, failures).await;
        tracing::error!(
            pipeline,
            failures,
            ?again_in,
            error = chain(&error),
            "{}",
            if shared {
                "bronze in trouble; nothing is received until it has passed"
            } else {
                "bronze in trouble; its objects stay in the queue, and other pipelines go on"
            }
        );
        readiness::trouble(&self.part(), &chain(&error));
        if let Some(trouble) = &self.common.trouble {
            drop(trouble.send(WorkerError::Bronze { pipeline, source: error }));
        }
        match shared {
            true => drop(open.get_or_insert_with(|| self.common.breaker.open())),
            false => *open = None,
        }
        self.troubled.send_replace(!shared);
        if !shared {
            while let Ok(item) = self.items.try_recv() {
                item.put_off();
            }
        }
        // A worker that is to end leaves what does not pass soon to the next one.
        if self.common.gives_up(failures) {
            return false;
        }
        tokio::select! {
            () = self.common.give_back.cancelled() => false,
            () = tokio::time::sleep(again_in) => true,
        }
    }

    /// Whether other pipelines would fail, too. Where there are none, nobody is kept waiting; else, after
    /// some failures, it is tried whether catalog and warehouse work.
    async fn is_shared(&self, error: &BronzeError, failures: u32) -> bool {
        if self.common.lanes == 1 {
            return true;
        }
        let may_be = matches!(error.kind(), Kind::Retry | Kind::Look);
        if !may_be || failures < DOUBTS {
            return may_be;
        }
        let lake = &self.common.lake;
        lake.tables().await.is_err() || lake.probe().await.is_err()
    }

    async fn settle(&mut self, batch: Vec<Item>, taken: IngestedBatch) {
        let (mut letters, mut told) = (Vec::new(), Vec::new());
        for (item, end) in batch.into_iter().zip(&taken.ends) {
            self.newest = self.newest.max(item.object.event_time);
            let receives = item.ticket.origin().receive_count;
            match end {
                ObjectEnd::Ingested | ObjectEnd::Known => {
                    if let Some(durable) = Durable::in_bronze(end) {
                        item.ticket.done(durable);
                    }
                }
                ObjectEnd::Postponed { error } => {
                    let again_in = delay(receives);
                    tracing::warn!(
                        uri = item.object.uri(),
                        message_id = item.ticket.origin().id,
                        ?again_in,
                        error,
                        "object given back"
                    );
                    item.ticket.give_back(again_in);
                }
                ObjectEnd::Failed { reason, error, .. } => match Durable::skipped(end) {
                    Some(durable) => item.ticket.done(durable),
                    None if reason.is_transient() && receives < READS => {
                        item.ticket.give_back(delay(receives));
                    }
                    None => {
                        let why = (*reason, error.as_str());
                        let name = Some(self.pipeline.settings.name.as_str());
                        let letters_of = &self.common.dead_letters;
                        letters.push(letters_of.about(
                            name,
                            item.object,
                            why,
                            item.ticket.origin(),
                        ));
                        told.push(item.ticket);
                    }
                },
            }
        }
        if !taken.report.snapshots.is_empty() {
            self.wake.wake();
        }
        settle_told(&self.common, letters, told).await;
        let name = self.pipeline.settings.name.clone();
        let round = Round { pipeline: name, bronze: taken.report, silver: None, gold: vec![] };
        // Nobody listens once the worker is cut off.
        drop(self.common.told.send(round));
        self.note_newest(false).await;
    }

    async fn note_newest(&mut self, now_or_never: bool) {
        let now = self.common.ambient.now();
        if !now_or_never && now - self.noted_at < NOTE_EVERY {
            return;
        }
        let Some(newest) = self.newest.take() else { return };
        self.noted_at = now;
        if let Err(error) = self.pipeline.bronze.note_newest_event(newest).await {
            let error = chain(&error);
            tracing::warn!(
                error,
                "the checkpoint could not be written; the tables know all that it says"
            );
        }
    }
}

/// When nothing of a batch could be read, the trouble is hardly that of one object: the store is away, or
/// we may no longer read it.
fn all_in_trouble(taken: &IngestedBatch) -> Option<BronzeError> {
    let unread = |end: &ObjectEnd| match end {
        ObjectEnd::Postponed { .. } => true,
        // One alone may well be unreadable by itself: archived, or encrypted.
        ObjectEnd::Failed { reason: Reason::Unreadable, .. } => taken.ends.len() > 1,
        _ => false,
    };
    if !taken.ends.iter().all(unread) {
        return None;
    }
    let error = match taken.ends.first()? {
        ObjectEnd::Postponed { error } | ObjectEnd::Failed { error, .. } => error.clone(),
        ObjectEnd::Ingested | ObjectEnd::Known => return None,
    };
    let count = taken.ends.len();
    Some(BronzeError::Postponed { count, listed: count, error })
}
