//! Tables in memory, rows for them, and every merge engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::lake::catalog::MemoryCatalog;
use silversmith::lake::read::scan::FileTask;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{
    Change, CommitOutcome, Removed, Table, TableName, TableSchema, Uncommitted,
};
use silversmith::merge::{
    Counts, IndexSettings, IndexUse, LocalEngine, MergeEngine, MergeMode, MergeRules, MergeTask,
    Merged, Scope, Tombstones,
};
use silversmith::source::MemoryStore;
use tempfile::TempDir;

use crate::support::warehouse::Warehouse;
use crate::support::{CUSTOMERS, World, settings, unsaid};

/// A row of the source: key, name, order; a name of `-` deletes. Its number makes the order total.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) id: Option<i64>,
    pub(super) name: &'static str,
    pub(super) updated: Option<i64>,
    pub(super) number: i64,
}

pub(super) const fn row(number: i64, id: i64, name: &'static str, updated: i64) -> Row {
    Row { id: Some(id), name, updated: Some(updated), number }
}

pub(super) fn source_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        number("id"),
        text("name"),
        number("updated"),
        Field::new("_event_time", time, true),
        text("_source_uri"),
        text("_source_version"),
        number("_source_row"),
    ]))
}

/// The columns of the rows that a schema has.
pub(super) fn batch(rows: &[Row], schema: &TableSchema) -> RecordBatch {
    let same = |text: &str| Arc::new(StringArray::from(vec![text; rows.len()]));
    let columns = schema.arrow().fields().iter().map(|field| -> arrow::array::ArrayRef {
        match field.name().as_str() {
            "id" => Arc::new(rows.iter().map(|row| row.id).collect::<Int64Array>()),
            "name" => Arc::new(rows.iter().map(|row| Some(row.name)).collect::<StringArray>()),
            "updated" => Arc::new(rows.iter().map(|row| row.updated).collect::<Int64Array>()),
            "_source_row" => {
                Arc::new(rows.iter().map(|row| Some(row.number)).collect::<Int64Array>())
            }
            "_event_time" => Arc::new(
                TimestampMicrosecondArray::from(vec![0; rows.len()]).with_timezone("+00:00"),
            ),
            // The source has no sequences.
            "_source_sequence" => new_null_array(&DataType::Utf8, rows.len()),
            _ => same("x"),
        }
    });
    RecordBatch::try_new(schema.arrow().clone(), columns.collect()).unwrap()
}

/// Which engine, and how it changes files.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// An engine in a world, with a folder for what it keeps.
    engine: fn(&World, &Path) -> Arc<dyn MergeEngine>,
    pub(super) mode: MergeMode,
}

/// Every engine, in both modes.
pub(super) const KINDS: [Kind; 6] = [
    SCANNING,
    Kind {
        name: "local, three threads, copy-on-write",
        engine: |world, _| Arc::new(LocalEngine::new(world.lake(), 64 << 20, 3)),
        mode: MergeMode::CopyOnWrite,
    },
    Kind { name: "local, one thread, merge-on-read", mode: MergeMode::MergeOnRead, ..SCANNING },
    Kind {
        name: "local, three threads, merge-on-read",
        engine: |world, _| Arc::new(LocalEngine::new(world.lake(), 64 << 20, 3)),
        mode: MergeMode::MergeOnRead,
    },
    Kind {
        name: "local, by its index, one thread, copy-on-write",
        engine: |world, at| by_index(world, at, 1),
        mode: MergeMode::CopyOnWrite,
    },
    INDEXED,
];

pub(super) const SCANNING: Kind = Kind {
    name: "local, one thread, copy-on-write",
    engine: |world, _| Arc::new(LocalEngine::new(world.lake(), 64 << 20, 1)),
    mode: MergeMode::CopyOnWrite,
};

pub(super) const INDEXED: Kind = Kind {
    name: "local, by its index, three threads, merge-on-read",
    engine: |world, at| by_index(world, at, 3),
    mode: MergeMode::MergeOnRead,
};

/// The index where it reads less, in files that have 100 rows.
pub(super) const CHOOSING: Kind = Kind {
    name: "local, by scan or index",
    engine: |world, at| {
        let (folder, when) = (at.to_owned(), IndexUse::FromRows(100));
        let settings = IndexSettings { folder, memory: 1 << 20, when };
        Arc::new(LocalEngine::new(world.lake(), 64 << 20, 2).with_index(settings))
    },
    mode: MergeMode::CopyOnWrite,
};

fn by_index(world: &World, folder: &Path, threads: usize) -> Arc<dyn MergeEngine> {
    let folder = folder.to_owned();
    let settings = IndexSettings { folder, memory: 1 << 20, when: IndexUse::Always };
    Arc::new(LocalEngine::new(world.lake(), 64 << 20, threads).with_index(settings))
}

