//! `[[pipeline]]`: one route, from objects to gold.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::csv::{Columns, columns, csv, notation};
use super::deliveries::deliveries;
use super::resolver::{Resolver, bytes, duration, one_of};
use super::{PipelineSettings, WorkerSettings};
use crate::batch::BatchLimits;
use crate::bronze::{BronzeSettings, OnMissing};
use crate::config::file::{
    BatchSection, BronzeSection, ExpectSection, GoldSection, PipelineSection, SilverSection,
};
use crate::config::memory::Memory;
use crate::format::csv::Dialect;
use crate::format::feed::{Feed, SchemaChange, TypeChange};
use crate::format::names::is_own;
use crate::format::{Format, FormatSettings, Limits};
use crate::gold::{GoldSettings, SILVER};
use crate::lake::TableName;
use crate::ledger::IndexSettings;
use crate::merge::{self, History, MergeMode, MergeRules, NullKeys, history};
use crate::silver::{MOST_MERGED, OnBronzeDelete, REPEATED, SilverSettings, whole_order};
use crate::sql::expect::{Expectation, OnFail};
use crate::sql::select::Rowwise;
use crate::sql::table_query::TableQuery;

/// What pipelines have in common.
pub(super) struct Shared<'a> {
    pub(super) worker: &'a WorkerSettings,
    pub(super) on_missing: OnMissing,
    pub(super) on_s3: bool,
    pub(super) pipelines: usize,
}

/// The part of a glob before the first folder with a wildcard.
fn root(glob: &str) -> &str {
    let special = glob.find(['*', '?', '[', '{', '\\']).unwrap_or(glob.len());
    glob[..special].rfind('/').map_or("", |slash| &glob[..=slash])
}

pub(super) fn pipeline(
    resolver: &mut Resolver,
    index: usize,
    section: &PipelineSection,
    shared: &Shared<'_>,
) -> PipelineSettings {
    let worker = shared.worker;
    let key = |rest: &str| format!("pipeline[{index}].{rest}");
    let name_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if section.name.is_empty() || !section.name.chars().all(name_ok) {
        resolver.say(key("name"), "write letters, digits, - and _ only");
    }
    let glob = section.source.trim_start_matches("./");
    if let Err(why) = check_location(glob, shared.on_s3) {
        resolver.say(key("source"), why);
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
    let type_change = resolver.parsed(
        &key("bronze.on_type_change"),
        section.bronze.on_type_change.as_deref(),
        TypeChange::Rescue,
        one_of(&[
            ("rescue", TypeChange::Rescue),
            ("new-column", TypeChange::NewColumn),
            ("fail", TypeChange::Fail),
        ]),
    );
    let max_rescued = resolver.parsed(
        &key("bronze.max_rescued"),
        section.bronze.max_rescued.as_deref(),
        None,
        percent,
    );
    let dialect = csv(resolver, index, &section.csv);
    let columns = columns(resolver, index, section);
    let format = resolver.parsed(&key("format"), section.format.as_deref(), None, |text| {
        one_of(&[("csv", Format::Csv), ("json", Format::Json), ("parquet", Format::Parquet)])(text)
            .map(Some)
    });
    let memory = Memory::of(worker.memory, shared.pipelines);
    let bronze = BronzeSettings {
        pipeline: section.name.clone(),
        table: bronze_table.clone(),
        source,
        feed: Feed {
            notation: notation(resolver, index, &section.csv),
            type_change,
            ..feed(section, &dialect, columns, schema_change)
        },
        format: match format {
            None => FormatSettings::ByName(dialect),
            Some(format) => FormatSettings::in_format(format, dialect),
        },
        max_rescued,
        glob: glob.to_owned(),
        root: root(glob).to_owned(),
        on_missing: shared.on_missing,
        batch: batch(resolver, index, &section.batch),
        limits: limits(resolver, index, &section.bronze),
        read_concurrency: worker.read_concurrency,
        buffer_bytes: memory.object(worker.read_concurrency),
        unpacking_bytes: memory.unpacking(),
        ledger: IndexSettings {
            versions: memory.object_versions(),
            folder: worker.state.as_ref().map(|state| state.join("ledger")),
        },
        deliveries: deliveries(resolver, index, glob, section.deliveries.as_ref(), memory),
        partition_by: resolver
            .partition_by(&key("bronze.partition_by"), section.bronze.partition_by.as_deref()),
    };
    let silver =
        section.silver.as_ref().map(|s| silver(resolver, index, section, s, memory, &bronze_table));
    let silver_table = silver.as_ref().map(|silver| &silver.rules.table);
    let gold = section
        .gold
        .iter()
        .enumerate()
        .map(|(number, g)| gold(resolver, (index, number), section, g, memory, silver_table))
        .collect();
    PipelineSettings { name: section.name.clone(), bronze, silver, gold }
}

/// Whether a glob is on S3 if, and only if, the source is.
fn check_location(glob: &str, on_s3: bool) -> Result<(), &'static str> {
    match glob.strip_prefix("s3://").map(|rest| rest.split_once('/')) {
        Some(Some((bucket, key))) if !bucket.is_empty() && !key.is_empty() => {
            if bucket.contains(['*', '?', '[', '{']) {
                return Err("the bucket cannot contain wildcards: write its name");
            }
            if !on_s3 {
                return Err("with source.directory, write a path such as raw/**/*.csv");
            }
        }
        Some(_) => return Err("write s3://bucket/glob"),
        None if glob.contains("://") => return Err("write s3://bucket/glob"),
        None if on_s3 => return Err("without source.directory, write s3://bucket/glob"),
        None => {}
    }
    Ok(())
}

