//! Who still needs a table's snapshots: silver and the ledger those of bronze, the announcements those of every
//! table that they are about.

use async_trait::async_trait;

use crate::lake::{BoxedError, Consumers, SequenceNumber, Table};
use crate::pipeline::Pipeline;

/// The consumers in all pipelines of a lake.
#[derive(Debug)]
pub(super) struct PipelineConsumers(pub(super) Vec<Pipeline>);

#[async_trait]
impl Consumers for PipelineConsumers {
    async fn consumed(&self, table: &Table) -> Result<SequenceNumber, BoxedError> {
        let mut least = SequenceNumber(i64::MAX);
        for pipeline in &self.0 {
            if pipeline.settings.bronze.table == *table.name() {
                least = least.min(pipeline.bronze.ledger().consumed(table).await?);
                if let Some(silver) = &pipeline.silver {
                    least = least.min(silver.consumed(table).await?);
                }
            }
            if let Some(announcer) = &pipeline.announcer
                && let Some(announced) = announcer.consumed(table).await?
            {
                least = least.min(announced);
            }
        }
        Ok(least)
    }
}
