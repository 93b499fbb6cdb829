//! What wiring builds and the worker runs: pipelines on their ports.

use std::sync::Arc;

use crate::announce::{Announcer, EventBus, NoticeKind};
use crate::bronze::Bronze;
use crate::checkpoint::CheckpointStore;
use crate::config::Settings;
use crate::config::settings::{PipelineSettings, QueueSettings};
use crate::gold::Gold;
use crate::lake::{Lake, TableName};
use crate::merge::QUARANTINE_BOUNDS;
use crate::queue::EventQueue;
use crate::silver::Silver;
use crate::source::RawStore;
use crate::telemetry::metrics::Layer;
use crate::upkeep::{Forget, Target, Upkeep};

/// One route, ready to run.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// What was configured.
    pub settings: PipelineSettings,
    /// Raw → bronze.
    pub bronze: Bronze,
    /// Bronze → silver.
    pub silver: Option<Silver>,
    /// Its gold tables.
    pub gold: Vec<Gold>,
    /// The gold tables to refresh when its tables have moved, each after those that it is computed from: its own, and
    /// those of other pipelines that are computed from its tables.
    pub followers: Vec<Gold>,
    /// The checkpoints, and the lock beside them.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// Announces its commits, where the settings name an event bus.
    pub announcer: Option<Announcer>,
}

impl Pipeline {
    /// Its tables, for upkeep: bronze and its ledger, silver, its deleted keys and its quarantine, gold.
    pub fn targets(&self) -> Vec<Target> {
        let PipelineSettings { name, bronze, silver, gold, .. } = &self.settings;
        let target = |layer, table: &TableName, sort: Vec<String>, bounds: Vec<String>| Target {
            pipeline: name.clone(),
            layer,
            table: table.clone(),
            sort,
            bounds,
            forget: None,
        };
        let own = crate::bronze::OWN_BOUNDS.map(str::to_owned).to_vec();
        let mut targets = vec![
            target(Layer::Bronze, &bronze.table, vec![], own),
            target(Layer::Ledger, self.bronze.ledger().table(), vec![], vec![]),
        ];
        if let Some(silver) = silver {
            let (rules, kept) = (&silver.rules, silver.rules.kept());
            let deleted = &rules.tombstones;
            targets.push(target(Layer::Silver, &rules.table, rules.keys.clone(), kept.clone()));
            let deleted = target(Layer::Silver, deleted, rules.keys.clone(), kept);
            let forget = silver.tombstone_retention.map(Forget::by_event_time);
            targets.push(Target { forget, ..deleted });
            let bounds = QUARANTINE_BOUNDS.map(str::to_owned).to_vec();
            targets.push(target(Layer::Silver, &rules.quarantine, vec![], bounds));
        }
        let of_gold = gold.iter().map(|gold| target(Layer::Gold, &gold.table, vec![], vec![]));
        targets.extend(of_gold);
        targets
    }
}

/// What a worker watches.
#[derive(Debug, Clone)]
pub enum Intake {
    /// A folder, by listing it.
    Directory,
    /// A queue.
    Queue(Queues),
    /// Nothing: each listing is a command or a step of its own.
    Listing,
}

/// The queues.
#[derive(Debug, Clone)]
pub struct Queues {
    /// What was configured.
    pub settings: QueueSettings,
    /// Events.
    pub queue: Arc<dyn EventQueue>,
    /// Dead letters.
    pub dlq: Arc<dyn EventQueue>,
}

/// Everything, connected.
#[derive(Debug, Clone)]
pub struct Wired {
    /// What was configured.
    pub settings: Arc<Settings>,
    /// The lake.
    pub lake: Lake,
    /// The raw zone.
    pub source: Arc<dyn RawStore>,
    /// What a worker watches.
    pub intake: Intake,
    /// The checkpoints.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// Where commits are announced.
    pub bus: Option<Arc<dyn EventBus>>,
    /// The routes.
    pub pipelines: Vec<Pipeline>,
}

impl Wired {
    /// Upkeep of its tables.
    pub fn upkeep(&self) -> Upkeep {
        Upkeep::new(&self.lake, self.settings.memory().upkeep())
    }

    /// The same, with its commits announced on a bus.
    pub fn announcing_on(mut self, bus: &Arc<dyn EventBus>) -> Self {
        for pipeline in &mut self.pipelines {
            let PipelineSettings { name, bronze, silver, gold, .. } = &pipeline.settings;
            let mut tables = vec![
                (NoticeKind::BronzeCommitted, bronze.table.clone()),
                (NoticeKind::ObjectRejected, pipeline.bronze.ledger().table().clone()),
            ];
            tables.extend(silver.iter().map(|s| (NoticeKind::SilverMerged, s.rules.table.clone())));
            tables.extend(
                silver.iter().map(|s| (NoticeKind::RowQuarantined, s.rules.quarantine.clone())),
            );
            tables.extend(gold.iter().map(|g| (NoticeKind::GoldRefreshed, g.table.clone())));
            pipeline.announcer = Some(Announcer::new(
                &self.lake,
                &self.settings.lake.name,
                name,
                bus.clone(),
                self.checkpoints.clone(),
                tables,
            ));
        }
        self.bus = Some(bus.clone());
        self
    }
}
