//! Gold: SQL over silver and other tables of the lake, computed in full, committed at once with its position in each of
//! them; skipped when none of them has changed.

mod compute;
pub mod order;
mod sources;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::checkpoint::CheckpointError;
use crate::error::Kind;
use crate::lake::{
    Change, CommitProperties, DataFile, Lake, LakeError, PartitionField, Removed, SnapshotId,
    Table, TableName, Uncommitted, properties,
};
use crate::sql::SqlError;
use crate::telemetry::metrics::{self, Layer};
use compute::{Computed, compute};
use sources::{Found, Sources};
use tracing::Instrument;

/// The name under which a pipeline's own silver table is selected from.
pub const SILVER: &str = "silver";

/// The prefix of a gold table's position in the silver table of its pipeline.
pub const COMPUTED: &str = "silversmith.silver";

/// The prefix of its position in a table that its SQL names with a namespace, before the table's name.
pub const SOURCE: &str = "silversmith.source.";

/// The settings of one gold table.
#[derive(Debug, Clone)]
pub struct GoldSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's silver table, where the SQL reads `silver`.
    pub silver: Option<TableName>,
    /// The tables that the SQL names with their namespaces, each once.
    pub reads: Vec<TableName>,
    /// The gold table.
    pub table: TableName,
    /// The query.
    pub sql: String,
    /// How new files are partitioned; none: as the table says.
    pub partition_by: Option<Vec<PartitionField>>,
    /// Bytes of memory that the query may use.
    pub memory: usize,
}

impl GoldSettings {
    /// The tables that it is computed from, each once.
    pub fn sources(&self) -> impl Iterator<Item = &TableName> {
        let others = self.reads.iter().filter(|table| Some(*table) != self.silver.as_ref());
        self.silver.iter().chain(others)
    }

    /// Whose SQL, for errors.
    pub fn what(&self) -> String {
        format!("gold table {}: its SQL", self.table)
    }
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
    /// The lock beside the checkpoints.
    #[error(transparent)]
    Lock(#[from] CheckpointError),
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
            Self::Lock(error) => error.kind(),
            Self::NotOwn(_) => Kind::Configuration,
            Self::Contended { .. } => Kind::Retry,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoldReport {
    /// No source has changed since the last refresh.
    UpToDate,
    /// A table that it is computed from is not there yet.
    WaitsFor(TableName),
    /// The table was recomputed.
    Refreshed {
        /// The snapshot committed.
        snapshot: SnapshotId,
        /// Rows in the table now.
        rows: u64,
    },
}

/// Whether a gold table is to be refreshed.
#[derive(Debug)]
pub enum Look {
    /// There is nothing to do.
    Done(GoldReport),
    /// It is to be computed.
    Due(Box<Due>),
}

/// A gold table that is to be computed, and its sources, as they were loaded.
#[derive(Debug)]
pub struct Due {
    gold: Option<Table>,
    sources: Sources,
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

    /// The pipeline that it belongs to.
    pub fn pipeline(&self) -> &str {
        &self.settings.pipeline
    }

    /// Loads the table and its sources, and decides whether it is to be refreshed.
    pub async fn look(&self) -> Result<Look, GoldError> {
        // Gold first: it was then not computed from newer sources than those loaded next.
        let gold = self.lake.find(&self.settings.table).await?;
        self.check_own(gold.as_ref())?;
        let sources = match Sources::find(&self.lake, &self.settings).await? {
            Found::All(sources) => sources,
            Found::Missing(table) => return Ok(Look::Done(GoldReport::WaitsFor(table))),
        };
        Ok(match self.computed_from(gold.as_ref(), &sources)? {
            true => Look::Done(GoldReport::UpToDate),
            false => Look::Due(Box::new(Due { gold, sources })),
        })
    }

    fn hash(&self) -> String {
        format!("{:x}", Sha256::digest(self.settings.sql.as_bytes()))[..16].to_owned()
    }

    fn computed_from(&self, gold: Option<&Table>, sources: &Sources) -> Result<bool, GoldError> {
        let Some(gold) = gold else { return Ok(false) };
        let newest = gold.newest_properties(properties::CONFIGURATION)?;
        let same_sql =
            newest.is_some_and(|p| p.get(properties::CONFIGURATION) == Some(&self.hash()));
        Ok(same_sql && sources.unchanged_since(gold)?)
    }

    /// Computes the table from its sources as they are, unless it is up to date.
    pub async fn step(&self) -> Result<GoldReport, GoldError> {
        match self.look().await? {
            Look::Done(report) => Ok(report),
            Look::Due(due) => self.refresh(*due).await,
        }
    }

    /// Computes the table from its sources as they were found to be.
    pub async fn refresh(&self, due: Due) -> Result<GoldReport, GoldError> {
        let (pipeline, began) = (self.settings.pipeline.as_str(), self.lake.ambient().now());
        let span = tracing::info_span!("refresh", pipeline, table = %self.settings.table);
        let report = self.compute(due).instrument(span).await?;
        if matches!(report, GoldReport::Refreshed { .. }) {
            metrics::step(pipeline, Layer::Gold, self.lake.ambient().now() - began);
        }
        Ok(report)
    }

    async fn compute(&self, due: Due) -> Result<GoldReport, GoldError> {
        let (mut conflicts, began) = (0, self.lake.ambient().now());
        let Due { mut gold, mut sources } = due;
        loop {
            if let Some(computed) = compute(&self.lake, &self.settings, &sources, gold).await?
                && let Some(report) = self.commit(computed, &sources).await?
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
            match self.look().await? {
                Look::Done(report) => return Ok(report),
                Look::Due(due) => Due { gold, sources } = *due,
            }
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

    /// None: another commit came first.
    async fn commit(
        &self,
        computed: Computed,
        sources: &Sources,
    ) -> Result<Option<GoldReport>, GoldError> {
        let Computed { target, schema, files } = computed;
        let rows = files.files().iter().map(DataFile::record_count).sum();
        let change = self.change(files, sources).with_schema(schema);
        let committed = self.lake.commit(&target, change).await?.or_discard().await?;
        let Some((_, snapshot)) = committed else { return Ok(None) };
        tracing::info!(table = %self.settings.table, snapshot = snapshot.0, rows, "gold refreshed");
        Ok(Some(GoldReport::Refreshed { snapshot, rows }))
    }

    fn change(&self, files: Uncommitted, sources: &Sources) -> Change {
        let mut own = properties::of_pipeline(&self.settings.pipeline);
        own.insert(properties::CONFIGURATION.to_owned(), self.hash());
        sources.note_positions(&mut own);
        Change::overwrite(files, Removed::All, CommitProperties::of_both(Layer::Gold, own))
    }
}
