//! The file as written: every value still a text or a number.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `silversmith.toml`.
#[derive(Debug, Deserialize)]
pub struct File {
    /// `[lake]`
    pub lake: LakeSection,
    /// `[worker]`
    #[serde(default)]
    pub worker: WorkerSection,
    /// `[source]`
    #[serde(default)]
    pub source: SourceSection,
    /// `[[pipeline]]`
    #[serde(default)]
    pub pipeline: Vec<PipelineSection>,
}

/// Where the tables are.
#[derive(Debug, Deserialize)]
pub struct LakeSection {
    /// The catalog's name, as other engines see it.
    pub name: String,
    /// `sqlite:<path>`, `postgres://…`, `s3tables:<table bucket ARN>`, `glue:<catalog id>` or `rest:https://…`.
    pub catalog: String,
    /// Where new tables go: a path or `s3://bucket/prefix`. Some catalogs choose it themselves.
    pub warehouse: Option<String>,
    /// Where checkpoints go: a path or `s3://bucket/prefix`.
    pub checkpoints: String,
    /// The EventBridge bus that commits are announced on: its name or ARN.
    pub event_bus: Option<String>,
    /// `[lake.rest]`
    pub rest: Option<RestSection>,
    /// `[lake.upkeep]`
    #[serde(default)]
    pub upkeep: UpkeepSection,
}

/// What keeps tables fast and small.
#[derive(Debug, Default, Deserialize)]
pub struct UpkeepSection {
    /// A time span, or `never`.
    pub keep_snapshots: Option<String>,
    /// `auto` or `never`.
    pub compact: Option<String>,
    /// A time span, or `never`.
    pub orphans_older_than: Option<String>,
}

/// More about a REST catalog.
#[derive(Debug, Default, Deserialize)]
pub struct RestSection {
    /// The warehouse to request from the catalog.
    pub warehouse: Option<String>,
    /// `none`, `token`, `oauth2` or `sigv4`.
    pub auth: Option<String>,
    /// The URL of the OAuth2 token endpoint.
    pub oauth2_server: Option<String>,
    /// The scope of an OAuth2 token.
    pub scope: Option<String>,
    /// The service that signatures are for.
    pub signing_name: Option<String>,
}

/// What the process may use.
#[derive(Debug, Default, Deserialize)]
pub struct WorkerSection {
    /// Bytes of memory, such as `512MiB`.
    pub memory: Option<String>,
    /// Objects read at a time.
    pub read_concurrency: Option<usize>,
    /// How long a step may go on after a signal to stop.
    pub shutdown_grace: Option<String>,
    /// A folder for what may be lost.
    pub state: Option<String>,
}

/// Where raw objects come from: a queue, a folder, or, without either, listings of S3.
#[derive(Debug, Default, Deserialize)]
pub struct SourceSection {
    /// URL of an SQS queue that receives S3 events.
    pub queue: Option<String>,
    /// URL of the queue for dead letters.
    pub dlq: Option<String>,
    /// How long a received message stays hidden, unless a worker extends it.
    pub visibility: Option<String>,
    /// `dead-letter` or `skip`.
    pub on_missing: Option<String>,
    /// `skip` or `dead-letter`.
    pub on_unmatched: Option<String>,
    /// A folder.
    pub directory: Option<String>,
    /// How long a file has to be unchanged.
    pub settle: Option<String>,
}

/// One route.
#[derive(Debug, Deserialize)]
pub struct PipelineSection {
    /// Its name.
    pub name: String,
    /// A glob.
    pub source: String,
    /// `csv`, `json` or `parquet`.
    pub format: Option<String>,
    /// What is said about columns, by the table's column name.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnSection>,
    /// When a batch closes.
    #[serde(default)]
    pub batch: BatchSection,
    /// Where the objects of a folder are one delivery.
    pub deliveries: Option<DeliveriesSection>,
    /// The dialect of its CSV files.
    #[serde(default)]
    pub csv: CsvSection,
    /// Its bronze table.
    pub bronze: BronzeSection,
    /// Its silver table.
    pub silver: Option<SilverSection>,
    /// Its gold tables.
    #[serde(default)]
    pub gold: Vec<GoldSection>,
}

/// See [`crate::batch::BatchLimits`].
#[derive(Debug, Default, Deserialize)]
pub struct BatchSection {
    /// Objects.
    pub max_objects: Option<usize>,
    /// Bytes, such as `256MiB`.
    pub max_bytes: Option<String>,
    /// Time, such as `2s`.
    pub max_wait: Option<String>,
}

