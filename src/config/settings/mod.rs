//! Settings: the configuration, resolved and checked.
//!
//! A file for each section; `resolver.rs` collects the problems.

mod csv;
mod deliveries;
mod lake;
mod pipeline;
mod resolver;
mod rest;
mod source;
mod upkeep;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use super::environment;
use super::file::{File, WorkerSection};
use super::memory::Memory;
use crate::bronze::{BronzeSettings, OnMissing};
use crate::gold::{GoldSettings, order};
use crate::lake::TableName;
use crate::silver::SilverSettings;
use resolver::{Resolver, Wrong, bytes, duration, one_of};
pub(crate) use upkeep::old_enough;

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
    /// Where new tables go; `None` where the catalog chooses.
    pub warehouse: Option<Location>,
    /// Where checkpoints go.
    pub checkpoints: Location,
    /// The bus that commits are announced on.
    pub event_bus: Option<String>,
    /// See `[lake.upkeep]`.
    pub upkeep: UpkeepSettings,
}

/// See `[lake.upkeep]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpkeepSettings {
    /// How long snapshots are kept.
    pub snapshots: KeepSnapshots,
    /// Whether a worker compacts tables by itself.
    pub compact: bool,
    /// How old files have to be that nothing names; `None`: they stay.
    pub orphans: Option<Duration>,
}

/// How long snapshots are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepSnapshots {
    /// As each table says.
    AsTheTableSays,
    /// So long.
    For(Duration),
    /// For ever.
    Always,
}

/// Where files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder, absolute.
    Folder(PathBuf),
    /// On S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix of keys, without slashes at its ends; it may be empty.
        prefix: String,
    },
}

impl Settings {
    /// How `worker.memory` is divided.
    pub fn memory(&self) -> Memory {
        Memory::of(self.worker.memory, self.pipelines.len())
    }
}

impl std::fmt::Display for Location {
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
    /// An S3 table bucket, by its ARN.
    S3Tables(String),
    /// A Glue Data Catalog, by its id; empty for that of the AWS account.
    Glue(String),
    /// A catalog that speaks the Iceberg REST protocol.
    Rest(RestCatalogSettings),
}

/// A REST catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestCatalogSettings {
    /// Its address, up to and without `/v1`.
    pub uri: String,
    /// The warehouse to request from it.
    pub warehouse: Option<String>,
    /// The login.
    pub auth: RestAuth,
}

/// The login of a REST catalog. Secrets come from the environment, not from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestAuth {
    /// No login.
    None,
    /// By `SILVERSMITH_REST_TOKEN`.
    Token,
    /// By `SILVERSMITH_REST_CREDENTIAL`.
    OAuth2 {
        /// The URL of the token endpoint.
        server: String,
        /// The scope of a token.
        scope: String,
    },
    /// By the credentials of AWS.
    SigV4 {
        /// The service that signatures are for: `s3tables`, `glue`.
        service: String,
        /// The region that the address names.
        region: Option<String>,
    },
}

/// See `[worker]`.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Bytes that the process should stay within.
    pub memory: u64,
    /// Objects read at a time.
    pub read_concurrency: usize,
    /// How long a step may go on after a signal to stop.
    pub shutdown_grace: Duration,
    /// The folder of key indexes, absolute: a cache, safe to delete. None: there is no such folder.
    pub state: Option<PathBuf>,
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
    /// Listings of S3.
    Listing,
}

/// A queue of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its URL.
    pub queue: String,
    /// The URL of the queue for dead letters.
    pub dlq: String,
    /// How long a received message stays hidden, unless a worker extends it.
    pub visibility: Duration,
    /// What happens to objects that match no pipeline.
    pub on_unmatched: OnUnmatched,
}

/// What happens to an object that matches no pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnmatched {
    /// It is counted, and logged once for each folder.
    Skip,
    /// It is dead-lettered.
    DeadLetter,
}

/// See `[[pipeline]]`.
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    /// Its name.
    pub name: String,
    /// Bronze.
    pub bronze: BronzeSettings,
    /// Silver.
    pub silver: Option<SilverSettings>,
    /// Gold.
    pub gold: Vec<GoldSettings>,
}

/// The memory of a worker by default.
const DEFAULT_MEMORY: u64 = 512 * 1024 * 1024;
/// Below this, the process does not stay within its limit: about 100 MiB are always in use.
const LEAST_MEMORY: u64 = 256 * 1024 * 1024;

pub(super) fn resolve(file: File, base: &Path) -> Result<Settings, Vec<Wrong>> {
    let mut resolver = Resolver { wrong: vec![] };
    let lake = lake::lake(&mut resolver, &file.lake, base);
    let worker = worker(&mut resolver, &file.worker, base);
    let source = source::source(&mut resolver, &file.source, base);
    let on_missing = resolver.parsed(
        "source.on_missing",
        file.source.on_missing.as_deref(),
        OnMissing::DeadLetter,
        one_of(&[("dead-letter", OnMissing::DeadLetter), ("skip", OnMissing::Skip)]),
    );
    let shared = pipeline::Shared {
        worker: &worker,
        on_missing,
        on_s3: !matches!(source, SourceSettings::Directory { .. }),
        pipelines: file.pipeline.len(),
    };
    let pipelines: Vec<_> = file
        .pipeline
        .iter()
        .enumerate()
        .map(|(index, section)| pipeline::pipeline(&mut resolver, index, section, &shared))
        .collect();
    if pipelines.is_empty() {
        resolver.say("pipeline", "there is no [[pipeline]]: nothing would be done");
    }
    let tables = tables(&pipelines);
    no_two_alike(&mut resolver, &pipelines, &tables);
    no_circle(&mut resolver, &pipelines);
    fit_the_catalog(&mut resolver, &lake.catalog, &tables);
    if !resolver.wrong.is_empty() {
        return Err(resolver.wrong);
    }
    Ok(Settings { base: base.to_owned(), lake, worker, source, pipelines })
}

