//! A pipeline's lane: objects are gathered into batches, and the batches committed, one at a time. While
//! one is in work the next grows, so that batches follow the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

use super::admission::LaneShare;
use super::breaker::Open;
use super::delivery::{Item, Ticket, put_off};
use super::newest::NewestEvent;
use super::settle::settle;
use super::shared::Shared;
use super::wake::Wake;
use crate::batch::Batcher;
use crate::bronze::{BronzeError, IngestedBatch, ObjectEnd};
use crate::error::Kind;
use crate::event::ObjectEvent;
use crate::pipeline::Pipeline;
use crate::reason::Reason;
use crate::source::Requested;
use crate::worker::error::WorkerError;
use crate::worker::failure::{Retry, STALLED};
use crate::worker::round::Round;

/// Retries of a batch in which nothing is readable, over some minutes, before its objects are handled one
/// by one.
const HOLDS: u32 = 8;
/// Consecutive failures after which catalog and warehouse are probed, to distinguish an outage from this
/// pipeline's own fault.
const DOUBTS: u32 = 3;

/// Where objects enter a lane.
#[derive(Debug)]
pub(super) struct Entrance {
    items: mpsc::UnboundedSender<Item>,
    share: LaneShare,
    drained: watch::Sender<bool>,
    failing: Arc<AtomicBool>,
}

impl Entrance {
    /// Whether the objects of a message may enter. Where the lane is full, or fails by a fault of its own,
    /// the message is released instead: the other lanes go on.
    pub(super) fn accepts(&self) -> bool {
        !self.failing.load(Ordering::SeqCst) && self.share.accepts()
    }

    /// Passes an object to the lane.
    pub(super) fn enter(&self, object: ObjectEvent, ticket: Ticket) {
        let place = self.share.enter(object.size.unwrap_or(0));
        // Without a receiver the worker was cut off, and the ticket releases its message.
        drop(self.items.send(Item { object, ticket, _place: place }));
    }

    /// Whether the queue seems to be empty for now.
    pub(super) fn drained(&self, drained: bool) {
        self.drained.send_if_modified(|before| std::mem::replace(before, drained) != drained);
    }
}

/// See the module.
pub(super) struct Lane {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    items: mpsc::UnboundedReceiver<Item>,
    drained: watch::Receiver<bool>,
    failing: Arc<AtomicBool>,
    retry: Retry,
    wake: Arc<Wake>,
    newest: NewestEvent,
}

impl Lane {
    /// The lane of a pipeline, with its share of admission.
    pub(super) fn new(
        shared: &Arc<Shared>,
        pipeline: &Pipeline,
        share: LaneShare,
        wake: Arc<Wake>,
    ) -> (Self, Entrance) {
        let (sender, items) = mpsc::unbounded_channel();
        let (drain, drained) = watch::channel(true);
        let failing = Arc::new(AtomicBool::new(false));
        let lane = Self {
            shared: shared.clone(),
            pipeline: pipeline.clone(),
            items,
            drained,
            failing: failing.clone(),
            retry: shared.failures.part("bronze", Some(&pipeline.settings.name)),
            wake,
            newest: NewestEvent::new(&shared.ambient),
        };
        (lane, Entrance { items: sender, share, drained: drain, failing })
    }

    /// Runs until the worker stops: then what is in work is finished, and the rest released.
    pub(super) async fn run(mut self) {
        match self.prepare().await {
            true => self.gather().await,
            false => self.put_off_all().await,
        }
        self.newest.note(&self.pipeline.bronze).await;
    }

    async fn gather(&mut self) {
        let ambient = self.shared.ambient.clone();
        let stop = self.shared.stop.working.clone();
        let mut batcher = Batcher::new(self.pipeline.settings.bronze.batch);
        while !stop.is_cancelled() {
            let idle = *self.drained.borrow_and_update() && self.items.is_empty();
            let now = ambient.now();
            if let Some(batch) = batcher.close_if_due(now, idle) {
                self.work(batch).await;
                continue;
            }
            let due = batcher.due_at().map(|due| (due - now).to_std().unwrap_or_default());
            let timer = async {
                match due {
                    Some(due) => ambient.sleep(due).await,
                    None => std::future::pending().await,
                }
            };
            let item = tokio::select! {
                () = stop.cancelled() => break,
                item = self.items.recv() => item,
                _ = self.drained.changed() => continue,
                () = timer => continue,
            };
            let Some(item) = item else { break };
            let bytes = item.object.size.unwrap_or(0);
            if let Some(batch) = batcher.push(item, bytes, ambient.now()) {
                self.work(batch).await;
            }
        }
    }

    /// What a crash left unpublished is published first. `false`: the lane leaves its work to the next worker.
    async fn prepare(&mut self) -> bool {
        let mut open = None;
        loop {
            let begun = self.retry.begin(STALLED);
            let Err(error) = self.pipeline.bronze.prepare().await else { break };
            drop(begun);
            if !self.pause(&mut open, error).await {
                return false;
            }
        }
        self.recovered();
        true
    }