fn feed(
    section: &PipelineSection,
    dialect: &Dialect,
    columns: Columns,
    change: SchemaChange,
) -> Feed {
    let default = Feed::default();
    // Keys are columns of the files, unless `select` makes them or they are silversmith's own; a null is a key where
    // null is a value.
    let in_files = section
        .silver
        .as_ref()
        .filter(|silver| silver.select.is_none() && silver.null_keys.as_deref() != Some("equal"));
    let required = in_files.into_iter().flat_map(|silver| &silver.keys).filter(|key| !is_own(key));
    Feed {
        columns,
        change,
        delimiter: char::from(dialect.delimiter),
        header: dialect.header,
        required: required.cloned().collect(),
        keys: section.silver.as_ref().map(|silver| silver.keys.clone()).unwrap_or_default(),
        order: section.silver.as_ref().map(|silver| silver.order_by.clone()).unwrap_or_default(),
        path_columns: section.csv.path_columns.unwrap_or(default.path_columns),
        max_columns: section.bronze.max_columns.unwrap_or(default.max_columns),
        max_new_columns: section.bronze.max_new_columns.unwrap_or(default.max_new_columns),
        ..default
    }
}

fn limits(resolver: &mut Resolver, index: usize, section: &BronzeSection) -> Limits {
    let key = |rest: &str| format!("pipeline[{index}].bronze.{rest}");
    let default = Limits::default();
    let (expanded, expansion) = (section.max_expanded.as_deref(), section.max_expansion);
    if expansion == Some(0) {
        resolver.say(key("max_expansion"), "it must be at least 1");
    }
    Limits {
        expanded_bytes: resolver.parsed(
            &key("max_expanded"),
            expanded,
            default.expanded_bytes,
            bytes,
        ),
        expansion: expansion.unwrap_or(default.expansion),
        ..default
    }
}

/// A share such as `10%`.
fn percent(text: &str) -> Result<Option<u8>, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    match number.filter(|percent| *percent <= 100) {
        Some(percent) => Ok(Some(percent)),
        None => Err(format!("`{text}` is not a percentage: write `10%`")),
    }
}

