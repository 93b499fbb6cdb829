//! A whole lake in memory, driven step by step.

pub mod answering;
pub mod counting_store;
pub mod deletes;
pub mod deliveries;
pub mod failing_store;
pub mod faulty;
pub mod lagging;
pub mod logged;
pub mod queued;
pub mod queues;
pub mod real_time;
pub mod rivals;
pub mod schemas;
pub mod warehouse;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, TimeZone, Utc};
use silversmith::ambient::ManualAmbient;
use silversmith::bronze::BronzeReport;
use silversmith::checkpoint::{CheckpointStore, MemoryCheckpoints};
use silversmith::config::{self, Settings};
use silversmith::gold::GoldReport;
use silversmith::lake::catalog::{Catalog, MemoryCatalog, Pointer, Proposal};
use silversmith::lake::{
    CommitProperties, FileIO, Lake, Properties, SnapshotId, Table, TableName, memory_files,
    type_name,
};
use silversmith::pipeline::{Intake, Pipeline, Wired};
use silversmith::silver::SilverReport;
use silversmith::source::{MemoryStore, RawStore};
use silversmith::sql::session::session;
use silversmith::sql::statement;
use silversmith::telemetry::metrics::Layer;
use silversmith::wiring::{assemble, expire_behind};

/// A time on the day of the tests.
pub fn at(hour: u32, minute: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 31, hour, minute, 0).unwrap()
}

/// The lake of a configuration. Its warehouse is checked as one on disk; a world replaces it by one in memory.
pub const LAKE: &str = r#"
[lake]
name = "lake"
catalog = "sqlite:lake/catalog.db"
warehouse = "warehouse"
checkpoints = "lake/checkpoints"
"#;

/// A folder as the source; pipelines follow.
pub const SOURCE: &str = r#"
[source]
directory = "raw"
"#;

/// One pipeline of customers, newest by `updated`.
pub const CUSTOMERS: &str = r#"
[[pipeline]]
name = "customers"
source = "raw/**/*.csv"
[pipeline.bronze]
table = "bronze.customers"
[pipeline.silver]
table = "silver.customers"
keys = ["id"]
order_by = ["updated"]
"#;

/// One pipeline of files of any name, newest by `updated`.
pub const ORDERS: &str = r#"
[[pipeline]]
name = "orders"
source = "raw/**/*"
[pipeline.bronze]
table = "bronze.orders"
[pipeline.silver]
table = "silver.orders"
keys = ["id"]
order_by = ["updated"]
"#;

/// A lake, its raw zone and its checkpoints, all in memory, with a clock that stands still.
pub struct World {
    pub wired: Wired,
    pub raw: Arc<MemoryStore>,
    pub ambient: Arc<ManualAmbient>,
    pub catalog: Arc<dyn Catalog>,
    pub checkpoints: Arc<dyn CheckpointStore>,
    pub files: FileIO,
}

pub fn settings(pipelines: &str) -> Settings {
    settings_of(&format!("{LAKE}{SOURCE}{pipelines}"))
}

pub fn settings_of(text: &str) -> Settings {
    config::parse(text, Path::new("/base")).unwrap_or_else(|p| panic!("{p:?}"))
}

impl World {
    pub fn new(pipelines: &str) -> Self {
        let catalog = Arc::new(MemoryCatalog::new());
        let raw = Arc::new(MemoryStore::new());
        Self::on(pipelines, catalog, memory_files(), raw, Arc::new(MemoryCheckpoints::new()))
    }

    /// On the given backends.
    pub fn on(
        pipelines: &str,
        catalog: Arc<dyn Catalog>,
        files: FileIO,
        raw: Arc<MemoryStore>,
        checkpoints: Arc<dyn CheckpointStore>,
    ) -> Self {
        let ambient = Arc::new(ManualAmbient::at(at(12, 0)));
        Self::sharing(pipelines, catalog, files, raw, checkpoints, ambient)
    }

