//! The tables that a statement names. Each is replaced by a table of the session under a name of its own, which the
//! caller then registers.
//!
//! DataFusion parses a version clause and drops it. So a table is replaced before planning, with its version.

use std::ops::ControlFlow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Statement, TableAlias,
    TableFactor, TableFunctionArgs, TableVersion, Value, VisitMut, VisitorMut,
};

use super::SqlError;
use super::between::Between;
use super::parse::name_of;
use crate::lake::SnapshotId;

/// The requested state of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum At {
    Now,
    Version(SnapshotId),
    Time(DateTime<Utc>),
}

/// A table reference of a statement, and the name that it was replaced by.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) registered: String,
    pub(super) name: Vec<String>,
    pub(super) at: At,
}

/// What a statement names.
#[derive(Debug, Default)]
pub(super) struct References {
    /// The tables that were replaced.
    pub(super) tables: Vec<Reference>,
    /// Namespace and name of those that were not.
    pub(super) plain: Vec<(String, String)>,
    /// Names of one part: WITH queries, and what the session has.
    pub(super) bare: Vec<String>,
    /// Calls of the table function `changes`, by the name that replaced each.
    pub(super) changes: Vec<(String, Between)>,
    /// The names of WITH queries.
    pub(super) with: Vec<String>,
}

/// Replaces the tables of a statement that the planner cannot find by their names: those with a version, those of more
/// than two parts, and calls of `changes`. `what` is the subject of errors.
pub(super) fn replace(what: &str, statement: &mut Statement) -> Result<References, SqlError> {
    let mut rewriter = Rewriter { what, found: References::default() };
    match VisitMut::visit(statement, &mut rewriter) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(rewriter.found),
    }
}

struct Rewriter<'a> {
    what: &'a str,
    found: References,
}

impl VisitorMut for Rewriter<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.found.with.extend(with.map(|query| name_of(&query.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        let TableFactor::Table { name, alias, version, args, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let refuse = |why| ControlFlow::Break(SqlError::not_allowed(self.what, why));
        if let Some(of) = args {
            let is_changes = name.to_string().eq_ignore_ascii_case(CHANGES);
            if !is_changes {
                return ControlFlow::Continue(());
            }
            let Some(between) = between(of) else { return refuse(USAGE) };
            let registered = format!("{CHANGES}_{}", self.found.changes.len());
            *name = ObjectName::from(vec![Ident::new(registered.clone())]);
            *args = None;
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident::new(CHANGES),
                columns: vec![],
            });
            self.found.changes.push((registered, between));
            return ControlFlow::Continue(());
        }
        let parts: Vec<String> =
            name.0.iter().filter_map(|part| part.as_ident()).map(name_of).collect();
        let [.., last] = parts.as_slice() else { return ControlFlow::Continue(()) };
        if let [bare] = parts.as_slice() {
            self.found.bare.push(bare.clone());
            return match version {
                None => ControlFlow::Continue(()),
                Some(_) => refuse("only a namespace.table has versions"),
            };
        }
        if let (None, [namespace, table]) = (&version, parts.as_slice()) {
            self.found.plain.push((namespace.clone(), table.clone()));
            return ControlFlow::Continue(());
        }
        let at = match version.take().map(|version| requested(&version)).transpose() {
            Ok(at) => at.unwrap_or(At::Now),
            Err(why) => return refuse(why),
        };
        let registered = format!("silversmith_{}", self.found.tables.len());
        *name = ObjectName::from(vec![Ident::new(registered.clone())]);
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', last),
            columns: vec![],
        });
        self.found.tables.push(Reference { registered, name: parts, at });
        ControlFlow::Continue(())
    }
}

/// The table function that reads what changed in a table.
pub(super) const CHANGES: &str = "changes";
const USAGE: &str =
    "write changes('namespace.table'), and after it the snapshots from which and to which, or NULL";

