//! `check` of SQL: that of silver against the columns of bronze, and that of gold against those of the tables that it
//! names. Before the first run, the columns are those of a sample of the files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, SchemaRef};
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::prelude::{DataFrame, SessionContext};

use super::findings::Findings;
use super::infer::columns_of;
use crate::bronze::with_own_columns;
use crate::config::settings::SourceSettings;
use crate::error::chain;
use crate::gold::{GoldSettings, SILVER, order};
use crate::lake::read::provider::plain;
use crate::lake::{LakeError, TableName};
use crate::merge::{History, MergeError, history};
use crate::pipeline::{Pipeline, Wired};
use crate::silver::SilverSettings;
use crate::source;
use crate::sql::SqlError;
use crate::sql::select::{BRONZE, SEQUENCE};
use crate::sql::session::session;
use crate::sql::table_query::TableQuery;

/// Files of a pipeline without a bronze table that are read for their columns.
const SAMPLE: usize = 5;

/// The columns that tables will have, of those that do not exist yet.
type Planned = HashMap<TableName, SchemaRef>;

pub(super) async fn sql(wired: &Wired, findings: &mut Findings) {
    let mut planned = Planned::new();
    for pipeline in &wired.pipelines {
        // A table that cannot be read is a finding like any other.
        if let Err(error) = silver(wired, pipeline, &mut planned, findings).await {
            let what = format!("silver of {}", pipeline.settings.name);
            findings.fail(what, chain(error.as_ref()));
        }
    }
    let all: Vec<&GoldSettings> = wired.pipelines.iter().flat_map(|p| &p.settings.gold).collect();
    for gold in order::in_order(&all).unwrap_or_default() {
        let what = format!("gold {}", gold.table);
        match self::gold(wired, gold, &mut planned).await {
            Ok(Ok(sources)) => findings.ok(&what, format!("its SQL fits {sources}")),
            Ok(Err(missing)) => findings
                .warn(&what, format!("not checked: it waits for {missing}, which does not exist")),
            Err(error) => findings.fail(&what, chain(error.as_ref())),
        }
    }
}

/// What the columns of bronze were read from.
struct Bronze {
    schema: SchemaRef,
    from: String,
}

/// The columns of bronze. `None`: there is no table, and no file here to read them from.
async fn bronze(wired: &Wired, pipeline: &Pipeline) -> anyhow::Result<Option<Bronze>> {
    let settings = &pipeline.settings.bronze;
    if let Some(table) = wired.lake.find(&settings.table).await? {
        let schema = plain(table.schema().arrow());
        return Ok(Some(Bronze { schema, from: "bronze".to_owned() }));
    }
    let SourceSettings::Directory { .. } = &wired.settings.source else { return Ok(None) };
    let files = source::all(&*wired.source, &settings.root).await?;
    let matching = files.iter().filter(|file| settings.is_data(&file.id.uri));
    let sample: Vec<PathBuf> =
        matching.take(SAMPLE).map(|file| wired.settings.base.join(&file.id.uri)).collect();
    let Some(first) = sample.first() else { return Ok(None) };
    let from = match sample.len() {
        1 => format!("the columns of {}", first.display()),
        count => format!("the columns of the first {count} files"),
    };
    let columns = columns_of(&sample, &settings.format, &settings.feed)?;
    let fields: Vec<FieldRef> = columns
        .into_iter()
        .map(|column| Arc::new(Field::new(column.name, column.kind, true)))
        .collect();
    let schema = plain(&with_own_columns(&fields));
    Ok(Some(Bronze { schema, from }))
}