    /// On the given backends, with a clock and ids that others use, too.
    pub fn sharing(
        pipelines: &str,
        catalog: Arc<dyn Catalog>,
        files: FileIO,
        raw: Arc<MemoryStore>,
        checkpoints: Arc<dyn CheckpointStore>,
        ambient: Arc<ManualAmbient>,
    ) -> Self {
        let lake = Lake::new(catalog.clone(), files.clone(), "memory:/warehouse", ambient.clone());
        let source: Arc<dyn RawStore> = raw.clone();
        let wired =
            assemble(settings(pipelines), lake, source, checkpoints.clone(), Intake::Directory);
        expire_behind(&wired);
        Self { wired, raw, ambient, catalog, checkpoints, files }
    }

    /// The same lake under another configuration.
    pub fn reconfigured(&self, pipelines: &str) -> Self {
        let source: Arc<dyn RawStore> = self.raw.clone();
        let lake = self.wired.lake.clone();
        let wired = assemble(
            settings(pipelines),
            lake,
            source,
            self.checkpoints.clone(),
            Intake::Directory,
        );
        Self {
            wired,
            raw: self.raw.clone(),
            ambient: self.ambient.clone(),
            catalog: self.catalog.clone(),
            checkpoints: self.checkpoints.clone(),
            files: self.files.clone(),
        }
    }

    /// The same lake with another raw zone, under other settings.
    pub fn rewire(&mut self, settings: Settings, source: Arc<dyn RawStore>, intake: Intake) {
        let (lake, checkpoints) = (self.wired.lake.clone(), self.checkpoints.clone());
        self.wired = assemble(settings, lake, source, checkpoints, intake);
    }

    /// An object in the raw zone, with a LastModified of this many minutes past eleven.
    pub fn put(&self, name: &str, content: &str, minute: u32) {
        self.raw.put(&format!("raw/{name}"), content.as_bytes(), at(11, minute));
    }

    pub fn pipeline(&self) -> &Pipeline {
        &self.wired.pipelines[0]
    }

    pub fn lake(&self) -> &Lake {
        &self.wired.lake
    }

    pub async fn bronze(&self) -> BronzeReport {
        self.pipeline().bronze.step().await.unwrap()
    }

    pub async fn silver(&self) -> SilverReport {
        self.pipeline().silver.as_ref().unwrap().step().await.unwrap().report
    }

    pub async fn gold(&self) -> GoldReport {
        self.pipeline().gold[0].step().await.unwrap()
    }

    pub async fn table(&self, name: &str) -> Table {
        self.lake().load(&name.parse().unwrap()).await.unwrap()
    }

    /// The columns of a table without silversmith's own, each with its type.
    pub async fn columns(&self, table: &str) -> Vec<String> {
        let table = self.table(table).await;
        let fields = table.schema().arrow().fields().iter();
        let own = fields.filter(|field| !field.name().starts_with('_'));
        own.map(|field| format!("{} {}", field.name(), type_name(field.data_type()))).collect()
    }

    /// The rows in quarantine: rule, file, row.
    pub async fn quarantine(&self) -> Vec<String> {
        let name = "silver.customers_quarantine";
        if self.lake().find(&name.parse().unwrap()).await.unwrap().is_none() {
            return vec![];
        }
        self.sql(&format!("SELECT rule, _source_uri, _source_row FROM {name} ORDER BY 2, 3")).await
    }

    /// The rows of a query, each as `a|b|c`, in the order of the query.
    pub async fn sql(&self, sql: &str) -> Vec<String> {
        let context = session(64 * 1024 * 1024).unwrap();
        let frame = statement::query(self.lake(), &context, sql).await.unwrap();
        lines(&frame.collect().await.unwrap())
    }
}

/// Properties of a commit that records nothing about itself, as another writer's.
pub fn unsaid() -> CommitProperties {
    CommitProperties::of_snapshot(Layer::Ledger, Properties::new())
}

/// Rows as `a|b|c`.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("null");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            lines.push(cells.join("|"));
        }
    }
    lines
}

/// What other programs may do to a table's metadata.
impl World {
    /// Expires all snapshots but the current one, as any engine's maintenance may.
    pub async fn expire_all_but_current(&self, name: &str) {
        self.change_metadata(name, |builder, metadata| {
            let current = metadata.current_snapshot_id();
            let old: Vec<i64> = metadata
                .snapshots()
                .map(|s| s.snapshot_id())
                .filter(|id| Some(*id) != current)
                .collect();
            builder.remove_snapshots(&old)
        })
        .await;
    }

