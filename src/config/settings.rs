//! Settings: resolved and checked, what travels through the program.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::file::{
    BatchSection, CsvSection, File, GoldSection, LakeSection, PipelineSection, SilverSection,
    SourceSection, WorkerSection,
};
use crate::batch::BatchLimits;
use crate::bronze::{BronzeSettings, OnMissing};
use crate::csv::layout::SchemaChange;
use crate::csv::{Dialect, Limits};
use crate::gold::GoldSettings;
use crate::lake::{TableName, arrow_type};
use crate::silver::{NullKeys, OnBronzeDelete, SilverSettings};
use crate::sql::rowwise::Rowwise;

/// Everything that was configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that the file's paths are relative to, absolute.
    pub base: PathBuf,
    /// The lake.
    pub lake: LakeSettings,
    /// The process.
    pub worker: WorkerSettings,
    /// The raw zone.
    pub source: SourceSettings,
    /// The routes.
    pub pipelines: Vec<PipelineSettings>,
}

/// See `[lake]`.
#[derive(Debug, Clone)]
pub struct LakeSettings {
    /// The catalog's name.
    pub name: String,
    /// The catalog.
    pub catalog: CatalogSettings,
    /// Where new tables go.
    pub warehouse: Place,
    /// Where checkpoints go.
    pub checkpoints: Place,
}

/// Where files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, absolute.
    Folder(PathBuf),
    /// On S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// What keys begin with, without slashes at its ends; it may be empty.
        prefix: String,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Which catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogSettings {
    /// A SQLite file, absolute.
    Sqlite(PathBuf),
    /// A Postgres database.
    Postgres(String),
}

/// See `[worker]`.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Bytes that the process is to stay within.
    pub memory: u64,
    /// Objects read at a time.
    pub read_concurrency: usize,
    /// How long a step may go on after a signal to stop.
    pub shutdown_grace: Duration,
}

/// See `[source]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSettings {
    /// A folder.
    Directory {
        /// It, absolute.
        directory: PathBuf,
        /// How long a file has to be unchanged.
        settle: Duration,
    },
    /// Events of S3.
    Queue(QueueSettings),
    /// S3, when it is listed.
    Listing,
}

/// A queue of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its URL.
    pub queue: String,
    /// The URL of the queue for dead letters.
    pub dlq: String,
    /// How long a message that was received stays hidden, unless it is extended.
    pub visibility: Duration,
    /// What becomes of objects that no pipeline wants.
    pub on_unmatched: OnUnmatched,
}

/// What becomes of an object that no pipeline wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnmatched {
    /// It is counted, and logged once for a folder.
    Skip,
    /// It is told to somebody.
    DeadLetter,
}

/// See `[[pipeline]]`.
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    /// Its name.
    pub name: String,
    /// Its glob, as written.
    pub glob: String,
    /// Bronze.
    pub bronze: BronzeSettings,
    /// Silver.
    pub silver: Option<SilverSettings>,
    /// Gold.
    pub gold: Vec<GoldSettings>,
}

/// A key and what is wrong with its value.
type Wrong = (String, String);

struct Resolver {
    wrong: Vec<Wrong>,
}

impl Resolver {
    fn say(&mut self, key: impl Into<String>, why: impl Into<String>) {
        self.wrong.push((key.into(), why.into()));
    }

    /// The value, or the default while the complaint is noted.
    fn parsed<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        match text.map(parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(why)) => {
                self.say(key, why);
                default
            }
        }
    }

    fn table(&mut self, key: &str, text: &str) -> TableName {
        match TableName::from_str(text) {
            Ok(name) => name,
            Err(error) => {
                self.say(key, error.to_string());
                TableName::new("wrong", "wrong")
            }
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    match ByteSize::from_str(text) {
        Ok(size) if size.as_u64() > 0 => Ok(size.as_u64()),
        _ => Err(format!("`{text}` is not a size: write 256MiB, 1GiB, …")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a time: write 500ms, 2s, 1m, …"))
}

fn one_of<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<String> =
                choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("`{text}` is not one of {}", names.join(", "))
        })
    }
}

/// The memory that a worker is bound to unless it is configured.
const DEFAULT_MEMORY: u64 = 512 * 1024 * 1024;
/// Below this, the process does not stay within it: about 100 MiB are used whatever is done.
const LEAST_MEMORY: u64 = 256 * 1024 * 1024;

