//! Gold: SQL over silver, computed in full and swapped in by one commit with its mark; skipped when
//! silver has not moved.

use std::sync::Arc;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::error::Kind;
use crate::lake::read::arrow::conform;
use crate::lake::read::diff::Position;
use crate::lake::read::provider::LakeTable;
use crate::lake::write::data::DataWriter;
use crate::lake::{
    Change, DataFile, Lake, LakeError, Outcome, Removal, Table, TableName, properties, storable,
};
use crate::sql::SqlError;
use crate::sql::session::{query, session};
use crate::telemetry::metrics;
use tracing::Instrument;

/// The name under which the rows are selected from.
pub const SILVER: &str = "silver";

/// What a pipeline says about one of its gold tables.
#[derive(Debug, Clone)]
pub struct GoldSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The silver table.
    pub silver: TableName,
    /// The gold table.
    pub table: TableName,
    /// The query, over `silver`.
    pub sql: String,
    /// Bytes that the query may hold.
    pub memory: usize,
}

/// Why a refresh did not happen.
#[derive(Debug, thiserror::Error)]
pub enum GoldError {
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The query.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Others keep committing to the gold table.
    #[error("gold table {0}: refreshes in a row met another commit; nothing is lost")]
    Contended(TableName),
}

impl GoldError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Sql(error) => error.kind(),
            Self::Contended(_) => Kind::Retry,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoldReport {
    /// There is no silver table yet, or silver has not moved since the last refresh.
    UpToDate,
    /// Computed anew.
    Refreshed {
        /// The snapshot committed.
        snapshot: i64,
        /// Rows of the table now.
        rows: u64,
    },
}

/// One gold table.
#[derive(Debug, Clone)]
pub struct Gold {
    lake: Lake,
    settings: GoldSettings,
}

const MAX_ATTEMPTS: usize = 10;

impl Gold {
    /// See [`Gold`].
    pub fn new(lake: &Lake, settings: GoldSettings) -> Self {
        Self { lake: lake.clone(), settings }
    }

    /// The gold table's name.
    pub fn table(&self) -> &TableName {
        &self.settings.table
    }

    /// Whether gold was computed from silver as it is now. `None`: there is no silver yet.
    pub async fn is_up_to_date(&self) -> Result<Option<bool>, GoldError> {
        let Some(silver) = self.lake.find(&self.settings.silver).await? else { return Ok(None) };
        let gold = self.lake.find(&self.settings.table).await?;
        Ok(Some(self.computed_from(gold.as_ref(), &silver)?))
    }

    fn hash(&self) -> String {
        format!("{:x}", Sha256::digest(self.settings.sql.as_bytes()))[..16].to_owned()
    }

    fn computed_from(&self, gold: Option<&Table>, silver: &Table) -> Result<bool, GoldError> {
        let Some(gold) = gold else { return Ok(false) };
        let facts = gold.newest_marks(properties::CONFIGURATION)?;
        let same_sql =
            facts.is_some_and(|f| f.get(properties::CONFIGURATION) == Some(&self.hash()));
        let tip = silver.current().map(|s| Position::of(silver, &s));
        Ok(same_sql && tip.is_some() && gold.marked_position(properties::COMPUTED)? == tip)
    }

    /// Computes the table from silver as it is now, unless it was.
    pub async fn step(&self) -> Result<GoldReport, GoldError> {
        let (pipeline, began) = (self.settings.pipeline.as_str(), self.lake.ambient().now());
        let span = tracing::info_span!("refresh", pipeline, table = %self.settings.table);
        let report = self.refresh().instrument(span).await?;
        if matches!(report, GoldReport::Refreshed { .. }) {
            metrics::step(pipeline, metrics::Layer::Gold, self.lake.ambient().now() - began);
        }
        Ok(report)
    }

    async fn refresh(&self) -> Result<GoldReport, GoldError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(silver) = self.lake.find(&self.settings.silver).await? else {
                return Ok(GoldReport::UpToDate);
            };
            let Some(tip) = silver.current() else { return Ok(GoldReport::UpToDate) };
            let gold = self.lake.find(&self.settings.table).await?;
            if self.computed_from(gold.as_ref(), &silver)? {
                return Ok(GoldReport::UpToDate);
            }
            let computed = self.compute(&silver, tip.id, gold).await?;
            let mut facts = properties::marks(&self.settings.pipeline);
            facts.insert(properties::CONFIGURATION.to_owned(), self.hash());
            properties::set_position(
                &mut facts,
                properties::COMPUTED,
                &Position::of(&silver, &tip),
            );
            let change = Change {
                remove: Removal::All,
                property_marks: facts.clone(),
                marks: facts,
                ..computed.change
            };
            let rows = change.add.iter().map(DataFile::record_count).sum();
            let paths = change.add.iter().map(|f| f.file_path().to_owned()).collect();
            match self.lake.commit(&computed.target, &change).await {
                Ok(Outcome::Committed(table)) => {
                    let snapshot = table.current().map_or(0, |s| s.id);
                    tracing::info!(table = %self.settings.table, snapshot, rows, "gold refreshed");
                    return Ok(GoldReport::Refreshed { snapshot, rows });
                }
                Ok(Outcome::Conflict(_)) => self.lake.discard(paths).await,
                Err(error @ LakeError::Unknown { .. }) => return Err(error.into()),
                Err(error) => {
                    self.lake.discard(paths).await;
                    return Err(error.into());
                }
            }
        }
        Err(GoldError::Contended(self.settings.table.clone()))
    }

    async fn compute(
        &self,
        silver: &Table,
        snapshot: i64,
        gold: Option<Table>,
    ) -> Result<Computed, GoldError> {
        let what = format!("gold table {}", self.settings.table);
        let failed = |e| SqlError::of(&what, e);
        let context = session(self.settings.memory)?;
        let rows = LakeTable::at(&self.lake, silver, Some(snapshot)).await?;
        context.register_table(SILVER, Arc::new(rows)).map_err(failed)?;
        let mut rows = query(&context, &what, &self.settings.sql)
            .await?
            .execute_stream()
            .await
            .map_err(failed)?;
        let output = Arc::new(storable(&rows.schema()));
        let target = match gold {
            Some(gold) => gold,
            None => self.lake.find_or_create(&self.settings.table, &output, None).await?,
        };
        let schema = target.schema().replaced(target.name(), &output, target.last_column_id())?;
        let into = schema.clone().unwrap_or_else(|| target.schema().clone());
        let mut writer = DataWriter::new(&self.lake, &target, &into)?;
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            writer.write(&conform(target.name(), batch, into.arrow())?).await?;
        }
        let add = writer.close().await?;
        Ok(Computed { target, change: Change { add, schema, ..Change::default() } })
    }
}

/// A table's new content, written, not committed.
struct Computed {
    target: Table,
    change: Change,
}