/// Tables in memory, and an engine that merges one into the other.
pub(super) struct Ground {
    pub(super) world: World,
    pub(super) warehouse: Warehouse,
    pub(super) engine: Arc<dyn MergeEngine>,
    pub(super) rules: MergeRules,
    pub(super) state: TempDir,
}

impl Ground {
    pub(super) fn new(kind: Kind) -> Self {
        let warehouse = Warehouse::default();
        let pipeline = format!("{CUSTOMERS}delete_when = \"name = '-'\"\n");
        let world = World::on(
            &pipeline,
            Arc::new(MemoryCatalog::new()),
            warehouse.files(),
            Arc::new(MemoryStore::new()),
            Arc::new(MemoryCheckpoints::new()),
        );
        let mut rules = settings(&pipeline).pipelines[0].silver.clone().unwrap().rules;
        rules.mode = kind.mode;
        let state = TempDir::new().unwrap();
        let engine = (kind.engine)(&world, state.path());
        Self { world, warehouse, engine, rules, state }
    }

    /// Another engine, with the same folder.
    pub(super) fn another(&self, kind: Kind) -> Arc<dyn MergeEngine> {
        (kind.engine)(&self.world, self.state.path())
    }

    pub(super) async fn find(&self, name: &TableName) -> Option<Table> {
        self.world.lake().find(name).await.unwrap()
    }

    /// Appends rows to a table, each slice in a file of its own; the files.
    pub(super) async fn append(&self, table: &Table, files: &[&[Row]]) -> Vec<FileTask> {
        let lake = self.world.lake();
        let mut add = Uncommitted::nothing(lake);
        for rows in files {
            let mut writer = DataWriter::new(lake, table, table.schema()).unwrap();
            writer.write(&batch(rows, table.schema())).await.unwrap();
            add.extend(writer.close().await.unwrap());
        }
        let paths: BTreeSet<String> =
            add.files().iter().map(|file| file.file_path().to_owned()).collect();
        let table = self.commit(table, Change::append(add, unsaid())).await;
        let mut files = lake.files_of(&table, None, &[]).await.unwrap();
        files.retain(|file| paths.contains(file.path()));
        files
    }

    pub(super) async fn commit(&self, base: &Table, change: Change) -> Table {
        match self.world.lake().commit(base, change).await.unwrap() {
            CommitOutcome::Committed { table, .. } => table,
            other => panic!("there is no other writer: {other:?}"),
        }
    }

    /// A merge of new rows of the source into the target as it is now.
    pub(super) async fn task(&self, files: &[&[Row]]) -> MergeTask {
        let name = TableName::new("bronze", "customers");
        let lake = self.world.lake();
        let source = lake.find_or_create(&name, &source_schema(), None).await.unwrap();
        MergeTask {
            files: self.append(&source, files).await,
            source: self.find(&name).await.unwrap(),
            target: self.find(&self.rules.table).await,
            tombstones: self.find(&self.rules.tombstones).await,
            quarantine: self.find(&self.rules.quarantine).await,
            quarantine_scope: Scope::New,
            source_snapshot: None,
            rules: self.rules.clone(),
            from_nothing: false,
            refresh_equal: false,
        }
    }

    pub(super) async fn run(&self, task: &MergeTask) -> Merged {
        self.engine.merge(task.clone()).await.unwrap()
    }

    /// Commits what a merge came to, as its caller does.
    pub(super) async fn take(&self, merged: Merged, everything: bool) -> Counts {
        let Merged { target, schema, add, deletes, remove, tombstones, quarantine, counts } =
            merged;
        assert!(quarantine.is_none(), "no row of these sources is refused");
        if let Some(Tombstones { table, schema, add }) = tombstones {
            self.commit(&table, Change::append(add, unsaid()).with_schema(schema)).await;
        }
        let change = match everything {
            true => Change::overwrite(add, Removed::All, unsaid()),
            false => Change::row_delta(add, deletes, remove, unsaid()),
        };
        self.commit(&target, change.with_schema(schema)).await;
        counts
    }

    /// Merges rows and commits.
    pub(super) async fn merge(&self, files: &[&[Row]]) -> Counts {
        let task = self.task(files).await;
        self.take(self.run(&task).await, false).await
    }

    pub(super) async fn silver(&self) -> Vec<String> {
        self.world.sql("SELECT id, name, updated FROM silver.customers ORDER BY id, name").await
    }

    pub(super) async fn deletes(&self) -> Vec<String> {
        let sql = "SELECT DISTINCT id, updated FROM silver.customers_deletes ORDER BY id, updated";
        self.world.sql(sql).await
    }

    /// The snapshots of every table, by name.
    pub(super) async fn commits(&self) -> Vec<(TableName, usize)> {
        let mut commits = Vec::new();
        for name in self.world.lake().tables().await.unwrap() {
            let snapshots = self.find(&name).await.unwrap().snapshots().len();
            commits.push((name, snapshots));
        }
        commits
    }
}