pub(super) fn resolve(file: File, base: &Path) -> Result<Settings, Vec<Wrong>> {
    let mut resolver = Resolver { wrong: vec![] };
    let lake = lake(&mut resolver, &file.lake, base);
    let worker = worker(&mut resolver, &file.worker);
    let source = source(&mut resolver, &file.source, base);
    let on_missing = resolver.parsed(
        "source.on_missing",
        file.source.on_missing.as_deref(),
        OnMissing::DeadLetter,
        one_of(&[("dead-letter", OnMissing::DeadLetter), ("skip", OnMissing::Skip)]),
    );
    let shared = Shared {
        worker: &worker,
        on_missing,
        on_s3: !matches!(source, SourceSettings::Directory { .. }),
        pipelines: file.pipeline.len(),
    };
    let pipelines: Vec<_> = file
        .pipeline
        .iter()
        .enumerate()
        .map(|(index, section)| pipeline(&mut resolver, index, section, &shared))
        .collect();
    if pipelines.is_empty() {
        resolver.say("pipeline", "there is no [[pipeline]]: nothing would be done");
    }
    no_two_alike(&mut resolver, &pipelines);
    if !resolver.wrong.is_empty() {
        return Err(resolver.wrong);
    }
    Ok(Settings { base: base.to_owned(), lake, worker, source, pipelines })
}

fn lake(resolver: &mut Resolver, section: &LakeSection, base: &Path) -> LakeSettings {
    if section.name.is_empty() {
        resolver.say("lake.name", "it is empty");
    }
    let catalog = match section.catalog.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() && !path.contains('?') => {
            CatalogSettings::Sqlite(normal(&base.join(path.trim_start_matches("//"))))
        }
        Some(("postgres" | "postgresql", _)) => CatalogSettings::Postgres(section.catalog.clone()),
        Some((kind @ ("rest" | "s3tables" | "glue"), _)) => {
            resolver.say("lake.catalog", format!("`{kind}:` catalogs are not built yet"));
            CatalogSettings::Sqlite(PathBuf::new())
        }
        _ => {
            resolver.say("lake.catalog", "write sqlite:<path> or postgres://user@host/database");
            CatalogSettings::Sqlite(PathBuf::new())
        }
    };
    let warehouse = place(resolver, "lake.warehouse", &section.warehouse, base);
    let checkpoints = place(resolver, "lake.checkpoints", &section.checkpoints, base);
    LakeSettings { name: section.name.clone(), catalog, warehouse, checkpoints }
}

fn place(resolver: &mut Resolver, key: &str, text: &str, base: &Path) -> Place {
    if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            resolver.say(key, "write s3://bucket/prefix");
        }
        let prefix = prefix.trim_matches('/').to_owned();
        return Place::S3 { bucket: bucket.to_owned(), prefix };
    }
    if text.contains("://") {
        resolver.say(key, "write a path or s3://bucket/prefix");
    } else if text.contains(['#', '?']) {
        resolver.say(key, "other engines cannot read paths with # or ?");
    }
    Place::Folder(normal(&base.join(text)))
}

fn source(resolver: &mut Resolver, section: &SourceSection, base: &Path) -> SourceSettings {
    let settle = section.settle.as_deref();
    let settle = resolver.parsed("source.settle", settle, Duration::from_secs(1), duration);
    let visibility = section.visibility.as_deref();
    let visibility =
        resolver.parsed("source.visibility", visibility, Duration::from_secs(60), duration);
    let on_unmatched = resolver.parsed(
        "source.on_unmatched",
        section.on_unmatched.as_deref(),
        OnUnmatched::Skip,
        one_of(&[("skip", OnUnmatched::Skip), ("dead-letter", OnUnmatched::DeadLetter)]),
    );
    match (&section.directory, &section.queue) {
        (Some(_), Some(_)) => {
            resolver.say("source.queue", "objects come from a queue or from a directory, not both");
            SourceSettings::Listing
        }
        (Some(directory), None) => {
            for (key, given) in
                [("dlq", section.dlq.is_some()), ("visibility", section.visibility.is_some())]
            {
                if given {
                    resolver.say(format!("source.{key}"), "a directory has none: leave it out");
                }
            }
            SourceSettings::Directory { directory: normal(&base.join(directory)), settle }
        }
        (None, queue) => {
            if section.settle.is_some() {
                resolver.say("source.settle", "it is for a directory: objects on S3 are complete");
            }
            let Some(queue) = queue else {
                if section.dlq.is_some() {
                    resolver.say("source.dlq", "there is no source.queue that it belongs to");
                }
                return SourceSettings::Listing;
            };
            // SQS hides a message for 12 hours at most.
            if !(Duration::from_secs(5)..=Duration::from_secs(12 * 3600)).contains(&visibility) {
                resolver.say("source.visibility", "it has to be from 5s to 12h");
            }
            let dlq = section.dlq.clone().unwrap_or_default();
            for (key, url) in [("queue", queue), ("dlq", &dlq)] {
                let is_url = url.starts_with("https://") || url.starts_with("http://");
                if key == "dlq" && section.dlq.is_none() {
                    let why = "it is missing: what cannot be processed has to go somewhere; name the queue for dead letters";
                    resolver.say("source.dlq", why);
                } else if !is_url {
                    resolver.say(
                        format!("source.{key}"),
                        "write the queue's URL, https://sqs.<region>.amazonaws.com/<account>/<name>",
                    );
                }
            }
            if section.dlq.is_some() && queue.ends_with(".fifo") != dlq.ends_with(".fifo") {
                resolver.say("source.dlq", "queue and dlq have to be both FIFO or both standard");
            }
            if *queue == dlq {
                resolver.say("source.dlq", "it is the queue itself");
            }
            let queue = queue.clone();
            SourceSettings::Queue(QueueSettings { queue, dlq, visibility, on_unmatched })
        }
    }
}

