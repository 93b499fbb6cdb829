//! A statement of a person or a program that asks: `SELECT`, `EXPLAIN`, `SHOW TABLES`, `DESCRIBE`. Tables are named
//! `namespace.table`, with `VERSION AS OF` or `TIMESTAMP AS OF` where they are not read as they are now.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{ShowStatementIn, ShowStatementOptions, Statement};

use super::changes::changes;
use super::lake_tables::LakeTables;
use super::parse::name_of;
use super::references;
use super::{SqlError, WHAT, dialect, not_allowed, pinned};
use crate::lake::{Lake, TableName, type_name};

/// What the session has of itself, beside the tables of the lake.
const INFORMATION: &str = "information_schema";

/// A statement that only reads.
#[derive(Debug)]
pub struct Asked(Statement);

/// The statements of a text, each ended by a semicolon but the last.
///
/// # Errors
/// [`SqlError`] where one cannot be parsed, or does more than read.
pub fn parse(sql: &str) -> Result<Vec<Asked>, SqlError> {
    let parsed = dialect::parse(WHAT, sql)?.into_iter().map(|statement| match statement {
        Statement::Query(_)
        | Statement::Explain { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowDatabases { .. }
        | Statement::ShowColumns { .. }
        | Statement::ExplainTable { .. } => Ok(Asked(statement)),
        _ => Err(not_allowed(
            "write SELECT, EXPLAIN, SHOW TABLES or DESCRIBE; only pipelines write tables",
        )),
    });
    parsed.collect()
}

/// Plans a text of one statement. See [`plan`].
pub async fn query(
    lake: &Lake,
    context: &SessionContext,
    sql: &str,
) -> Result<DataFrame, SqlError> {
    let mut asked = parse(sql)?;
    match (asked.pop(), asked.is_empty()) {
        (Some(asked), true) => Box::pin(plan(lake, context, asked)).await,
        _ => Err(not_allowed("write one statement")),
    }
}

/// Plans a statement over the lake's tables, and over what is registered in the session.
///
/// # Errors
/// [`SqlError::NoTable`] with the names that may have been meant; others as the planner has them.
pub async fn plan(
    lake: &Lake,
    context: &SessionContext,
    asked: Asked,
) -> Result<DataFrame, SqlError> {
    let rows = match asked.0 {
        Statement::ShowTables { show_options, .. } => tables(lake, &show_options).await?,
        Statement::ShowSchemas { .. } | Statement::ShowDatabases { .. } => namespaces(lake).await?,
        Statement::ShowColumns { show_options, .. } => columns(lake, named(&show_options)).await?,
        Statement::ExplainTable { table_name, .. } => {
            let parts = table_name.0.iter().filter_map(|part| part.as_ident());
            columns(lake, parts.map(name_of).collect()).await?
        }
        statement => return Box::pin(select(lake, context, statement)).await,
    };
    let failed = |e| SqlError::of(WHAT, e);
    let rows = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(failed)?;
    context.read_table(Arc::new(rows)).map_err(failed)
}

async fn select(
    lake: &Lake,
    context: &SessionContext,
    mut statement: Statement,
) -> Result<DataFrame, SqlError> {
    let failed = |e| SqlError::of(WHAT, e);
    let found = references::replace(WHAT, &mut statement)?;
    for reference in &found.tables {
        pinned::register(lake, context, WHAT, reference).await?;
    }
    for (registered, between) in &found.changes {
        let rows = Box::pin(changes(lake, context, registered, between)).await?;
        context.register_table(registered.as_str(), rows.into_view()).map_err(failed)?;
    }
    let of_lake = LakeTables::new(lake);
    let is_known = |name: &str| {
        found.with.iter().any(|with| with == name) || context.table_exist(name).unwrap_or(false)
    };
    if let Some(unknown) = found.bare.iter().find(|name| !is_known(name)) {
        return Err(of_lake.no_table(unknown).await);
    }
    let mut namespaces: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if found.plain.iter().any(|(namespace, _)| namespace == INFORMATION) {
        for table in lake.tables().await? {
            let of = namespaces.entry(table.namespace().to_owned()).or_default();
            of.push(table.table().to_owned());
        }
    }
    for (namespace, _) in found.plain.iter().filter(|(namespace, _)| namespace != INFORMATION) {
        namespaces.entry(namespace.clone()).or_default();
    }
    of_lake.register(context, namespaces).map_err(failed)?;
    let statement = DfStatement::Statement(Box::new(statement));
    match context.state().statement_to_plan(statement).await {
        Ok(plan) => context.execute_logical_plan(plan).await.map_err(failed),
        Err(error) => Err(of_lake.why(failed(error)).await),
    }
}

/// The tables, those of a namespace alone where one is named.
async fn tables(lake: &Lake, options: &ShowStatementOptions) -> Result<RecordBatch, SqlError> {
    let namespace = named(options).join(".");
    let mut tables = lake.tables().await?;
    tables.retain(|table| namespace.is_empty() || table.namespace() == namespace);
    tables.sort();
    let texts = |of: &dyn Fn(&TableName) -> String| tables.iter().map(of).collect::<Vec<_>>();
    rows(vec![
        ("namespace", texts(&|table| table.namespace().to_owned())),
        ("table", texts(&|table| table.table().to_owned())),
    ])
}

async fn namespaces(lake: &Lake) -> Result<RecordBatch, SqlError> {
    let mut names: Vec<String> =
        lake.tables().await?.iter().map(|table| table.namespace().to_owned()).collect();
    names.sort();
    names.dedup();
    rows(vec![("namespace", names)])
}

/// The columns of a table: name, type as Iceberg writes it, and what is said of it.
async fn columns(lake: &Lake, parts: Vec<String>) -> Result<RecordBatch, SqlError> {
    let name = match parts.split_last() {
        Some((table, namespace)) if !namespace.is_empty() => {
            TableName::new(namespace.join("."), table.clone())
        }
        _ => return Err(LakeTables::new(lake).no_table(&parts.join(".")).await),
    };
    let Some(table) = lake.find(&name).await? else {
        return Err(LakeTables::new(lake).no_table(&name.to_string()).await);
    };
    let fields = table.schema().arrow().fields().iter();
    let doc = fields.clone().map(|field| field.metadata().get("doc").cloned().unwrap_or_default());
    rows(vec![
        ("column", fields.clone().map(|field| field.name().clone()).collect()),
        ("type", fields.clone().map(|field| type_name(field.data_type())).collect()),
        ("about", doc.collect()),
    ])
}

/// The name after `IN` or `FROM`.
fn named(options: &ShowStatementOptions) -> Vec<String> {
    let name = |within: &ShowStatementIn| within.parent_name.clone();
    let name = options.show_in.as_ref().and_then(name);
    let parts = name.into_iter().flat_map(|name| name.0);
    parts.filter_map(|part| part.as_ident().map(name_of)).collect()
}

fn rows(columns: Vec<(&str, Vec<String>)>) -> Result<RecordBatch, SqlError> {
    let columns = columns.into_iter().map(|(name, texts)| {
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        (name, values, false)
    });
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| SqlError::of(WHAT, e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_is_refused() {
        for sql in ["DELETE FROM a.b", "CREATE TABLE x (a int)", "COPY a.b TO 'x'", "SET a = 1"] {
            assert!(parse(sql).is_err(), "{sql}");
        }
        assert_eq!(parse("SELECT 1; EXPLAIN SELECT 2; SHOW TABLES;").unwrap().len(), 3);
    }

    #[test]
    fn the_sql_of_other_engines_is_parsed() {
        for sql in [
            "SELECT * EXCLUDE (a) FROM s.t",
            "SELECT first_value(a) IGNORE NULLS OVER (ORDER BY b) FROM s.t",
            "SELECT count(*) FILTER (WHERE a > 1), sum(b) FROM s.t GROUP BY ROLLUP (c)",
            "SELECT a FROM s.t VERSION AS OF 7 /* and /* nested */ */",
            "SELECT [1, 2], {'a': 1}",
        ] {
            assert!(parse(sql).is_ok(), "{sql}");
        }
    }
}
