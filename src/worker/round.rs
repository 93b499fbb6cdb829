//! What a worker does for a pipeline at a time, and when it ends.

use crate::bronze::BronzeReport;
use crate::gold::GoldReport;
use crate::silver::SilverReport;

/// What was done for one pipeline.
#[derive(Debug, Clone)]
pub struct Round {
    /// The pipeline.
    pub pipeline: String,
    /// Raw → bronze.
    pub bronze: BronzeReport,
    /// Bronze → silver.
    pub silver: Option<SilverReport>,
    /// Silver → gold, by table.
    pub gold: Vec<(String, GoldReport)>,
}

impl Round {
    /// A round that did nothing yet.
    pub(super) fn of(pipeline: &str) -> Self {
        let (bronze, silver, gold) = (BronzeReport::default(), None, vec![]);
        Self { pipeline: pipeline.to_owned(), bronze, silver, gold }
    }

    /// Whether there was nothing to do.
    pub fn idle(&self) -> bool {
        let BronzeReport { ingested, failed, postponed, waiting, .. } = self.bronze;
        let ingested = ingested + failed + postponed + waiting > 0;
        let merged = self.silver.as_ref().is_some_and(|s| !s.snapshots.is_empty());
        let refreshed = self.gold.iter().any(|(_, g)| matches!(g, GoldReport::Refreshed { .. }));
        !(ingested || merged || refreshed)
    }
}

/// When a worker ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Stopped,
    /// When there is nothing left to do, and at the first failure.
    Idle,
    /// When there is nothing left to do. What fails is tried a few times, then released for the next
    /// worker, and holds up nothing else.
    Done,
}