/// What pipelines have in common.
struct Shared<'a> {
    worker: &'a WorkerSettings,
    on_missing: OnMissing,
    on_s3: bool,
    pipelines: usize,
}

/// Bytes that an object version takes up in the memory of the ledger.
const REMEMBERED: u64 = 64;

/// The part of a glob before the first folder that is not named outright.
fn root(glob: &str) -> &str {
    let special = glob.find(['*', '?', '[', '{', '\\']).unwrap_or(glob.len());
    glob[..special].rfind('/').map_or("", |slash| &glob[..=slash])
}

/// The path without `.` and `..`, as far as that can be told without looking.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

fn worker(resolver: &mut Resolver, section: &WorkerSection) -> WorkerSettings {
    let memory = resolver.parsed("worker.memory", section.memory.as_deref(), DEFAULT_MEMORY, bytes);
    if memory < LEAST_MEMORY {
        resolver
            .say("worker.memory", format!("{} is too little: at least 256MiB", ByteSize(memory)));
    }
    let read_concurrency = section.read_concurrency.unwrap_or(16);
    if !(1..=1_024).contains(&read_concurrency) {
        resolver.say("worker.read_concurrency", "it has to be from 1 to 1024");
    }
    let grace = section.shutdown_grace.as_deref();
    let shutdown_grace =
        resolver.parsed("worker.shutdown_grace", grace, Duration::from_secs(25), duration);
    WorkerSettings { memory, read_concurrency, shutdown_grace }
}

