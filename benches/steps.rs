//! The three steps that cost: CSV → Arrow, a commit, a merge. `cargo bench`
//!
//! Figures of one machine say little: compare two versions on the same machine, one right after the other.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and stops where it cannot go on"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::DateTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use silversmith::ambient::SystemAmbient;
use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::config;
use silversmith::format::feed::Feed;
use silversmith::format::layout::lay_out;
use silversmith::format::typed::typed;
use silversmith::format::{self, FormatSettings, Limits};
use silversmith::lake::catalog::MemoryCatalog;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{
    Change, CommitOutcome, CommitProperties, Lake, Properties, TableName, local_files,
};
use silversmith::pipeline::Intake;
use silversmith::source::MemoryStore;
use silversmith::telemetry::metrics::Layer;
use silversmith::wiring::assemble;
use tokio::runtime::Runtime;

/// Rows of customers: id, name, city, amount, active, updated.
fn customers(ids: impl Iterator<Item = usize>, updated: usize) -> String {
    let mut text = "id,name,city,amount,active,updated\n".to_owned();
    for id in ids {
        text.push_str(&format!(
            "{id},customer {id},city {},{}.{:02},{},{updated}\n",
            id % 977,
            id % 1_000,
            id % 100,
            id % 2 == 0
        ));
    }
    text
}

fn csv_to_arrow(criterion: &mut Criterion) {
    let text = customers(0..100_000, 1).into_bytes();
    let mut group = criterion.benchmark_group("csv");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("100,000 rows to typed columns", |bencher| {
        bencher.iter(|| {
            let input = Box::new(std::io::Cursor::new(text.clone()));
            let mut reader =
                format::open(&FormatSettings::default(), input, Limits::default()).unwrap();
            let layout = lay_out(&*reader, &Feed::default(), None).unwrap();
            let mut rows = 0;
            while let Some(raw) = reader.next_batch().unwrap() {
                rows += typed(raw, &layout).unwrap().rescued.len();
            }
            assert_eq!(rows, 100_000);
        });
    });
    group.finish();
}

fn append_commit(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let warehouse = folder.path().display().to_string();
    let lake = Lake::new(
        Arc::new(MemoryCatalog::new()),
        local_files(),
        &warehouse,
        Arc::new(SystemAmbient),
    );
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let name = TableName::new("bench", "appended");
    criterion.bench_function("commit of one data file, local disk", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let mut took = Duration::ZERO;
                let mut table = lake.find_or_create(&name, &schema, None).await.unwrap();
                for _ in 0..times {
                    let mut writer = DataWriter::new(&lake, &table, table.schema()).unwrap();
                    let column = Arc::new(Int64Array::from(vec![1, 2, 3]));
                    let arrow = table.schema().arrow().clone();
                    writer
                        .write(&RecordBatch::try_new(arrow, vec![column]).unwrap())
                        .await
                        .unwrap();
                    let add = writer.close().await.unwrap();
                    let started = Instant::now();
                    let outcome = lake.commit(&table, Change::append(add, unsaid())).await.unwrap();
                    took += started.elapsed();
                    let CommitOutcome::Committed { table: next, .. } = outcome else {
                        unreachable!("there is no other writer")
                    };
                    table = next;
                }
                took
            })
        });
    });
}

/// 10,000 rows, half of them updates spread over the whole table, into 1,000,000.
fn merge(criterion: &mut Criterion) {
    const TABLE: usize = 1_000_000;
    const CHANGE: usize = 10_000;
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = r#"
[lake]
name = "lake"
catalog = "sqlite:catalog.db"
warehouse = "warehouse"
checkpoints = "checkpoints"
[source]
directory = "raw"
[[pipeline]]
name = "customers"
source = "raw/*.csv"
[pipeline.bronze]
table = "bronze.customers"
[pipeline.silver]
table = "silver.customers"
keys = ["id", "name"]
order_by = ["updated"]
"#;
    let settings = config::parse(config, Path::new("/bench")).expect("the configuration");
    let warehouse = folder.path().display().to_string();
    let lake = Lake::new(
        Arc::new(MemoryCatalog::new()),
        local_files(),
        &warehouse,
        Arc::new(SystemAmbient),
    );
    let raw = Arc::new(MemoryStore::new());
    let wired = assemble(
        settings,
        lake,
        raw.clone(),
        Arc::new(MemoryCheckpoints::new()),
        Intake::Directory,
    );
    let pipeline = &wired.pipelines[0];
    let silver = pipeline.silver.as_ref().unwrap();
    let put = |number: usize, text: String| {
        let time = DateTime::UNIX_EPOCH + Duration::from_secs(number as u64);
        raw.put(&format!("raw/{number}.csv"), text, time);
    };
    put(0, customers(0..TABLE, 0));
    runtime.block_on(async {
        pipeline.bronze.step().await.unwrap();
        silver.step().await.unwrap();
    });
    let mut number = 0;
    let mut group = criterion.benchmark_group("merge");
    group.sample_size(10).throughput(Throughput::Elements(CHANGE as u64));
    group.bench_function("10,000 rows, half updates, into 1,000,000", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    number += 1;
                    let updates = (0..CHANGE / 2).map(|n| n * (TABLE / (CHANGE / 2)));
                    let inserts = (0..CHANGE / 2).map(|n| TABLE + number * CHANGE + n);
                    put(number, customers(updates.chain(inserts), number));
                    pipeline.bronze.step().await.unwrap();
                    let started = Instant::now();
                    let report = silver.step().await.unwrap().report;
                    took += started.elapsed();
                    assert_eq!(report.counts.updated as usize, CHANGE / 2);
                    assert_eq!(report.counts.inserted as usize, CHANGE / 2);
                }
                took
            })
        });
    });
    group.finish();
}

fn unsaid() -> CommitProperties {
    CommitProperties::of_snapshot(Layer::Ledger, Properties::new())
}

criterion_group!(benches, csv_to_arrow, append_commit, merge);
criterion_main!(benches);