/// The arguments of `changes`: a table, and up to two snapshots.
fn between(args: &TableFunctionArgs) -> Option<Between> {
    let values = args.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => Some(&value.value),
        _ => None,
    });
    let values = values.collect::<Option<Vec<_>>>()?;
    let snapshot = |at: usize| match values.get(at) {
        None | Some(Value::Null) => Some(None),
        Some(Value::Number(number, _)) => number.to_string().parse().ok().map(Some),
        Some(Value::SingleQuotedString(text)) => text.parse().ok().map(Some),
        Some(_) => None,
    };
    match values.as_slice() {
        [Value::SingleQuotedString(table), rest @ ..] if rest.len() <= 2 => {
            Some(Between { table: table.parse().ok()?, from: snapshot(1)?, to: snapshot(2)? })
        }
        _ => None,
    }
}

fn requested(version: &TableVersion) -> Result<At, &'static str> {
    const ID: &str = "VERSION AS OF needs a snapshot id";
    match version {
        TableVersion::VersionAsOf(Expr::Value(value)) => match &value.value {
            Value::Number(number, _) => number.to_string().parse().map(At::Version).map_err(|_| ID),
            _ => Err(ID),
        },
        TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr) => {
            let text = match expr {
                Expr::Value(value) => value.value.clone().into_string(),
                Expr::TypedString(typed) => typed.value.value.clone().into_string(),
                _ => None,
            };
            text.as_deref()
                .and_then(parse_time)
                .map(At::Time)
                .ok_or("TIMESTAMP AS OF needs a literal such as '2026-01-31 12:00:00' (UTC)")
        }
        _ => Err("write VERSION AS OF or TIMESTAMP AS OF"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::dialect;

    fn replaced(sql: &str) -> Result<(String, References), SqlError> {
        let mut statement = dialect::parse("a test", sql)?.remove(0);
        let found = replace("a test", &mut statement)?;
        Ok((statement.to_string(), found))
    }

    #[test]
    fn references_are_replaced_with_their_version() {
        let (sql, found) =
            replaced("SELECT customers.city FROM Silver.customers VERSION AS OF 42").unwrap();
        assert_eq!(sql, "SELECT customers.city FROM silversmith_0 AS \"customers\"");
        assert_eq!(found.tables[0].name, ["silver", "customers"]);
        assert_eq!(found.tables[0].at, At::Version(SnapshotId(42)));
        let (_, found) = replaced(
            "SELECT * FROM a.b TIMESTAMP AS OF '2026-01-31' x JOIN (SELECT * FROM a.b VERSION AS OF '7') y ON true",
        )
        .unwrap();
        assert_eq!(found.tables.len(), 2);
        assert!(matches!(found.tables[0].at, At::Time(_)));
        assert_eq!(found.tables[1].at, At::Version(SnapshotId(7)));
    }

    #[test]
    fn a_planner_finds_the_others_by_their_own_names() {
        let sql = "SELECT silver.a.x FROM silver.a JOIN silver.a.files f ON true JOIN b.c VERSION AS OF 7 ON true";
        let (sql, found) = replaced(sql).unwrap();
        assert!(sql.starts_with("SELECT silver.a.x FROM silver.a JOIN silversmith_0 "), "{sql}");
        assert_eq!(found.tables.len(), 2);
        assert_eq!(found.plain, [("silver".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn calls_of_changes_are_replaced() {
        let sql = "SELECT * FROM changes('silver.a', 7) c JOIN changes('b.c', NULL, '9') ON true";
        let (sql, found) = replaced(sql).unwrap();
        assert!(sql.contains("FROM changes_0 c JOIN changes_1 AS changes ON"), "{sql}");
        assert_eq!(found.changes[0].1.from, Some(SnapshotId(7)));
        assert_eq!(found.changes[1].1.to, Some(SnapshotId(9)));
        for wrong in ["changes()", "changes(silver.a)", "changes('silver.a', x)"] {
            assert!(replaced(&format!("SELECT * FROM {wrong}")).is_err());
        }
    }

    #[test]
    fn names_of_one_part_stay_as_they_are() {
        let (sql, found) = replaced("WITH x AS (SELECT 1) SELECT * FROM x, Silver").unwrap();
        assert_eq!(sql, "WITH x AS (SELECT 1) SELECT * FROM x, Silver");
        assert_eq!((found.tables.len(), found.bare), (0, vec!["x".into(), "silver".into()]));
        assert_eq!(found.with, ["x"]);
    }
}