fn pipeline(
    resolver: &mut Resolver,
    index: usize,
    section: &PipelineSection,
    shared: &Shared<'_>,
) -> PipelineSettings {
    let worker = shared.worker;
    let key = |rest: &str| format!("pipeline[{index}].{rest}");
    let name_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if section.name.is_empty() || !section.name.chars().all(name_ok) {
        resolver.say(key("name"), "it has to be made of letters, digits, - and _");
    }
    let glob = section.source.trim_start_matches("./");
    let bucket = glob.strip_prefix("s3://").map(|rest| rest.split_once('/'));
    match bucket {
        Some(Some((bucket, key))) if !bucket.is_empty() && !key.is_empty() => {
            if bucket.contains(['*', '?', '[', '{']) {
                resolver.say(key_of(index), "the bucket has to be named outright");
            }
        }
        Some(_) => resolver.say(key_of(index), "write s3://bucket/glob"),
        None if glob.contains("://") => resolver.say(key_of(index), "write s3://bucket/glob"),
        None => {}
    }
    if bucket.is_some() != shared.on_s3 {
        resolver.say(
            key_of(index),
            match shared.on_s3 {
                true => "without source.directory, write s3://bucket/glob",
                false => "with source.directory, write a path such as raw/**/*.csv",
            },
        );
    }
    let compiled = GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
        .and_then(|glob| GlobSetBuilder::new().add(glob).build());
    let source = compiled.unwrap_or_else(|error| {
        resolver.say(key("source"), format!("it is not a glob: {}", error.kind()));
        GlobSet::empty()
    });
    let bronze_table = resolver.table(&key("bronze.table"), &section.bronze.table);
    let schema_change = resolver.parsed(
        &key("bronze.schema_change"),
        section.bronze.schema_change.as_deref(),
        SchemaChange::Evolve,
        one_of(&[
            ("evolve", SchemaChange::Evolve),
            ("rescue", SchemaChange::Rescue),
            ("fail", SchemaChange::Fail),
        ]),
    );
    let (dialect, declared) = csv(resolver, index, &section.csv);
    let share = worker.memory / 8 / worker.read_concurrency.max(1) as u64;
    let bronze = BronzeSettings {
        pipeline: section.name.clone(),
        table: bronze_table.clone(),
        source,
        dialect,
        declared,
        schema_change,
        glob: glob.to_owned(),
        root: root(glob).to_owned(),
        on_missing: shared.on_missing,
        batch: batch(resolver, index, &section.batch),
        limits: Limits::default(),
        read_concurrency: worker.read_concurrency,
        buffer_bytes: share.clamp(256 * 1024, 16 * 1024 * 1024) as usize,
        ledger_memory: (worker.memory / 16 / REMEMBERED) as usize / shared.pipelines.max(1),
    };
    let silver =
        section.silver.as_ref().map(|s| silver(resolver, index, section, s, worker, &bronze_table));
    if silver.is_none() && !section.gold.is_empty() {
        resolver
            .say(key("gold"), "gold is computed from silver, and there is no [pipeline.silver]");
    }
    let silver_table = silver.as_ref().map_or_else(|| bronze_table.clone(), |s| s.table.clone());
    let gold = section
        .gold
        .iter()
        .enumerate()
        .map(|(number, g)| gold(resolver, (index, number), section, g, worker, &silver_table))
        .collect();
    PipelineSettings { name: section.name.clone(), glob: glob.to_owned(), bronze, silver, gold }
}

fn key_of(index: usize) -> String {
    format!("pipeline[{index}].source")
}

fn csv(
    resolver: &mut Resolver,
    index: usize,
    section: &CsvSection,
) -> (Dialect, BTreeMap<String, arrow::datatypes::DataType>) {
    let key = |rest: &str| format!("pipeline[{index}].csv.{rest}");
    let delimiter =
        resolver.parsed(&key("delimiter"), section.delimiter.as_deref(), b',', |text| {
            match text.as_bytes() {
                [byte] if !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
                _ => Err(format!("`{text}` is not one ASCII character")),
            }
        });
    let mut declared = BTreeMap::new();
    for (column, kind) in &section.columns {
        let plain = crate::csv::names::column_names([column.as_str()]);
        if plain != [column.clone()] {
            resolver.say(
                key(&format!("columns.{column}")),
                format!("columns are declared by the table's name for them: `{}`", plain[0]),
            );
        }
        match arrow_type(kind) {
            Some(kind) => {
                declared.insert(column.clone(), kind);
            }
            None => resolver.say(
                key(&format!("columns.{column}")),
                format!("`{kind}` is not a type: boolean, int, long, float, double, decimal(p,s), date, time, timestamp, timestamptz, string"),
            ),
        }
    }
    let default = Dialect::default();
    let dialect = Dialect {
        delimiter,
        header: section.header.unwrap_or(default.header),
        null_values: section.null_values.clone().unwrap_or(default.null_values),
    };
    (dialect, declared)
}

fn batch(resolver: &mut Resolver, index: usize, section: &BatchSection) -> BatchLimits {
    let key = |rest: &str| format!("pipeline[{index}].batch.{rest}");
    let default = BatchLimits::default();
    let max_objects = section.max_objects.unwrap_or(default.max_objects);
    if max_objects == 0 {
        resolver.say(key("max_objects"), "it has to be at least 1");
    }
    BatchLimits {
        max_objects,
        max_bytes: resolver.parsed(
            &key("max_bytes"),
            section.max_bytes.as_deref(),
            default.max_bytes,
            bytes,
        ),
        max_wait: resolver.parsed(
            &key("max_wait"),
            section.max_wait.as_deref(),
            default.max_wait,
            duration,
        ),
    }
}