fn worker(resolver: &mut Resolver, section: &WorkerSection, base: &Path) -> WorkerSettings {
    // A function's memory is fixed; a quarter of it is left for what no setting bounds.
    let usual = environment::lambda_memory().map_or(DEFAULT_MEMORY, |all| all / 4 * 3);
    let memory = resolver.parsed("worker.memory", section.memory.as_deref(), usual, bytes);
    if memory < LEAST_MEMORY {
        resolver
            .say("worker.memory", format!("{} is too little: at least 256MiB", ByteSize(memory)));
    }
    let read_concurrency = section.read_concurrency.unwrap_or(16);
    if !(1..=1_024).contains(&read_concurrency) {
        resolver.say("worker.read_concurrency", "it must be from 1 to 1024");
    }
    let grace = section.shutdown_grace.as_deref();
    let shutdown_grace =
        resolver.parsed("worker.shutdown_grace", grace, Duration::from_secs(25), duration);
    let state = match section.state.as_deref() {
        Some(folder) if folder.is_empty() || folder.contains("://") => {
            resolver.say("worker.state", format!("`{folder}` is not a folder of this machine"));
            None
        }
        Some(folder) => Some(lake::normal(&base.join(folder))),
        None => environment::state_folder(),
    };
    WorkerSettings { memory, read_concurrency, shutdown_grace, state }
}

impl PipelineSettings {
    /// Every table that it writes, with the key that names it.
    pub fn tables(&self) -> Vec<(String, TableName)> {
        let bronze = &self.bronze.table;
        let mut used = vec![
            ("bronze.table".to_owned(), bronze.clone()),
            ("bronze.table".to_owned(), bronze.with_suffix("_objects")),
        ];
        if let Some(silver) = &self.silver {
            used.push(("silver.table".to_owned(), silver.rules.table.clone()));
            used.push(("silver.table".to_owned(), silver.rules.tombstones.clone()));
            used.push(("silver.table".to_owned(), silver.rules.quarantine.clone()));
        }
        for (number, gold) in self.gold.iter().enumerate() {
            used.push((format!("gold[{number}].table"), gold.table.clone()));
        }
        used
    }
}

/// Every table that is written, with the pipeline's number and the key that names it.
fn tables(pipelines: &[PipelineSettings]) -> Vec<(usize, String, TableName)> {
    let numbered = pipelines.iter().enumerate().flat_map(|(index, pipeline)| {
        let key = move |key| format!("pipeline[{index}].{key}");
        pipeline.tables().into_iter().map(move |(of, table)| (index, key(of), table))
    });
    numbered.collect()
}

/// Gold tables that are computed from one another would be refreshed for ever.
fn no_circle(resolver: &mut Resolver, pipelines: &[PipelineSettings]) {
    let all: Vec<&GoldSettings> = pipelines.iter().flat_map(|pipeline| &pipeline.gold).collect();
    let Err(circle) = order::in_order(&all) else { return };
    let [first, rest @ ..] = circle.as_slice() else { return };
    let mut why = format!("gold table {first} is computed from ");
    for table in rest {
        why.push_str(&format!("{table}, which is computed from "));
    }
    why.push_str("itself: gold may read other gold tables, but not in a circle");
    let at = pipelines.iter().enumerate().find_map(|(index, pipeline)| {
        let number = pipeline.gold.iter().position(|gold| gold.table == *first)?;
        Some(format!("pipeline[{index}].gold[{number}].sql"))
    });
    resolver.say(at.unwrap_or_default(), why);
}

/// A table, or a pipeline name, belongs to one pipeline.
fn no_two_alike(
    resolver: &mut Resolver,
    pipelines: &[PipelineSettings],
    tables: &[(usize, String, TableName)],
) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, pipeline) in pipelines.iter().enumerate() {
        if names.insert(&pipeline.name, index).is_some() {
            resolver.say(
                format!("pipeline[{index}].name"),
                format!("`{}` is the name of two pipelines", pipeline.name),
            );
        }
    }
    let mut seen: HashMap<&TableName, &str> = HashMap::new();
    for (index, key, table) in tables {
        if let Some(other) = seen.insert(table, &pipelines[*index].name) {
            let why = format!("pipeline `{other}` writes table {table}, too: choose another name");
            resolver.say(key, why);
        }
    }
}

/// S3 Tables and Glue accept lower-case names, and no namespaces within namespaces
/// ([Naming rules](https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-tables-buckets-naming.html)).
fn fit_the_catalog(
    resolver: &mut Resolver,
    catalog: &CatalogSettings,
    tables: &[(usize, String, TableName)],
) {
    if !matches!(catalog, CatalogSettings::S3Tables(_) | CatalogSettings::Glue(_)) {
        return;
    }
    let plain = |part: &str| {
        part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !part.starts_with('_')
    };
    for (_, key, table) in tables {
        if !plain(table.namespace()) || !plain(table.table()) {
            let why = format!(
                "{table}: this catalog needs namespace.table in lower-case letters, digits and _"
            );
            resolver.say(key, why);
        }
    }
}