    /// Rolls a table back to one of its snapshots.
    pub async fn roll_back(&self, name: &str, snapshot: SnapshotId) {
        use iceberg::spec::{SnapshotReference, SnapshotRetention};
        self.change_metadata(name, |builder, _| {
            let retention = SnapshotRetention::branch(None, None, None);
            builder.set_ref("main", SnapshotReference::new(snapshot.0, retention)).unwrap()
        })
        .await;
    }

    /// Tags a table's oldest snapshot, as any engine may.
    pub async fn tag_oldest(&self, name: &str) {
        use iceberg::spec::{SnapshotReference, SnapshotRetention};
        let oldest = self.table(name).await.ancestors().last().unwrap().id;
        self.change_metadata(name, |builder, _| {
            let tag = SnapshotRetention::Tag { max_ref_age_ms: None };
            builder.set_ref("first", SnapshotReference::new(oldest.0, tag)).unwrap()
        })
        .await;
    }

    /// Sets a table property, as any engine may.
    pub async fn set_property(&self, name: &str, key: &str, value: &str) {
        let set = [(key.to_owned(), value.to_owned())];
        self.change_metadata(name, |builder, _| {
            builder.set_properties(set.clone().into()).unwrap()
        })
        .await;
    }

    /// Partitions a table by a field of the transform `void`, as dropping a field does in format version 1.
    pub async fn partition_by_nothing(&self, name: &str, column: &str) {
        use iceberg::spec::{Transform, UnboundPartitionSpec};
        self.change_metadata(name, |builder, metadata| {
            let id = metadata.current_schema().field_by_name(column).unwrap().id;
            let spec = UnboundPartitionSpec::builder();
            let spec = spec.add_partition_field(id, format!("{column}_void"), Transform::Void);
            builder.add_default_partition_spec(spec.unwrap().build()).unwrap()
        })
        .await;
    }

    /// Removes a table property.
    pub async fn remove_property(&self, name: &str, key: &str) {
        self.change_metadata(name, |builder, _| {
            builder.remove_properties(&[key.to_owned()]).unwrap()
        })
        .await;
    }

    async fn change_metadata(
        &self,
        name: &str,
        change: impl Fn(
            iceberg::spec::TableMetadataBuilder,
            &iceberg::spec::TableMetadata,
        ) -> iceberg::spec::TableMetadataBuilder,
    ) {
        use iceberg::MetadataLocation;
        use iceberg::spec::TableMetadata;
        let table = name.parse().unwrap();
        let pointer = self.catalog.load(&table).await.unwrap().unwrap().pointer;
        let metadata =
            TableMetadata::read_from(&self.files, &pointer.metadata_location).await.unwrap();
        let builder = metadata.clone().into_builder(Some(pointer.metadata_location.clone()));
        let built = change(builder, &metadata).build().unwrap();
        let location: MetadataLocation = pointer.metadata_location.parse().unwrap();
        let location = location.with_next_version();
        built.metadata.write_to(&self.files, &location).await.unwrap();
        let next = Proposal {
            metadata: Arc::new(built.metadata),
            metadata_location: location.to_string(),
            requirements: vec![],
            updates: built.changes,
        };
        self.swap(&table, &pointer, next).await;
    }

    /// Points a table at another of its metadata files.
    pub async fn point(&self, table: &TableName, base: &Pointer, metadata_location: &str) {
        let metadata = iceberg::spec::TableMetadata::read_from(&self.files, metadata_location);
        let next = Proposal {
            metadata: Arc::new(metadata.await.unwrap()),
            metadata_location: metadata_location.to_owned(),
            requirements: vec![],
            updates: vec![],
        };
        self.swap(table, base, next).await;
    }

    async fn swap(&self, table: &TableName, base: &Pointer, next: Proposal) {
        let swapped = self.catalog.swap(table, base, &next).await.unwrap();
        assert_eq!(swapped, silversmith::lake::catalog::Swap::Swapped);
    }
}