fn silver(
    resolver: &mut Resolver,
    index: usize,
    pipeline: &PipelineSection,
    section: &SilverSection,
    worker: &WorkerSettings,
    bronze: &TableName,
) -> SilverSettings {
    let key = |rest: &str| format!("pipeline[{index}].silver.{rest}");
    if section.keys.is_empty() {
        resolver.say(key("keys"), "it is empty: name the columns that identify a row");
    }
    match section.mode.as_deref() {
        None | Some("copy-on-write") => {}
        Some("merge-on-read") => {
            resolver
                .say(key("mode"), "\"merge-on-read\" is not built yet; write \"copy-on-write\"");
        }
        Some(other) => {
            resolver.say(key("mode"), format!("`{other}` is not one of \"copy-on-write\""));
        }
    }
    let null_keys = resolver.parsed(
        &key("null_keys"),
        section.null_keys.as_deref(),
        NullKeys::Skip,
        one_of(&[("skip", NullKeys::Skip), ("equal", NullKeys::Equal)]),
    );
    let on_bronze_delete = resolver.parsed(
        &key("on_bronze_delete"),
        section.on_bronze_delete.as_deref(),
        OnBronzeDelete::Fail,
        one_of(&[("fail", OnBronzeDelete::Fail), ("ignore", OnBronzeDelete::Ignore)]),
    );
    let what = format!("silver table {}", section.table);
    let (select, delete_when) = (section.select.as_deref(), section.delete_when.as_deref());
    let mut rows =
        |key: String, select, delete_when| match Rowwise::parse(&what, select, delete_when) {
            Ok(rows) => Some(rows),
            Err(error) => {
                resolver.say(key, crate::error::chain(&error));
                None
            }
        };
    // Each on its own first, so that the complaint names the right key.
    let parsed = rows(key("select"), select, None).is_some()
        && rows(key("delete_when"), None, delete_when).is_some();
    let rows = parsed.then(|| rows(key("select"), select, delete_when)).flatten();
    let rows = rows.or_else(|| Rowwise::parse(&what, None, None).ok());
    let identity = serde_json::json!({
        "keys": section.keys, "order_by": section.order_by, "select": select,
        "delete_when": delete_when, "null_keys": section.null_keys.as_deref().unwrap_or("skip"),
    });
    SilverSettings {
        pipeline: pipeline.name.clone(),
        bronze: bronze.clone(),
        table: resolver.table(&key("table"), &section.table),
        keys: section.keys.clone(),
        order_by: section.order_by.clone(),
        rows: rows.unwrap_or_default(),
        identity: identity.to_string(),
        null_keys,
        on_bronze_delete,
        merge_cost: worker.memory / 8,
    }
}

fn gold(
    resolver: &mut Resolver,
    (index, number): (usize, usize),
    pipeline: &PipelineSection,
    section: &GoldSection,
    worker: &WorkerSettings,
    silver: &TableName,
) -> GoldSettings {
    let key = |rest: &str| format!("pipeline[{index}].gold[{number}].{rest}");
    if let Err(error) = datafusion::sql::parser::DFParser::parse_sql(&section.sql) {
        resolver.say(key("sql"), error.to_string());
    }
    GoldSettings {
        pipeline: pipeline.name.clone(),
        silver: silver.clone(),
        table: resolver.table(&key("table"), &section.table),
        sql: section.sql.clone(),
        memory: (worker.memory / 4) as usize,
    }
}

/// A table, or a pipeline name, belongs to one pipeline.
fn no_two_alike(resolver: &mut Resolver, pipelines: &[PipelineSettings]) {
    let mut tables: HashMap<TableName, String> = HashMap::new();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, pipeline) in pipelines.iter().enumerate() {
        if names.insert(&pipeline.name, index).is_some() {
            resolver.say(
                format!("pipeline[{index}].name"),
                format!("`{}` is the name of two pipelines", pipeline.name),
            );
        }
        let bronze = &pipeline.bronze.table;
        let mut used = vec![
            ("bronze.table".to_owned(), bronze.clone()),
            ("bronze.table".to_owned(), bronze.with_suffix("_objects")),
        ];
        if let Some(silver) = &pipeline.silver {
            used.push(("silver.table".to_owned(), silver.table.clone()));
            used.push(("silver.table".to_owned(), silver.deletes()));
        }
        for (number, gold) in pipeline.gold.iter().enumerate() {
            used.push((format!("gold[{number}].table"), gold.table.clone()));
        }
        for (key, table) in used {
            if let Some(other) = tables.insert(table.clone(), pipeline.name.clone()) {
                resolver.say(
                    format!("pipeline[{index}].{key}"),
                    format!("table {table} is written twice (by pipeline `{other}`, too)"),
                );
            }
        }
    }
}
