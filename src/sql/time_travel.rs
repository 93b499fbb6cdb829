//! Queries over the lake's tables: `namespace.table`, `VERSION AS OF`, `TIMESTAMP AS OF`, and the
//! metadata tables `t.history`, `t.snapshots`, `t.files`.
//!
//! DataFusion parses a version clause and drops it. So every table reference is rewritten, before planning, to
//! a table of its own that is pinned to the requested snapshot.

use std::any::TypeId;
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use datafusion::datasource::MemTable;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Statement, TableAlias, TableFactor, TableVersion, Value, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::parser::Parser;

use super::SqlError;
use super::metadata_tables::{files, history, snapshots};
use crate::lake::read::provider::LakeTable;
use crate::lake::{Lake, LakeError, SnapshotId, Table, TableName};

pub(super) const WHAT: &str = "the query";

/// The generic dialect, with `VERSION AS OF` and `TIMESTAMP AS OF`.
#[derive(Debug)]
struct LakeDialect(GenericDialect);

impl Dialect for LakeDialect {
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.0.is_delimited_identifier_start(ch)
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }
}

/// The requested state of a table.
#[derive(Debug, Clone, PartialEq)]
enum At {
    Now,
    Version(SnapshotId),
    Time(DateTime<Utc>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Rows,
    History,
    Snapshots,
    Files,
}

/// A table reference of the query, and the name that it was rewritten to.
#[derive(Debug)]
struct Reference {
    registered: String,
    name: Vec<String>,
    at: At,
}

/// Plans a query over the lake's tables. A statement that does not only read is refused.
pub async fn query(
    lake: &Lake,
    context: &SessionContext,
    sql: &str,
) -> Result<DataFrame, SqlError> {
    let mut statement = parse(sql)?;
    let mut rewriter = Rewriter::default();
    if let ControlFlow::Break(error) = VisitMut::visit(&mut statement, &mut rewriter) {
        return Err(error);
    }
    for reference in rewriter.found {
        register(lake, context, reference).await?;
    }
    let failed = |e| SqlError::of(WHAT, e);
    let plan = context
        .state()
        .statement_to_plan(DfStatement::Statement(Box::new(statement)))
        .await
        .map_err(failed)?;
    context.execute_logical_plan(plan).await.map_err(failed)
}

fn parse(sql: &str) -> Result<Statement, SqlError> {
    let dialect = LakeDialect(GenericDialect {});
    let mut statements =
        Parser::parse_sql(&dialect, sql).map_err(|e| SqlError::of(WHAT, e.into()))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement @ (Statement::Query(_) | Statement::Explain { .. })), true) => {
            Ok(statement)
        }
        _ => Err(not_allowed("write one SELECT, or EXPLAIN of one; only pipelines write tables")),
    }
}

pub(super) fn not_allowed(why: &str) -> SqlError {
    SqlError::NotAllowed { what: WHAT.to_owned(), why: why.to_owned() }
}

#[derive(Default)]
struct Rewriter {
    found: Vec<Reference>,
}

impl VisitorMut for Rewriter {
    type Break = SqlError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        let TableFactor::Table { name, alias, version, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .map(|i| if i.quote_style.is_some() { i.value.clone() } else { i.value.to_lowercase() })
            .collect();
        // One part alone names a WITH query.
        let Some(last) = parts.last().filter(|_| parts.len() > 1).cloned() else {
            return match version {
                None => ControlFlow::Continue(()),
                Some(_) => ControlFlow::Break(not_allowed("only a namespace.table has versions")),
            };
        };
        let at = match version.take().map(|v| requested(&v)).transpose() {
            Ok(at) => at.unwrap_or(At::Now),
            Err(error) => return ControlFlow::Break(error),
        };
        let registered = format!("silversmith_{}", self.found.len());
        *name = ObjectName::from(vec![Ident::new(registered.clone())]);
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', last),
            columns: vec![],
        });
        self.found.push(Reference { registered, name: parts, at });
        ControlFlow::Continue(())
    }
}

