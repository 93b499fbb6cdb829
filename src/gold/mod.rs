//! Gold: SQL over silver, computed in full, committed at once with its position in silver; skipped when silver has
//! not changed.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::error::Kind;
use crate::lake::position::{Position, Standing, has_same_rows, standing};
use crate::lake::read::arrow::conform;
use crate::lake::read::provider::LakeTable;
use crate::lake::write::data::DataWriter;
use crate::lake::{
    Change, CommitProperties, DataFile, Lake, LakeError, PartitionField, Removed, SnapshotId,
    Table, TableName, TableSchema, Uncommitted, properties, storable,
};
use crate::sql::SqlError;
use crate::sql::session::{query, session};
use crate::telemetry::metrics::{self, Layer};
use tracing::Instrument;

/// The name under which the rows are selected from.
pub const SILVER: &str = "silver";

/// The prefix of a gold table's position in silver.
pub const COMPUTED: &str = "silversmith.silver";

/// The settings of one gold table.
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
    /// How new files are partitioned; none: as the table says.
    pub partition_by: Option<Vec<PartitionField>>,
    /// Bytes of memory that the query may use.
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
    /// The table's rows are another program's.
    #[error(
        "gold table {0} has rows that silversmith did not write, and a refresh would replace them; name another table in the configuration, or drop this one"
    )]
    NotOwn(TableName),
    /// Other writers keep committing to the gold table.
    #[error(
        "gold table {table}: gave up after {attempts} conflicting commits in {elapsed:.1?}; no data was lost, run it again"
    )]
    Contended {
        /// The table.
        table: TableName,
        /// How many.
        attempts: u32,
        /// In which time.
        elapsed: Duration,
    },
}

impl GoldError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Sql(error) => error.kind(),
            Self::NotOwn(_) => Kind::Configuration,
            Self::Contended { .. } => Kind::Retry,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoldReport {
    /// There is no silver table yet, or silver has not changed since the last refresh.
    UpToDate,
    /// The table was recomputed.
    Refreshed {
        /// The snapshot committed.
        snapshot: SnapshotId,
        /// Rows in the table now.
        rows: u64,
    },
}

/// One gold table.
#[derive(Debug, Clone)]
pub struct Gold {
    lake: Lake,
    settings: GoldSettings,
}

/// Conflicts in a row after which a refresh gives up.
const MAX_CONFLICTS: u32 = 10;

impl Gold {
    /// See [`Gold`].
    pub fn new(lake: &Lake, settings: GoldSettings) -> Self {
        Self { lake: lake.clone(), settings }
    }

    /// The gold table's name.
    pub fn table(&self) -> &TableName {
        &self.settings.table
    }

