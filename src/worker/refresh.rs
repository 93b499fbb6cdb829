//! The one way to refresh gold: what follows a pipeline, each table under a lock of its own, for every caller.
//!
//! Silver never waits for it: its lock is another. A table that is up to date is not locked.

use std::sync::Arc;

use super::error::WorkerError;
use crate::ambient::SharedAmbient;
use crate::checkpoint::CheckpointStore;
use crate::checkpoint::lock::{Lock, TTL};
use crate::gold::{Gold, GoldError, GoldReport, Look, order};
use crate::pipeline::Pipeline;

/// A refresh of each gold table, by the table's name.
pub type Refreshes = Vec<(String, Result<GoldReport, GoldError>)>;

/// What became of the tables that did not fail, and the first failure, as that of a pipeline.
pub(super) fn parted(
    refreshes: Refreshes,
    pipeline: &str,
) -> (Vec<(String, GoldReport)>, Option<WorkerError>) {
    let (mut reports, mut first) = (Vec::new(), None);
    for (table, refreshed) in refreshes {
        match refreshed {
            Ok(report) => reports.push((table, report)),
            Err(source) => {
                let pipeline = pipeline.to_owned();
                first.get_or_insert(WorkerError::Gold { pipeline, source });
            }
        }
    }
    (reports, first)
}

/// Refreshes the gold tables that follow a pipeline. See the module.
#[derive(Debug)]
pub struct Refresher {
    tables: Vec<OneTable>,
}

#[derive(Debug)]
struct OneTable {
    gold: Gold,
    lock: Lock,
}

impl Refresher {
    /// Of the gold tables that are computed, by way of others, too, from those of a pipeline, and of its own.
    pub fn new(pipeline: &Pipeline, ambient: &SharedAmbient) -> Self {
        Self::of(&pipeline.followers, &pipeline.checkpoints, ambient)
    }

    /// Of these pipelines' own gold tables.
    pub fn own(pipelines: &[&Pipeline], ambient: &SharedAmbient) -> Self {
        let Some(first) = pipelines.first() else {
            return Self { tables: vec![] };
        };
        let settings: Vec<_> = pipelines.iter().flat_map(|p| &p.settings.gold).collect();
        // The configuration has refused circles.
        let ordered = order::in_order(&settings).unwrap_or(settings);
        let of = |table| pipelines.iter().flat_map(|p| &p.gold).find(|gold| gold.table() == table);
        let tables: Vec<Gold> =
            ordered.iter().filter_map(|gold| of(&gold.table).cloned()).collect();
        Self::of(&tables, &first.checkpoints, ambient)
    }

    fn of(tables: &[Gold], store: &Arc<dyn CheckpointStore>, ambient: &SharedAmbient) -> Self {
        let owner = ambient.uuid().to_string();
        let one = |gold: &Gold| {
            let key = format!("{}/{}.lock", gold.pipeline(), gold.table());
            let lock = Lock::new(store.clone(), key, owner.clone(), TTL, ambient.clone());
            OneTable { gold: gold.clone(), lock }
        };
        Self { tables: tables.iter().map(one).collect() }
    }

    /// Refreshes each table whose sources have moved, once its lock is free, in an order in which each follows those
    /// that it is computed from. The failure of one does not hold up the others.
    pub async fn refresh(&mut self) -> Refreshes {
        let mut all = Vec::with_capacity(self.tables.len());
        for table in &mut self.tables {
            let refreshed = Box::pin(table.refresh()).await;
            all.push((table.gold.table().to_string(), refreshed));
        }
        all
    }
}

impl OneTable {
    async fn refresh(&mut self) -> Result<GoldReport, GoldError> {
        let due = match self.gold.look().await? {
            Look::Done(report) => return Ok(report),
            Look::Due(due) => due,
        };
        if let Some(held) = self.lock.acquire().await? {
            return self.lock.hold(held, Box::pin(self.gold.refresh(*due))).await;
        }
        // The worker that holds it may be doing just this.
        let held = self.lock.wait().await?;
        self.lock.hold(held, Box::pin(self.gold.step())).await
    }
}
