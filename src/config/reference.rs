//! Every key of `silversmith.toml`, once: the parser accepts these and no others, and `docs/configuration.md`
//! is made from them. So there is no key without a type, a default and a meaning.

/// A table of the file, with its keys.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// How its header is written: `[lake]`, `[[pipeline]]`.
    pub header: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its whole path; `*` stands for a name that the user chooses.
    pub name: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// What holds where the key is absent.
    pub absent: Absent,
    /// What it means, as Markdown.
    pub meaning: &'static str,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Bytes, such as `"256MiB"`.
    Size,
    /// A time span, such as `"2s"`.
    Duration,
    /// A list of texts.
    Texts,
    /// `"namespace.table"`.
    TableName,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// What holds where a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The key is required.
    Required,
    /// The feature is off.
    Off,
    /// This value, as TOML.
    Value(&'static str),
    /// Something that depends on other settings, in words.
    Depends(&'static str),
}

/// All keys, in the order of the file.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The file, section by section.
pub const SECTIONS: &[Section] = &[
    Section { header: "[lake]", about: "Where the tables are.", keys: LAKE },
    Section {
        header: "[lake.rest]",
        about: "Only with `catalog = \"rest:…\"`. Secrets come from the [environment](environment.md).",
        keys: REST,
    },
    Section {
        header: "[lake.upkeep]",
        about: "Optional: what keeps tables fast and small. See [upkeep](upkeep.md).",
        keys: UPKEEP,
    },
    Section { header: "[worker]", about: "What the process may use.", keys: WORKER },
    Section {
        header: "[source]",
        about: "Where raw files come from: a queue, or a folder, or neither. See [the source](#the-source).",
        keys: SOURCE,
    },
    Section {
        header: "[[pipeline]]",
        about: "One route, from files to gold. There may be many.",
        keys: PIPELINE,
    },
    Section {
        header: "[pipeline.batch]",
        about: "When a batch closes: whichever comes first.",
        keys: BATCH,
    },
    Section {
        header: "[pipeline.deliveries]",
        about: "Optional: a folder is ingested as a whole, once it is complete. Exactly one of the first three. See [complete deliveries](deliveries.md).",
        keys: DELIVERIES,
    },
    Section {
        header: "[pipeline.columns]",
        about: "Optional: what is said about columns of the files, in every format.",
        keys: COLUMNS,
    },
    Section {
        header: "[pipeline.csv]",
        about: "How CSV files are written; `formats`, `timezone` and `path_columns` are for every format.",
        keys: CSV,
    },
    Section { header: "[pipeline.bronze]", about: "The table with every row.", keys: BRONZE },
    Section {
        header: "[pipeline.silver]",
        about: "Optional: the table with the newest row of each key, or with every version of it.",
        keys: SILVER,
    },
    Section {
        header: "[[pipeline.silver.expect]]",
        about: "Optional, any number: what is expected of each row. See [quality](quality.md).",
        keys: EXPECT,
    },
    Section {
        header: "[[pipeline.gold]]",
        about: "Optional, any number: tables computed by SQL over silver.",
        keys: GOLD,
    },
];

/// A key without the words for its fields.
const fn key(name: &'static str, form: Form, absent: Absent, meaning: &'static str) -> Key {
    Key { name, form, absent, meaning }
}

/// Without `partition_by`.
const AS_IT_IS: Absent =
    Absent::Depends("a new table has no partitions; one that exists stays as it is");
/// The same for each layer.
const PARTITION_BY: &str = "which rows share files: columns, or `year(c)`, `month(c)`, `day(c)`, `hour(c)`, `bucket(n, c)`, `truncate(n, c)`; files that exist stay where they are: [partitions](tables.md#partitions)";

const LAKE: &[Key] = &[
    key(
        "lake.name",
        Form::Text,
        Absent::Required,
        "the catalog's name, as other engines see it; it is part of the primary keys of a SQL catalog",
    ),
    key(
        "lake.catalog",
        Form::Text,
        Absent::Required,
        "`sqlite:<path>`, `postgres://user:password@host/database`, `s3tables:<table bucket ARN>`, `glue:<catalog id>` or `rest:https://…`: [catalogs](catalogs.md)",
    ),
    key(
        "lake.warehouse",
        Form::Text,
        Absent::Depends("required, but optional with `rest:` and refused with `s3tables:`"),
        "where new tables go: a folder or `s3://bucket/prefix`",
    ),
    key(
        "lake.checkpoints",
        Form::Text,
        Absent::Required,
        "where [checkpoints](tables.md#checkpoints) and locks go: a folder or `s3://bucket/prefix`",
    ),
    key(
        "lake.event_bus",
        Form::Text,
        Absent::Off,
        "the EventBridge bus, by name or ARN, on which commits are [announced](announcements.md)",
    ),
];

const REST: &[Key] = &[
    key(
        "lake.rest.warehouse",
        Form::Text,
        Absent::Off,
        "the warehouse that the catalog is asked for at `/v1/config`",
    ),
    key(
        "lake.rest.auth",
        Form::OneOf(&["none", "token", "oauth2", "sigv4"]),
        Absent::Depends(
            "`sigv4` for hosts of AWS; else by the secret that is set: `oauth2`, `token`, `none`",
        ),
        "how to log in",
    ),
    key(
        "lake.rest.oauth2_server",
        Form::Text,
        Absent::Depends("`<catalog>/v1/oauth/tokens`"),
        "`oauth2` only: where tokens are made",
    ),
    key(
        "lake.rest.scope",
        Form::Text,
        Absent::Value("\"catalog\""),
        "`oauth2` only: what a token is to allow",
    ),
    key(
        "lake.rest.signing_name",
        Form::Text,
        Absent::Depends("`glue` for hosts named so, else `s3tables`"),
        "`sigv4` only: the service that requests are signed for",
    ),
];

const UPKEEP: &[Key] = &[
    key(
        "lake.upkeep.keep_snapshots",
        Form::Duration,
        Absent::Depends(
            "as the table property `history.expire.max-snapshot-age-ms` says; a day in new tables",
        ),
        "how long snapshots are kept that nothing needs any more, and at most a thousand; `\"never\"`: none expires",
    ),
    key(
        "lake.upkeep.compact",
        Form::OneOf(&["auto", "never"]),
        Absent::Value("\"auto\""),
        "whether a worker rewrites small files by itself, where there are many; `maintain` does it in any case",
    ),
    key(
        "lake.upkeep.orphans_older_than",
        Form::Duration,
        Absent::Value("\"3d\""),
        "how old a file has to be that nothing names before it is deleted: at least a day; `\"never\"`: it stays",
    ),
];

const WORKER: &[Key] = &[
    key(
        "worker.memory",
        Form::Size,
        Absent::Depends("`512MiB`; on Lambda three quarters of the function's memory"),
        "what the process should stay within, at least `256MiB`. Batches, queries and merges are sized by it",
    ),
    key(
        "worker.read_concurrency",
        Form::Integer,
        Absent::Value("16"),
        "files read at a time, from 1 to 1024",
    ),
    key(
        "worker.shutdown_grace",
        Form::Duration,
        Absent::Value("\"25s\""),
        "how long work in progress may go on after SIGTERM; on Lambda the deadline decides",
    ),
    key(
        "worker.state",
        Form::Text,
        Absent::Depends("`silversmith` in the user's cache folder; on Lambda `/tmp/silversmith`"),
        "a folder for the key indexes of large silver tables and ledgers: a cache, safe to delete. Without one, files are scanned",
    ),
];

const SOURCE: &[Key] = &[
    key(
        "source.queue",
        Form::Text,
        Absent::Off,
        "the URL of the SQS queue, standard or FIFO, that gets the events of S3: direct, through SNS, or through EventBridge",
    ),
    key(
        "source.dlq",
        Form::Text,
        Absent::Depends("required with `queue`"),
        "the URL of the queue for dead letters, of the same kind",
    ),
    key(
        "source.visibility",
        Form::Duration,
        Absent::Value("\"60s\""),
        "queue only: how long a received message stays hidden, from `5s` to `12h`. A worker extends it while it works",
    ),
    key(
        "source.on_missing",
        Form::OneOf(&["dead-letter", "skip"]),
        Absent::Value("\"dead-letter\""),
        "what happens to an object that is gone when its event is read",
    ),
    key(
        "source.on_unmatched",
        Form::OneOf(&["skip", "dead-letter"]),
        Absent::Value("\"skip\""),
        "queue only: what happens to an object that matches no pipeline. `skip` logs it once for each folder",
    ),
    key(
        "source.directory",
        Form::Text,
        Absent::Off,
        "the folder of the raw files, searched with its subfolders. Links are followed, hidden files count. A copied or touched file is a new version",
    ),
    key(
        "source.settle",
        Form::Duration,
        Absent::Value("\"1s\""),
        "directory only: a file counts once it has been unchanged for this long",
    ),
];

const PIPELINE: &[Key] = &[
    key("pipeline.name", Form::Text, Absent::Required, "letters, digits, `-` and `_`; unique"),
    key(
        "pipeline.source",
        Form::Text,
        Absent::Required,
        "which files: `s3://bucket/glob`, the bucket without wildcards. With a directory, a glob relative to this file, such as `raw/orders/**/*.csv`. `*` does not cross a `/`",
    ),
    key(
        "pipeline.format",
        Form::OneOf(&["csv", "json", "parquet"]),
        Absent::Depends("each file's name"),
        "the format of all its files. Without it, names that end with `.json`, `.jsonl`, `.ndjson` or `.jsonlines`, before what says that they are compressed, are JSON, those with `.parquet`, `.parq` or `.pq` are Parquet, and all others are CSV. See [raw data](raw-data.md#formats)",
    ),
];

const COLUMNS: &[Key] = &[
    key(
        "pipeline.columns.*",
        Form::Text,
        Absent::Depends("inferred from the first file"),
        "the type of a column, by the table's name for it: `boolean`, `int`, `long`, `float`, `double`, `decimal(p,s)`, `date`, `time`, `timestamp`, `timestamptz`, `string`; or a table of the next keys, as `amount = { type = \"double\", from = \"Amount (EUR)\" }`",
    ),
    key(
        "pipeline.columns.*.type",
        Form::Text,
        Absent::Depends("inferred from the first file"),
        "the type",
    ),
    key(
        "pipeline.columns.*.from",
        Form::Text,
        Absent::Depends("the header of the file that brought the column"),
        "the header, or the key, of the column in the files. Files with the header that the column began with are read as well",
    ),
    key(
        "pipeline.columns.*.formats",
        Form::Texts,
        Absent::Depends("`pipeline.csv.formats`"),
        "how the dates or times of the column are written",
    ),
];

const BATCH: &[Key] = &[
    key(
        "pipeline.batch.max_objects",
        Form::Integer,
        Absent::Value("1000"),
        "files of one bronze commit, at most",
    ),
    key(
        "pipeline.batch.max_bytes",
        Form::Size,
        Absent::Value("\"256MiB\""),
        "bytes of one bronze commit, approximately",
    ),
    key(
        "pipeline.batch.max_wait",
        Form::Duration,
        Absent::Value("\"2s\""),
        "how long a batch waits for more files; a lone file does not wait",
    ),
];

const DELIVERIES: &[Key] = &[
    key(
        "pipeline.deliveries.complete_when",
        Form::Text,
        Absent::Off,
        "a folder is complete once it has an object of this name, such as `_SUCCESS`; `*` is any text",
    ),
    key(
        "pipeline.deliveries.manifest",
        Form::Text,
        Absent::Off,
        "a folder is complete once it has every object that the object of this name lists",
    ),
    key(
        "pipeline.deliveries.count",
        Form::Integer,
        Absent::Off,
        "a folder is complete once it has this many objects",
    ),
    key(
        "pipeline.deliveries.late_objects",
        Form::OneOf(&["ingest", "reject"]),
        Absent::Value("\"ingest\""),
        "what becomes of an object that comes after its folder was complete",
    ),
];

const CSV: &[Key] = &[
    key("pipeline.csv.delimiter", Form::Text, Absent::Value("\",\""), "one ASCII character"),
    key(
        "pipeline.csv.header",
        Form::Boolean,
        Absent::Value("true"),
        "whether the first record names the columns; else they are `column_1`, …",
    ),
    key(
        "pipeline.csv.quote",
        Form::Text,
        Absent::Value("'\"'"),
        "one ASCII character around fields with delimiters or line breaks, doubled inside them; `\"\"`: none, each character stands for itself",
    ),
    key(
        "pipeline.csv.escape",
        Form::Text,
        Absent::Off,
        "one ASCII character that makes the next one stand for itself, in quotes or not; MySQL writes `'\\'`",
    ),
    key(
        "pipeline.csv.encoding",
        Form::Text,
        Absent::Value("\"utf-8\""),
        "how text is written as bytes: `utf-8`, `utf-16le`, `utf-16be`, `windows-1252`, `latin-1`, `shift-jis`, or another name of the [Encoding Standard](https://encoding.spec.whatwg.org/#names-and-labels). A byte order mark counts more",
    ),
    key(
        "pipeline.csv.null_values",
        Form::Texts,
        Absent::Value("[\"\"]"),
        "texts that mean null, as they stand in the file: `\"\"` is a cell without any character, `'\"\"'` is an empty one in quotes, which is an empty string unless it is named here. Other texts mean null in quotes, too",
    ),
    key(
        "pipeline.csv.skip_lines",
        Form::Integer,
        Absent::Value("0"),
        "lines before the header, or else before the first record, that are skipped",
    ),
    key(
        "pipeline.csv.skip_footer",
        Form::Integer,
        Absent::Value("0"),
        "lines at the end, as totals, that are skipped: at most 100. Blank lines do not count",
    ),
    key(
        "pipeline.csv.comment",
        Form::Text,
        Absent::Off,
        "one ASCII character, such as `#`: lines that begin with it are skipped",
    ),
    key(
        "pipeline.csv.decimal",
        Form::OneOf(&[".", ","]),
        Absent::Value("\".\""),
        "what parts a number from its fraction. With `,` a number that has a point is rescued",
    ),
    key(
        "pipeline.csv.formats",
        Form::Texts,
        Absent::Value("[]"),
        "how dates and times are written, [as chrono has it](https://docs.rs/chrono/latest/chrono/format/strftime/): `[\"%d.%m.%Y %H:%M\", \"%d.%m.%Y\"]`; none: ISO 8601. What two of them read differently is rescued",
    ),
    key(
        "pipeline.csv.timezone",
        Form::Text,
        Absent::Depends("UTC"),
        "the zone of times that name none, as `Europe/Berlin` or `+01:00`. A time that it has twice or not at all is rescued",
    ),
    key(
        "pipeline.csv.path_columns",
        Form::Boolean,
        Absent::Value("false"),
        "whether `key=value` folders of a file's path, as in `year=2024/month=01/`, are columns of its rows",
    ),
    key(
        "pipeline.csv.columns.*",
        Form::Text,
        Absent::Off,
        "the same as `pipeline.columns.*`: a column is in one of the two",
    ),
    key(
        "pipeline.csv.columns.*.type",
        Form::Text,
        Absent::Off,
        "the same as `pipeline.columns.*.type`",
    ),
    key(
        "pipeline.csv.columns.*.from",
        Form::Text,
        Absent::Off,
        "the same as `pipeline.columns.*.from`",
    ),
    key(
        "pipeline.csv.columns.*.formats",
        Form::Texts,
        Absent::Off,
        "the same as `pipeline.columns.*.formats`",
    ),
];

const BRONZE: &[Key] = &[
    key(
        "pipeline.bronze.table",
        Form::TableName,
        Absent::Required,
        "the table; its ledger is `<table>_objects`",
    ),
    key(
        "pipeline.bronze.schema_change",
        Form::OneOf(&["evolve", "rescue", "fail"]),
        Absent::Value("\"evolve\""),
        "what happens to a column that the table lacks: it is added, its cells are rescued, or the file is rejected",
    ),
    key("pipeline.bronze.partition_by", Form::Texts, AS_IT_IS, PARTITION_BY),
    key(
        "pipeline.bronze.on_type_change",
        Form::OneOf(&["rescue", "new-column", "fail"]),
        Absent::Value("\"rescue\""),
        "what happens to a cell that does not fit the type of its column: it is rescued, it goes to a new column of strings, `<column>__text`, or the file is rejected",
    ),
    key(
        "pipeline.bronze.max_columns",
        Form::Integer,
        Absent::Value("4096"),
        "columns of the table, beside silversmith's own; a file that would add more is rejected",
    ),
    key(
        "pipeline.bronze.max_new_columns",
        Form::Integer,
        Absent::Value("100"),
        "columns that one file may add to a table that exists; a file that would add more is rejected",
    ),
    key(
        "pipeline.bronze.max_rescued",
        Form::Text,
        Absent::Depends("a file is rejected if no row has the shape of its header"),
        "a percentage such as `\"10%\"`: a file is rejected if something was rescued of more of its rows; `\"100%\"` rejects none",
    ),
    key(
        "pipeline.bronze.max_expanded",
        Form::Size,
        Absent::Value("\"100GiB\""),
        "bytes that a compressed file may have once it is unpacked, at most; it is rejected beyond",
    ),
    key(
        "pipeline.bronze.max_expansion",
        Form::Integer,
        Absent::Value("200"),
        "how many times its size a compressed file may expand to, beyond the first 16 MiB",
    ),
];

const SILVER: &[Key] = &[
    key(
        "pipeline.silver.table",
        Form::TableName,
        Absent::Required,
        "the table; deleted keys are remembered in `<table>_deletes`, refused rows are in `<table>_quarantine`",
    ),
    key("pipeline.silver.keys", Form::Texts, Absent::Required, "the columns that identify a row"),
    key(
        "pipeline.silver.order_by",
        Form::Texts,
        Absent::Value("[]"),
        "the columns that say which row of a key is newer; ties are broken by the file's own time, URI, version and row",
    ),
    key(
        "pipeline.silver.mode",
        Form::OneOf(&["merge-on-read", "copy-on-write"]),
        Absent::Value("\"merge-on-read\""),
        "how a merge changes files; it may change at any time. `merge-on-read`: changed rows are named in small delete files, which readers apply, so that a merge costs the same however large the table is. `copy-on-write`: a file with a changed row is written again, and readers have nothing to apply",
    ),
    key(
        "pipeline.silver.history",
        Form::OneOf(&["none", "scd2"]),
        Absent::Value("\"none\""),
        "`none`: the newest row of each key. `scd2`: [every version of it](tables.md#history), with `valid_from`, `valid_to` and `is_current`. Another value needs another table, or `silver --rebuild`",
    ),
    key("pipeline.silver.partition_by", Form::Texts, AS_IT_IS, PARTITION_BY),
    key(
        "pipeline.silver.select",
        Form::Text,
        Absent::Depends("all columns of the CSV"),
        "a `SELECT … FROM bronze [WHERE …]`, row by row: projection, filter, immutable functions. A row that the filter drops replaces nothing. A row on which it fails goes to [quarantine](quality.md); `try_cast` makes such a cell null",
    ),
    key(
        "pipeline.silver.delete_when",
        Form::Text,
        Absent::Off,
        "a condition on bronze columns: such a row deletes its key, whatever the filter of `select` says",
    ),
    key(
        "pipeline.silver.null_keys",
        Form::OneOf(&["skip", "equal"]),
        Absent::Value("\"skip\""),
        "`skip`: rows with a null in their key stay in bronze and are counted. `equal`: null is a value",
    ),
    key(
        "pipeline.silver.on_bronze_delete",
        Form::OneOf(&["fail", "ignore"]),
        Absent::Value("\"fail\""),
        "what happens when another program removes rows from bronze",
    ),
    key(
        "pipeline.silver.tombstone_retention",
        Form::Duration,
        Absent::Depends("deletes are remembered for ever"),
        "how long deleted keys are remembered, by the time of the file that deleted them. [Upkeep](upkeep.md) forgets older ones: an older row of such a key that comes after that brings the key back",
    ),
];

const EXPECT: &[Key] = &[
    key(
        "pipeline.silver.expect.name",
        Form::Text,
        Absent::Required,
        "what is expected; it is the rule in quarantine, in the log and in metrics",
    ),
    key(
        "pipeline.silver.expect.sql",
        Form::Text,
        Absent::Required,
        "a condition, row by row. A name is a column that `select` makes, or else one of bronze. A row meets it unless it is false, or fails; deletes are not judged",
    ),
    key(
        "pipeline.silver.expect.on_fail",
        Form::OneOf(&["quarantine", "fail", "warn"]),
        Absent::Value("\"quarantine\""),
        "`quarantine`: the row is not merged, and is in `<table>_quarantine`. `fail`: nothing is merged until the rows or the rule change. `warn`: the row is merged, and counted",
    ),
];

const GOLD: &[Key] = &[
    key("pipeline.gold.table", Form::TableName, Absent::Required, "the table"),
    key(
        "pipeline.gold.sql",
        Form::Text,
        Absent::Required,
        "a `SELECT`, from `silver`, the silver table of this pipeline, and from any other table of the lake by its namespace, such as `silver.customers` or `gold.by_day`. It is computed in full when one of them has changed",
    ),
    key("pipeline.gold.partition_by", Form::Texts, AS_IT_IS, PARTITION_BY),
];