fn requested(version: &TableVersion) -> Result<At, SqlError> {
    match version {
        TableVersion::VersionAsOf(Expr::Value(value)) => match &value.value {
            Value::Number(number, _) => number
                .to_string()
                .parse()
                .map(At::Version)
                .map_err(|_| not_allowed("VERSION AS OF needs a snapshot id")),
            _ => Err(not_allowed("VERSION AS OF needs a snapshot id")),
        },
        TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr) => {
            let text = match expr {
                Expr::Value(value) => value.value.clone().into_string(),
                Expr::TypedString(typed) => typed.value.value.clone().into_string(),
                _ => None,
            };
            text.as_deref().and_then(parse_time).map(At::Time).ok_or_else(|| {
                not_allowed("TIMESTAMP AS OF needs a literal such as '2026-01-31 12:00:00' (UTC)")
            })
        }
        _ => Err(not_allowed("write VERSION AS OF or TIMESTAMP AS OF")),
    }
}

/// RFC 3339, or without a zone: UTC; or a date: its first instant.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|t| t.to_utc()).ok();
    let plain = || {
        ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
            .or_else(|| {
                Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN))
            })
            .map(|t| t.and_utc())
    };
    zoned.or_else(plain)
}

async fn register(
    lake: &Lake,
    context: &SessionContext,
    reference: Reference,
) -> Result<(), SqlError> {
    let (table, part) = resolve(lake, &reference.name).await?;
    let snapshot = match &reference.at {
        At::Now => None,
        At::Version(id) => Some(*id),
        At::Time(time) => {
            let found = table.current_at(*time).ok_or_else(|| LakeError::NoSnapshot {
                table: table.name().clone(),
                what: format!("at {time}: its history starts later"),
            })?;
            Some(found.id)
        }
    };
    let failed = |e| SqlError::of(WHAT, e);
    let rows = match part {
        Part::Rows => {
            let rows = LakeTable::at(lake, &table, snapshot)?;
            context.register_table(&reference.registered, Arc::new(rows)).map_err(failed)?;
            return Ok(());
        }
        Part::History => history(&table),
        Part::Snapshots => snapshots(&table.snapshots()),
        Part::Files => files(lake, &table, snapshot).await?,
    };
    let rows = rows.map_err(|e| failed(e.into()))?;
    let memory = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(failed)?;
    context.register_table(&reference.registered, Arc::new(memory)).map_err(failed)?;
    Ok(())
}

async fn resolve(lake: &Lake, parts: &[String]) -> Result<(Table, Part), SqlError> {
    let Some((last, before)) = parts.split_last() else { return Err(not_allowed("no table name")) };
    let name = TableName::new(before.join("."), last.clone());
    if let Some(table) = lake.find(&name).await? {
        return Ok((table, Part::Rows));
    }
    let part = match last.as_str() {
        "history" => Some(Part::History),
        "snapshots" => Some(Part::Snapshots),
        "files" => Some(Part::Files),
        _ => None,
    };
    if let (Some(part), Some((table, namespace))) = (part, before.split_last())
        && !namespace.is_empty()
    {
        let name = TableName::new(namespace.join("."), table.clone());
        return Ok((lake.load(&name).await?, part));
    }
    Err(LakeError::NotFound(name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(sql: &str) -> Result<(String, Vec<Reference>), SqlError> {
        let mut statement = parse(sql)?;
        let mut rewriter = Rewriter::default();
        match VisitMut::visit(&mut statement, &mut rewriter) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok((statement.to_string(), rewriter.found)),
        }
    }

    #[test]
    fn references_are_rewritten_with_their_version() {
        let (sql, found) =
            rewritten("SELECT customers.city FROM Silver.customers VERSION AS OF 42").unwrap();
        assert_eq!(sql, "SELECT customers.city FROM silversmith_0 AS \"customers\"");
        assert_eq!(found[0].name, ["silver", "customers"]);
        assert_eq!(found[0].at, At::Version(SnapshotId(42)));
        let (_, found) = rewritten(
            "SELECT * FROM a.b TIMESTAMP AS OF '2026-01-31' x JOIN (SELECT * FROM a.b VERSION AS OF 7) y ON true",
        )
        .unwrap();
        assert_eq!(found.len(), 2);
        assert!(matches!(found[0].at, At::Time(_)));
        assert_eq!(found[1].at, At::Version(SnapshotId(7)));
    }

    #[test]
    fn writing_is_refused() {
        for sql in
            ["DELETE FROM a.b", "CREATE TABLE x (a int)", "SELECT 1; SELECT 2", "COPY a.b TO 'x'"]
        {
            assert!(parse(sql).is_err(), "{sql}");
        }
    }
}