/// Whether select, keys and order fit the columns of bronze, and silver fits their result.
async fn silver(
    wired: &Wired,
    pipeline: &Pipeline,
    planned: &mut Planned,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let bronze = bronze(wired, pipeline).await;
    if let Ok(Some(bronze)) = &bronze {
        planned.insert(pipeline.settings.bronze.table.clone(), bronze.schema.clone());
    }
    let Some(settings) = &pipeline.settings.silver else { return Ok(()) };
    let what = format!("silver {}", settings.rules.table);
    let Some(Bronze { schema, from }) = bronze? else {
        findings.ok(what, "not checked: its bronze table does not exist yet");
        return Ok(());
    };
    let context = session(wired.settings.memory().queries_of_a_command())?;
    context.register_table(BRONZE, empty(&schema)?)?;
    let (kept, exact) = (settings.rules.kept(), &settings.rules.exact);
    match settings.rules.rows.query(&context, &schema, &kept, exact).await {
        Ok(rows) => match check_names(settings, &rows) {
            Ok(()) => {
                let fit = "keys, order_by, select, delete_when and expectations fit";
                findings.ok(&what, format!("{fit} {from}"));
                let schema = plain(rows.schema().as_arrow());
                planned.insert(settings.rules.table.clone(), schema);
            }
            Err(error) => findings.fail(&what, chain(&error)),
        },
        Err(error) => findings.fail(&what, chain(&error)),
    }
    order_columns(wired, settings, &what, findings).await?;
    Ok(())
}

/// Whether silver has the columns that say which row is newer.
async fn order_columns(
    wired: &Wired,
    settings: &SilverSettings,
    what: &str,
    findings: &mut Findings,
) -> Result<(), LakeError> {
    let Some(silver) = wired.lake.find(&settings.rules.table).await? else { return Ok(()) };
    let lacks: Vec<String> = settings
        .rules
        .order
        .iter()
        .filter(|c| silver.schema().arrow().field_with_name(c).is_err())
        // The next merge adds it.
        .filter(|c| *c != SEQUENCE)
        .cloned()
        .collect();
    if !lacks.is_empty() {
        findings.warn(
            what,
            format!(
                "the table has no column {}: its rows count as oldest and are always updated, so guarantee I5 does not hold for them",
                lacks.join(", ")
            ),
        );
    }
    Ok(())
}

/// Whether the rows leave the names free that a history needs.
fn check_names(settings: &SilverSettings, rows: &DataFrame) -> Result<(), MergeError> {
    match settings.rules.history {
        History::None => Ok(()),
        History::Scd2 => {
            let fields = rows.schema().fields().iter();
            history::check_free(&settings.rules, fields.map(|field| field.name()))
        }
    }
}

/// Plans the SQL of a gold table. The names of what it is computed from, or of the first table of these that there
/// is not.
async fn gold(
    wired: &Wired,
    gold: &GoldSettings,
    planned: &mut Planned,
) -> anyhow::Result<Result<String, TableName>> {
    let mut sources: HashMap<&TableName, SchemaRef> = HashMap::new();
    for source in gold.sources() {
        let schema = match wired.lake.find(source).await? {
            Some(table) => plain(table.schema().arrow()),
            None => match planned.get(source) {
                Some(schema) => schema.clone(),
                None => return Ok(Err(source.clone())),
            },
        };
        sources.insert(source, schema);
    }
    let context = session(wired.settings.memory().queries_of_a_command())?;
    if let Some(schema) = gold.silver.as_ref().and_then(|silver| sources.get(silver)) {
        context.register_table(SILVER, empty(schema)?)?;
    }
    let rows = plan(&context, gold, &sources).await?;
    planned.insert(gold.table.clone(), plain(rows.schema().as_arrow()));
    let names: Vec<String> = gold.sources().map(ToString::to_string).collect();
    Ok(Ok(match names.is_empty() {
        true => "no table".to_owned(),
        false => names.join(", "),
    }))
}

async fn plan(
    context: &SessionContext,
    gold: &GoldSettings,
    sources: &HashMap<&TableName, SchemaRef>,
) -> Result<DataFrame, SqlError> {
    let query = TableQuery::parse("its SQL", &gold.sql, &[SILVER])?;
    let rows = |name: &TableName| {
        let schema = sources.get(name).ok_or_else(|| LakeError::NotFound(name.clone()))?;
        empty(schema).map_err(|error| SqlError::of("its SQL", error))
    };
    query.plan(context, rows).await
}

fn empty(schema: &SchemaRef) -> datafusion::error::Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(schema.clone(), vec![vec![]])?))
}