    /// Releases whatever comes, until the worker stops.
    async fn put_off_all(&mut self) {
        let stop = self.shared.stop.working.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                item = self.items.recv() => match item {
                    Some(item) => put_off(item.ticket),
                    None => return,
                },
            }
        }
    }

    /// Commits a batch, however long that takes, and settles its tickets.
    async fn work(&mut self, batch: Vec<Item>) {
        let requested: Vec<Requested> =
            batch.iter().map(|item| Requested::ByEvent(item.object.clone())).collect();
        let mut open = None;
        loop {
            let begun = self.retry.begin(STALLED);
            // Cutting it off is safe at any point; but what is in work is worth finishing.
            let ingested = Box::pin(self.pipeline.bronze.ingest(&requested)).await;
            drop(begun);
            let error = match ingested {
                Ok(ingested) => match unreadable(&ingested) {
                    Some(error) if self.retry.failures() + 1 < HOLDS => error,
                    _ => {
                        self.recovered();
                        drop(open);
                        return self.finish(batch, ingested).await;
                    }
                },
                Err(error) => {
                    // It may have been committed all the same.
                    self.wake.wake();
                    error
                }
            };
            if !self.pause(&mut open, error).await {
                return;
            }
        }
    }

    fn recovered(&mut self) {
        self.failing.store(false, Ordering::SeqCst);
        self.retry.succeeded();
    }

    async fn finish(&mut self, batch: Vec<Item>, ingested: IngestedBatch) {
        for item in &batch {
            self.newest.saw(item.object.event_time);
        }
        if !ingested.report.snapshots.is_empty() {
            self.wake.wake();
        }
        let name = self.pipeline.settings.name.as_str();
        settle(&self.shared, name, batch, &ingested).await;
        // Without a receiver the worker was cut off.
        drop(self.shared.rounds.send(Round { bronze: ingested.report, ..Round::of(name) }));
        self.newest.note_in_time(&self.pipeline.bronze).await;
    }

    /// Waits before the next attempt. An outage that others share holds the breaker open until it is over;
    /// a fault of one's own keeps objects away, so that the others go on. `false`: the worker stops, or leaves
    /// the work to the next one; the batch is released.
    async fn pause(&mut self, open: &mut Option<Open>, error: BronzeError) -> bool {
        let is_shared = self.is_shared(&error).await;
        self.failing.store(!is_shared, Ordering::SeqCst);
        let consequence = if is_shared {
            open.get_or_insert_with(|| self.shared.breaker.open());
            "bronze failed; nothing is received until it works again"
        } else {
            *open = None;
            while let Ok(item) = self.items.try_recv() {
                put_off(item.ticket);
            }
            "bronze failed; its objects stay in the queue, and other pipelines go on"
        };
        let pipeline = self.pipeline.settings.name.clone();
        let error = WorkerError::Bronze { pipeline, source: error };
        let Some(pause) = self.shared.failures.pause(&mut self.retry, error, consequence) else {
            return false;
        };
        tokio::select! {
            () = self.shared.stop.working.cancelled() => false,
            () = self.shared.ambient.sleep(pause) => true,
        }
    }

    /// Whether other pipelines would fail, too. With a single pipeline there are none to keep waiting; else,
    /// after some failures, catalog and warehouse are probed.
    async fn is_shared(&self, error: &BronzeError) -> bool {
        if self.shared.pipelines == 1 {
            return true;
        }
        let may_be = matches!(error.kind(), Kind::Retry | Kind::Look);
        if !may_be || self.retry.failures() + 1 < DOUBTS {
            return may_be;
        }
        let _begun = self.retry.begin(STALLED);
        let lake = &self.shared.lake;
        lake.tables().await.is_err() || lake.probe().await.is_err()
    }
}

/// A batch of which nothing could be read hardly fails for its objects: the store is away, or silversmith may
/// no longer read it.
fn unreadable(ingested: &IngestedBatch) -> Option<BronzeError> {
    let not_read = |end: &ObjectEnd| match end {
        ObjectEnd::Postponed { .. } => true,
        // A single object may well be unreadable by itself: archived, or encrypted.
        ObjectEnd::Failed { reason: Reason::Unreadable, .. } => ingested.ends.len() > 1,
        _ => false,
    };
    if !ingested.ends.iter().all(not_read) {
        return None;
    }
    let error = match ingested.ends.first()? {
        ObjectEnd::Postponed { error } | ObjectEnd::Failed { error, .. } => error.clone(),
        ObjectEnd::Ingested | ObjectEnd::Known | ObjectEnd::Waiting => return None,
    };
    let count = ingested.ends.len();
    Some(BronzeError::Postponed { count, listed: count, error })
}