/// See [`crate::bronze::deliveries::Deliveries`].
#[derive(Debug, Default, Deserialize)]
pub struct DeliveriesSection {
    /// The name of a marker object; `*` is any text.
    pub complete_when: Option<String>,
    /// The name of a manifest object.
    pub manifest: Option<String>,
    /// How many objects.
    pub count: Option<u64>,
    /// `ingest` or `reject`.
    pub late_objects: Option<String>,
}

/// See [`crate::format::csv::Dialect`].
#[derive(Debug, Default, Deserialize)]
pub struct CsvSection {
    /// One character.
    pub delimiter: Option<String>,
    /// One character, or none.
    pub quote: Option<String>,
    /// One character.
    pub escape: Option<String>,
    /// The name of an encoding.
    pub encoding: Option<String>,
    /// Whether the first record names the columns.
    pub header: Option<bool>,
    /// Texts that mean null.
    pub null_values: Option<Vec<String>>,
    /// Lines before the header.
    pub skip_lines: Option<u64>,
    /// Lines at the end.
    pub skip_footer: Option<u64>,
    /// One character.
    pub comment: Option<String>,
    /// What parts a number from its fraction.
    pub decimal: Option<String>,
    /// How dates and times are written.
    #[serde(default)]
    pub formats: Vec<String>,
    /// The zone of times that name none.
    pub timezone: Option<String>,
    /// Whether folders of the path are columns.
    pub path_columns: Option<bool>,
    /// The same as the columns of the pipeline.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnSection>,
}

/// See [`crate::format::feed::ColumnSettings`].
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "write a type, such as \"long\", or { type = \"long\", from = \"Header\" }"
)]
pub enum ColumnSection {
    /// Its type alone.
    Type(String),
    /// More than that.
    Table(ColumnTable),
}

/// See [`ColumnSection`].
#[derive(Debug, Default, Deserialize)]
pub struct ColumnTable {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its header.
    pub from: Option<String>,
    /// How its dates and times are written.
    #[serde(default)]
    pub formats: Vec<String>,
}

/// See [`crate::bronze::BronzeSettings`].
#[derive(Debug, Deserialize)]
pub struct BronzeSection {
    /// `namespace.table`.
    pub table: String,
    /// `evolve`, `rescue` or `fail`.
    pub schema_change: Option<String>,
    /// Partition fields.
    pub partition_by: Option<Vec<String>>,
    /// `rescue` or `fail`.
    pub on_type_change: Option<String>,
    /// Columns that the table may have.
    pub max_columns: Option<usize>,
    /// Columns that one file may add.
    pub max_new_columns: Option<usize>,
    /// A percentage.
    pub max_rescued: Option<String>,
    /// Bytes, such as `100GiB`.
    pub max_expanded: Option<String>,
    /// Times.
    pub max_expansion: Option<u64>,
}

/// See [`crate::silver::SilverSettings`].
#[derive(Debug, Deserialize)]
pub struct SilverSection {
    /// `namespace.table`.
    pub table: String,
    /// Key columns.
    pub keys: Vec<String>,
    /// Order columns.
    #[serde(default)]
    pub order_by: Vec<String>,
    /// How a merge changes files.
    pub mode: Option<String>,
    /// `none` or `scd2`.
    pub history: Option<String>,
    /// Partition fields.
    pub partition_by: Option<Vec<String>>,
    /// A row-wise SELECT from bronze.
    pub select: Option<String>,
    /// A condition on bronze columns.
    pub delete_when: Option<String>,
    /// `skip` or `equal`.
    pub null_keys: Option<String>,
    /// `fail` or `ignore`.
    pub on_bronze_delete: Option<String>,
    /// A duration.
    pub tombstone_retention: Option<String>,
    /// What is expected of rows.
    #[serde(default)]
    pub expect: Vec<ExpectSection>,
}

/// See [`crate::sql::expect::Expectation`].
#[derive(Debug, Deserialize)]
pub struct ExpectSection {
    /// Its name.
    pub name: String,
    /// A condition.
    pub sql: String,
    /// `quarantine`, `fail` or `warn`.
    pub on_fail: Option<String>,
}

/// See [`crate::gold::GoldSettings`].
#[derive(Debug, Deserialize)]
pub struct GoldSection {
    /// `namespace.table`.
    pub table: String,
    /// A SELECT from silver.
    pub sql: String,
    /// Partition fields.
    pub partition_by: Option<Vec<String>>,
}
