//! Amazon EventBridge ([PutEvents](https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html)).

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use super::{BusError, EventBus, Notice, Refused};
use crate::aws::{Answer, described};

/// The `source` of every event that silversmith publishes.
const SOURCE: &str = "silversmith";

/// A bus, by its name or ARN.
#[derive(Debug)]
pub struct EventBridge {
    client: Client,
    bus: String,
    /// Whether the bus was found. PutEvents accepts events for a bus that does not exist, so the first publish
    /// looks for it.
    exists: AtomicBool,
}

impl EventBridge {
    /// The bus with this name or ARN.
    pub fn new(client: Client, bus: &str) -> Self {
        Self { client, bus: bus.to_owned(), exists: AtomicBool::new(false) }
    }

    async fn check_exists(&self) -> Result<(), BusError> {
        if self.exists.load(Ordering::Relaxed) {
            return Ok(());
        }
        let answer = self.client.describe_event_bus().name(&self.bus).send().await;
        match answer {
            Err(error) if Answer::of(&error).code == "ResourceNotFoundException" => {
                return Err(self.failed("describing it", described(error)));
            }
            // A role without events:DescribeEventBus may still publish.
            Err(error) => {
                tracing::debug!(error = %described(error), "cannot look for the event bus; publishing anyway")
            }
            Ok(_) => {}
        }
        self.exists.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn failed(&self, doing: &'static str, source: std::io::Error) -> BusError {
        BusError { bus: self.bus.clone(), doing, source }
    }

    fn entry(&self, notice: &Notice) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(SOURCE)
            .detail_type(notice.kind.as_str())
            .detail(notice.detail.to_string())
            .time(DateTime::from_millis(notice.at.timestamp_millis()))
            .build()
    }
}

#[async_trait]
impl EventBus for EventBridge {
    async fn probe(&self) -> Result<(), BusError> {
        let answer = self.client.describe_event_bus().name(&self.bus).send().await;
        answer.map(drop).map_err(|error| self.failed("describing it", described(error)))
    }

    async fn publish(&self, notices: &[Notice]) -> Result<Vec<Refused>, BusError> {
        self.check_exists().await?;
        let entries = notices.iter().map(|notice| self.entry(notice)).collect();
        let answer = self.client.put_events().set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| self.failed("publishing", described(error)))?;
        let results = answer.entries().iter().enumerate();
        Ok(results
            .filter_map(|(index, result)| {
                let code = result.error_code()?;
                let why = format!("{code}: {}", result.error_message().unwrap_or_default());
                Some(Refused { index, why })
            })
            .collect())
    }
}