fn batch(resolver: &mut Resolver, index: usize, section: &BatchSection) -> BatchLimits {
    let key = |rest: &str| format!("pipeline[{index}].batch.{rest}");
    let default = BatchLimits::default();
    let max_objects = section.max_objects.unwrap_or(default.max_objects);
    if max_objects == 0 {
        resolver.say(key("max_objects"), "it must be at least 1");
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
    memory: Memory,
    bronze: &TableName,
) -> SilverSettings {
    let key = |rest: &str| format!("pipeline[{index}].silver.{rest}");
    if section.keys.is_empty() {
        resolver.say(key("keys"), "it is empty: name the columns that identify a row");
    }
    let mode = resolver.parsed(
        &key("mode"),
        section.mode.as_deref(),
        MergeMode::default(),
        one_of(&[
            ("merge-on-read", MergeMode::MergeOnRead),
            ("copy-on-write", MergeMode::CopyOnWrite),
        ]),
    );
    let history = resolver.parsed(
        &key("history"),
        section.history.as_deref(),
        History::default(),
        one_of(&[("none", History::None), ("scd2", History::Scd2)]),
    );
    if history == History::Scd2 {
        for (list, columns) in [("keys", &section.keys), ("order_by", &section.order_by)] {
            if let Some(name) = columns.iter().find(|name| history::taken(name).is_some()) {
                let why = format!(
                    "history = \"scd2\" makes a column `{name}`; give this one another name in `select`"
                );
                resolver.say(key(list), why);
            }
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
    let tombstone_retention = resolver.parsed(
        &key("tombstone_retention"),
        section.tombstone_retention.as_deref(),
        None,
        |text| duration(text).map(Some),
    );
    let what = format!("silver table {}: its SQL", section.table);
    let (select, delete_when) = (section.select.as_deref(), section.delete_when.as_deref());
    let mut rows =
        |key: String, select, delete_when| match Rowwise::parse(&what, select, delete_when) {
            Ok(rows) => Some(rows),
            Err(error) => {
                resolver.say(key, crate::error::chain(&error));
                None
            }
        };
    // Each on its own first, so that the error names the right key.
    let parsed = rows(key("select"), select, None).is_some()
        && rows(key("delete_when"), None, delete_when).is_some();
    let rows = parsed.then(|| rows(key("select"), select, delete_when)).flatten();
    let rows = rows.or_else(|| Rowwise::parse(&what, None, None).ok());
    let expectations = expectations(resolver, &key("expect"), &section.expect);
    let rows = rows.unwrap_or_default().ordered_by(&section.order_by).expecting(expectations);
    let mut identity = serde_json::json!({
        "keys": section.keys, "order_by": section.order_by, "select": select,
        "delete_when": delete_when, "null_keys": section.null_keys.as_deref().unwrap_or("skip"),
    });
    // Without a history it is what it was before there were any.
    if history != History::None {
        identity["history"] = history.as_str().into();
    }
    let table = resolver.table(&key("table"), &section.table);
    let partition_by = resolver.partition_by(&key("partition_by"), section.partition_by.as_deref());
    SilverSettings {
        pipeline: pipeline.name.clone(),
        bronze: bronze.clone(),
        rules: MergeRules {
            tombstones: table.with_suffix("_deletes"),
            quarantine: table.with_suffix("_quarantine"),
            table,
            keys: section.keys.clone(),
            order: whole_order(&section.order_by),
            exact: section.keys.iter().chain(&section.order_by).cloned().collect(),
            rows,
            null_keys,
            mode,
            history,
            partition_by,
            repeated: REPEATED.map(str::to_owned).to_vec(),
            memory: memory.merge(),
        },
        identity: identity.to_string(),
        on_bronze_delete,
        most_merged: MOST_MERGED,
        tombstone_retention,
        memory: memory.queries(),
    }
}

/// What is expected of rows. A name is a rule of quarantine, and is used once.
fn expectations(
    resolver: &mut Resolver,
    key: &str,
    sections: &[ExpectSection],
) -> Vec<Expectation> {
    let mut expectations: Vec<Expectation> = Vec::new();
    for (number, section) in sections.iter().enumerate() {
        let key = |rest: &str| format!("{key}[{number}].{rest}");
        let name = section.name.as_str();
        if name.trim().is_empty() {
            resolver.say(key("name"), "it is empty: say what is expected");
        } else if [merge::SQL, merge::RESCUED, merge::NO_ORDER].contains(&name) {
            resolver.say(key("name"), format!("`{name}` is a rule of silversmith: choose another"));
        } else if expectations.iter().any(|other| other.name == name) {
            resolver.say(key("name"), format!("`{name}` is the name of two expectations"));
        }
        let on_fail = resolver.parsed(
            &key("on_fail"),
            section.on_fail.as_deref(),
            OnFail::default(),
            one_of(&[
                ("quarantine", OnFail::Quarantine),
                ("fail", OnFail::Fail),
                ("warn", OnFail::Warn),
            ]),
        );
        match Expectation::parse(name, &section.sql, on_fail) {
            Ok(expectation) => expectations.push(expectation),
            Err(error) => resolver.say(key("sql"), crate::error::chain(&error)),
        }
    }
    expectations
}

fn gold(
    resolver: &mut Resolver,
    (index, number): (usize, usize),
    pipeline: &PipelineSection,
    section: &GoldSection,
    memory: Memory,
    silver: Option<&TableName>,
) -> GoldSettings {
    let key = |rest: &str| format!("pipeline[{index}].gold[{number}].{rest}");
    let mut reads = vec![];
    let mut own_silver = None;
    match TableQuery::parse("the SQL", &section.sql, &[SILVER]) {
        Ok(query) => {
            reads = query.tables();
            own_silver = silver.cloned().filter(|_| query.names(SILVER));
            if query.names(SILVER) && silver.is_none() {
                let why = "it reads `silver`, and this pipeline has no [pipeline.silver]: name a table with its namespace";
                resolver.say(key("sql"), why);
            }
        }
        Err(error) => resolver.say(key("sql"), crate::error::chain(&error)),
    }
    GoldSettings {
        pipeline: pipeline.name.clone(),
        silver: own_silver,
        reads,
        table: resolver.table(&key("table"), &section.table),
        sql: section.sql.clone(),
        partition_by: resolver.partition_by(&key("partition_by"), section.partition_by.as_deref()),
        memory: memory.gold(),
    }
}
