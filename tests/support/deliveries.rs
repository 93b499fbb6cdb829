//! Worlds whose pipeline has deliveries, and what they say of them.

use std::time::Duration;

use silversmith::ambient::Ambient;
use silversmith::bronze::BronzeReport;
use silversmith::bronze::deliveries::{DELIVERY, WaitingDelivery};
use silversmith::dead_letters::{Filter, recorded};
use silversmith::ledger::{ObjectOutcome, states};

use super::{CUSTOMERS, World};

pub const MARKER: &str = "complete_when = \"_SUCCESS\"";
pub const MANIFEST: &str = "manifest = \"list.json\"";

/// A pipeline whose deliveries follow these rules.
pub fn pipeline(rules: &str) -> String {
    let section = format!("[pipeline.deliveries]\n{rules}\n[pipeline.bronze]");
    CUSTOMERS.replace("[pipeline.bronze]", &section)
}

pub fn delivering(rules: &str) -> World {
    World::new(&pipeline(rules))
}

/// A file of one row.
pub fn row(id: u32) -> String {
    format!("id,updated\n{id},1\n")
}

impl World {
    /// Bronze, a second after what was before.
    pub async fn look(&self) -> BronzeReport {
        self.ambient.advance(Duration::from_secs(1));
        self.bronze().await
    }

    /// How many objects were ingested, began to wait, and failed.
    pub async fn counts(&self) -> (usize, usize, usize) {
        let report = self.look().await;
        (report.ingested, report.waiting, report.failed)
    }

    /// The rows of bronze.
    pub async fn ids(&self) -> Vec<String> {
        let name = "bronze.customers".parse().unwrap();
        match self.lake().find(&name).await.unwrap() {
            Some(_) => self.sql("SELECT id FROM bronze.customers ORDER BY id").await,
            None => vec![],
        }
    }

    /// What became of each object, the newest of it.
    pub async fn outcomes(&self) -> Vec<String> {
        let states = states("bronze.customers_objects");
        self.sql(&format!(
            "SELECT source_uri, outcome, reason FROM ({states})
             WHERE source_version NOT IN ('delivery', 'waits-for') ORDER BY 1, 2"
        ))
        .await
    }

    /// The deliveries that wait: folder, objects, what for, why refused.
    pub async fn waits(&self) -> Vec<String> {
        let all = self.pipeline().bronze.waiting_deliveries(64 << 20).await.unwrap();
        let line = |d: WaitingDelivery| {
            let reason = d.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("{}: {} for {}{reason}", d.folder, d.objects, d.waits_for)
        };
        all.into_iter().map(line).collect()
    }

    /// Those of a table that may not be there.
    pub async fn commits_if_any(&self) -> Vec<String> {
        let name = "bronze.customers".parse().unwrap();
        match self.lake().find(&name).await.unwrap() {
            Some(_) => self.commits().await,
            None => vec![],
        }
    }

    /// The folders of the commits that are deliveries, oldest first.
    pub async fn commits(&self) -> Vec<String> {
        let bronze = self.table("bronze.customers").await;
        let mut all: Vec<String> =
            bronze.ancestors().filter_map(|s| s.summary.get(DELIVERY).cloned()).collect();
        all.reverse();
        all
    }

    /// Replays what was rejected for a reason. Returns how many objects that is.
    pub async fn replay(&self, reason: &str) -> usize {
        self.ambient.advance(Duration::from_secs(1));
        let bronze = &self.pipeline().bronze;
        let filter = Filter { reason: Some(reason.to_owned()), ..Filter::default() };
        let found =
            recorded::failed(bronze.ledger(), "customers", &filter, 64 << 20).await.unwrap();
        let now = self.ambient.now();
        recorded::record(bronze.ledger(), &found, ObjectOutcome::Replayed, now).await.unwrap();
        found.len()
    }
}