    /// Whether gold was computed from the current silver. `None`: there is no silver yet.
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
        let newest = gold.newest_properties(properties::CONFIGURATION)?;
        let same_sql =
            newest.is_some_and(|p| p.get(properties::CONFIGURATION) == Some(&self.hash()));
        let computed = gold.position(COMPUTED)?;
        Ok(same_sql && computed.is_some_and(|position| has_same_rows(silver, &position)))
    }

    /// Computes the table from the current silver, unless it is up to date. `silver` is silver as it was just
    /// loaded, where the caller has it.
    pub async fn step(&self, silver: Option<&Table>) -> Result<GoldReport, GoldError> {
        let (pipeline, began) = (self.settings.pipeline.as_str(), self.lake.ambient().now());
        let span = tracing::info_span!("refresh", pipeline, table = %self.settings.table);
        let report = self.refresh(silver.cloned()).instrument(span).await?;
        if matches!(report, GoldReport::Refreshed { .. }) {
            metrics::step(pipeline, Layer::Gold, self.lake.ambient().now() - began);
        }
        Ok(report)
    }

    async fn refresh(&self, mut loaded: Option<Table>) -> Result<GoldReport, GoldError> {
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        loop {
            // Gold first: it was then not computed from a newer silver than the one loaded next.
            let gold = self.lake.find(&self.settings.table).await?;
            self.check_own(gold.as_ref())?;
            let Some(silver) = self.silver(gold.as_ref(), loaded.take()).await? else {
                return Ok(GoldReport::UpToDate);
            };
            let Some(tip) = silver.current() else { return Ok(GoldReport::UpToDate) };
            if self.computed_from(gold.as_ref(), &silver)? {
                return Ok(GoldReport::UpToDate);
            }
            if let Some(computed) = self.compute(&silver, tip.id, gold).await?
                && let Some(report) = self.commit(computed, &Position::of(&silver, &tip)).await?
            {
                return Ok(report);
            }
            conflicts += 1;
            if conflicts == MAX_CONFLICTS {
                return Err(GoldError::Contended {
                    table: self.settings.table.clone(),
                    attempts: conflicts,
                    elapsed: (self.lake.ambient().now() - began).to_std().unwrap_or_default(),
                });
            }
            self.lake.wait_after_conflict(conflicts).await;
        }
    }

    /// A refresh replaces all rows: it must have written them.
    fn check_own(&self, gold: Option<&Table>) -> Result<(), GoldError> {
        let Some(gold) = gold.filter(|gold| gold.current().is_some()) else { return Ok(()) };
        match gold.property(properties::PIPELINE) {
            Some(_) => Ok(()),
            None => Err(GoldError::NotOwn(gold.name().clone())),
        }
    }

    /// Silver as it was loaded, unless a rival has computed gold from a newer one since.
    async fn silver(
        &self,
        gold: Option<&Table>,
        loaded: Option<Table>,
    ) -> Result<Option<Table>, GoldError> {
        let computed = gold.map(|gold| gold.position(COMPUTED)).transpose()?.flatten();
        let behind = |silver: &Table| {
            computed.as_ref().is_some_and(|position| standing(silver, position) == Standing::Ahead)
        };
        match loaded.filter(|silver| !behind(silver)) {
            Some(silver) => Ok(Some(silver)),
            None => Ok(self.lake.find(&self.settings.silver).await?),
        }
    }

    /// None: another commit came first.
    async fn commit(
        &self,
        computed: Computed,
        from: &Position,
    ) -> Result<Option<GoldReport>, GoldError> {
        let Computed { target, schema, files } = computed;
        let rows = files.files().iter().map(DataFile::record_count).sum();
        let change = self.change(files, from).with_schema(schema);
        let committed = self.lake.commit(&target, change).await?.or_discard().await?;
        let Some((_, snapshot)) = committed else { return Ok(None) };
        tracing::info!(table = %self.settings.table, snapshot = snapshot.0, rows, "gold refreshed");
        Ok(Some(GoldReport::Refreshed { snapshot, rows }))
    }

    fn change(&self, files: Uncommitted, from: &Position) -> Change {
        let mut own = properties::of_pipeline(&self.settings.pipeline);
        own.insert(properties::CONFIGURATION.to_owned(), self.hash());
        properties::set_position(&mut own, COMPUTED, from);
        Change::overwrite(files, Removed::All, CommitProperties::of_both(Layer::Gold, own))
    }

    /// None: gold was not there, and a rival has made and computed it meanwhile.
    async fn compute(
        &self,
        silver: &Table,
        snapshot: SnapshotId,
        gold: Option<Table>,
    ) -> Result<Option<Computed>, GoldError> {
        let what = format!("gold table {}: its SQL", self.settings.table);
        let failed = |e| SqlError::of(&what, e);
        let context = session(self.settings.memory)?;
        let rows = LakeTable::at(&self.lake, silver, Some(snapshot))?;
        context.register_table(SILVER, Arc::new(rows)).map_err(failed)?;
        let mut rows = query(&context, &what, &self.settings.sql)
            .await?
            .execute_stream()
            .await
            .map_err(failed)?;
        let output = Arc::new(storable(&rows.schema()));
        let made = gold.is_none();
        let partition_by = self.settings.partition_by.as_deref();
        let target = match gold {
            Some(gold) => gold,
            None => self.lake.find_or_create(&self.settings.table, &output, partition_by).await?,
        };
        if made && target.current().is_some() {
            return Ok(None);
        }
        let schema = target.schema().replaced(target.name(), &output, target.last_column_id())?;
        let into = schema.clone().unwrap_or_else(|| target.schema().clone());
        let target = self.lake.partitioned(target, partition_by, &into).await?;
        let mut writer = DataWriter::new(&self.lake, &target, &into)?;
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            writer.write(&conform(target.name(), batch, into.arrow())?).await?;
        }
        let files = writer.close().await?;
        Ok(Some(Computed { target, schema, files }))
    }
}

/// A table's new content, written, not committed.
struct Computed {
    target: Table,
    schema: Option<TableSchema>,
    files: Uncommitted,
}
