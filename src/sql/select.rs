//! The `select` and `delete_when` of a silver table: row by row, or refused.
//!
//! I5 needs silver to be a function of the *set* of bronze rows. A projection, a filter and
//! immutable functions are; aggregates, windows, LIMIT and the clock are not.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, GroupByExpr, Ident, SelectItem, SetExpr, Statement, TableFactor,
};

use super::SqlError;
use super::expect::{Expectation, Outputs};
use super::parse::{expression, quoted, statement};

/// The name under which the rows are selected from.
pub const BRONZE: &str = "bronze";
/// What the names of the columns begin with that a query adds, and no table has.
pub const ADDED: &str = "__silversmith_";
/// The column that says whether a row deletes its key.
pub const DELETED: &str = "__silversmith_deleted";
/// The column that says whether a cell of a key or of the order was rescued.
pub const MISFIT: &str = "__silversmith_misfit";
/// The column that says whether a row deletes its key and has no order.
pub const UNORDERED: &str = "__silversmith_unordered";
/// What the names of the columns begin with that say whether a row meets an expectation; its number follows.
pub const MEETS: &str = "__silversmith_meets_";
/// What the names of the columns begin with that hold the bronze row; the name of its column follows.
pub const SOURCE: &str = "__silversmith_bronze_";
/// The bronze column with what did not fit, as JSON.
const RESCUED: &str = "_rescued";

/// The bronze column with the sequence of an object's uploads. Bronze tables of before do not have it.
pub const SEQUENCE: &str = "_source_sequence";

/// The rule of DataFusion that computes what several columns of a row share once.
const SHARED_PARTS: &str = "common_sub_expression_eliminate";

/// Bronze columns that a silver table without a `select` does not have: they describe the ingestion, not the
/// row.
const NOT_SELECTED: [&str; 1] = ["_ingested_at"];

/// A row-wise query over `bronze`; by default, its rows as they are.
#[derive(Debug, Clone, Default)]
pub struct Rowwise {
    what: String,
    select: Option<Statement>,
    delete_when: Option<SqlExpr>,
    ordered_by: Vec<String>,
    expectations: Vec<Expectation>,
}

impl Rowwise {
    /// Parses and checks what can be checked without knowing the columns.
    pub fn parse(
        what: &str,
        select: Option<&str>,
        delete_when: Option<&str>,
    ) -> Result<Self, SqlError> {
        let select = select.map(|sql| statement(what, sql)).transpose()?;
        if let Some(statement) = &select {
            check_shape(what, statement)?;
        }
        let delete_when = delete_when.map(|sql| expression(what, sql)).transpose()?;
        let (ordered_by, expectations) = (vec![], vec![]);
        Ok(Self { what: what.to_owned(), select, delete_when, ordered_by, expectations })
    }

    /// The same, for rows that these columns order: a delete of which all are null has no order.
    pub fn ordered_by(self, columns: &[String]) -> Self {
        Self { ordered_by: columns.to_vec(), ..self }
    }

    /// The same, with what is expected of its rows.
    pub fn expecting(self, expectations: Vec<Expectation>) -> Self {
        Self { expectations, ..self }
    }

    /// What is expected of its rows.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// Whether rows can delete their key.
    pub fn deletes(&self) -> bool {
        self.delete_when.is_some()
    }

    /// The query over the table registered as `bronze`: what `select` says, then those of `kept`
    /// that it leaves out, then [`DELETED`], [`MISFIT`], [`UNORDERED`] and one column [`MEETS`] for each expectation.
    /// Of `kept`, those in `exact` must be what the file said.
    pub async fn query(
        &self,
        context: &SessionContext,
        bronze: &SchemaRef,
        kept: &[String],
        exact: &[String],
    ) -> Result<DataFrame, SqlError> {
        self.query_and(context, bronze, (kept, exact), vec![]).await
    }

    /// The same, and then the row of bronze itself, in columns [`SOURCE`].
    pub async fn query_with_source(
        &self,
        context: &SessionContext,
        bronze: &SchemaRef,
        kept: &[String],
        exact: &[String],
    ) -> Result<DataFrame, SqlError> {
        let names = bronze.fields().iter().map(|field| field.name());
        let source = names.map(|name| (quoted(name), format!("{SOURCE}{name}")));
        self.query_and(context, bronze, (kept, exact), source.collect()).await
    }

    async fn query_and(
        &self,
        context: &SessionContext,
        bronze: &SchemaRef,
        (kept, exact): (&[String], &[String]),
        more: Vec<(String, String)>,
    ) -> Result<DataFrame, SqlError> {
        // An expectation that fails on a row must not share a part with the columns of the row.
        if !self.expectations.is_empty() {
            context.remove_optimizer_rule(SHARED_PARTS);
        }
        let statement = match &self.select {
            Some(statement) => statement.clone(),
            None => statement(&self.what, &default_select(bronze))?,
        };
        let selected = self.plan(context, statement.clone()).await?;
        let mut added = self.missing(&selected, bronze, kept)?;
        let misfit = misfit(bronze, &sources(selected.logical_plan(), exact));
        added.extend(self.verdicts(&Outputs::of(&statement), misfit));
        added.extend(more);
        let plan = self.plan(context, self.with_columns(statement, &added)?).await?;
        self.check_functions(plan.logical_plan())?;
        Ok(plan)
    }

    /// Those of `kept` that the query leaves out: SQL and name.
    fn missing(
        &self,
        selected: &DataFrame,
        bronze: &SchemaRef,
        kept: &[String],
    ) -> Result<Vec<(String, String)>, SqlError> {
        let fields = selected.schema().fields();
        let is_selected = |column: &String| fields.iter().any(|field| field.name() == column);
        let mut missing = Vec::new();
        for column in kept.iter().filter(|column| !is_selected(column)) {
            let is_there = bronze.field_with_name(column).is_ok();
            if !is_there && column != SEQUENCE {
                return Err(self.not_allowed(format!(
                    "bronze has no column `{column}`; its columns are {}",
                    list(bronze)
                )));
            }
            let sql = match is_there {
                true => quoted(column),
                false => "CAST(NULL AS VARCHAR)".to_owned(),
            };
            missing.push((sql, column.clone()));
        }
        Ok(missing)
    }

    /// What becomes of each row: SQL and name.
    fn verdicts(&self, outputs: &Outputs, misfit: String) -> Vec<(String, String)> {
        let deleted = self.deleted();
        let nulls = self.ordered_by.iter().map(|c| format!("({}) IS NULL", outputs.column(c)));
        let nulls: Vec<String> = nulls.collect();
        let unordered = match self.deletes() && !nulls.is_empty() {
            true => format!("{deleted} AND {}", nulls.join(" AND ")),
            false => "false".to_owned(),
        };
        let mut verdicts = vec![
            (deleted.clone(), DELETED.to_owned()),
            (misfit, MISFIT.to_owned()),
            (unordered, UNORDERED.to_owned()),
        ];
        // A delete brings no row that anything could be expected of.
        let meets = self.expectations.iter().enumerate().map(|(number, expectation)| {
            let sql = format!("coalesce({deleted} OR ({}), true)", outputs.in_bronze(expectation));
            (sql, format!("{MEETS}{number}"))
        });
        verdicts.extend(meets);
        verdicts
    }

    fn deleted(&self) -> String {
        match &self.delete_when {
            Some(expression) => format!("coalesce(({expression}), false)"),
            None => "false".to_owned(),
        }
    }

    async fn plan(
        &self,
        context: &SessionContext,
        statement: Statement,
    ) -> Result<DataFrame, SqlError> {
        let failed = |e| SqlError::of(&self.what, e);
        let plan = context
            .state()
            .statement_to_plan(DfStatement::Statement(Box::new(statement)))
            .await
            .map_err(failed)?;
        context.execute_logical_plan(plan).await.map_err(failed)
    }

    fn with_columns(
        &self,
        mut statement: Statement,
        added: &[(String, String)],
    ) -> Result<Statement, SqlError> {
        if let Some(select) = select_of(&mut statement) {
            // A row that deletes its key passes, whatever the filter says.
            if let (Some(filter), Some(_)) = (&select.selection, &self.delete_when) {
                let either = format!("({filter}) OR {}", self.deleted());
                select.selection = Some(expression(&self.what, &either)?);
            }
            for (sql, alias) in added {
                let expr = expression(&self.what, sql)?;
                let alias = Ident::with_quote('"', alias);
                select.projection.push(SelectItem::ExprWithAlias { expr, alias });
            }
        }
        Ok(statement)
    }

    fn check_functions(&self, plan: &LogicalPlan) -> Result<(), SqlError> {
        let mut wrong = None;
        plan.apply_with_subqueries(|node| {
            let allowed = matches!(
                node,
                LogicalPlan::Projection(_)
                    | LogicalPlan::Filter(_)
                    | LogicalPlan::TableScan(_)
                    | LogicalPlan::SubqueryAlias(_)
            );
            if !allowed {
                wrong.get_or_insert(node.display().to_string());
            }
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    match part {
                        Expr::ScalarFunction(f)
                            if f.func.signature().volatility != Volatility::Immutable =>
                        {
                            wrong.get_or_insert(format!("{}() is not immutable", f.name()));
                        }
                        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => {
                            wrong.get_or_insert(part.to_string());
                        }
                        _ => {}
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })
        .map_err(|e| SqlError::of(&self.what, e))?;
        match wrong {
            None => Ok(()),
            Some(what) => Err(self.not_allowed(format!(
                "`{what}`: a silver select works row by row (projection, filter, immutable functions)"
            ))),
        }
    }

    fn not_allowed(&self, why: String) -> SqlError {
        SqlError::NotAllowed { what: self.what.clone(), why }
    }
}

/// The bronze columns that make these output columns.
fn sources(selected: &LogicalPlan, outputs: &[String]) -> BTreeSet<String> {
    let mut sources = BTreeSet::new();
    for output in outputs {
        let made = match selected {
            LogicalPlan::Projection(of) => {
                of.expr.iter().find(|expr| expr.schema_name().to_string() == *output)
            }
            _ => None,
        };
        match made {
            Some(expr) => sources.extend(expr.column_refs().into_iter().map(|c| c.name.clone())),
            // It is the column of that name.
            None => drop(sources.insert(output.clone())),
        }
    }
    sources
}

/// The SQL that finds rows of which a cell of these columns was rescued, alone or with its whole row.
/// In JSON a quote inside a text is escaped, so the pattern finds keys only.
fn misfit(bronze: &SchemaRef, sources: &BTreeSet<String>) -> String {
    let has = |name: &str| bronze.field_with_name(name).is_ok();
    let mut conditions = Vec::new();
    for source in sources.iter().filter(|source| has(RESCUED) && has(source)) {
        let key = source.replace('\'', "''").replace('_', "\\_");
        conditions.push(format!("{RESCUED} LIKE '%\"{key}\":%'"));
        let whole = ["record", "text"].map(|key| format!("{RESCUED} LIKE '%\"\\_{key}\":%'"));
        conditions.push(format!("({} IS NULL AND ({}))", quoted(source), whole.join(" OR ")));
    }
    match conditions.is_empty() {
        true => "false".to_owned(),
        false => format!("coalesce({}, false)", conditions.join(" OR ")),
    }
}

fn list(schema: &SchemaRef) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.join(", ")
}

fn default_select(bronze: &SchemaRef) -> String {
    let columns: Vec<String> = bronze
        .fields()
        .iter()
        .filter(|f| !NOT_SELECTED.contains(&f.name().as_str()))
        .map(|f| quoted(f.name()))
        .collect();
    format!("SELECT {} FROM {BRONZE}", columns.join(", "))
}

fn select_of(statement: &mut Statement) -> Option<&mut datafusion::sql::sqlparser::ast::Select> {
    match statement {
        Statement::Query(query) => match query.body.as_mut() {
            SetExpr::Select(select) => Some(select),
            _ => None,
        },
        _ => None,
    }
}

fn check_shape(what: &str, statement: &Statement) -> Result<(), SqlError> {
    let no = |why: &str| Err(SqlError::NotAllowed { what: what.to_owned(), why: why.to_owned() });
    let Statement::Query(query) = statement else { return no("write one SELECT") };
    if query.with.is_some() || query.order_by.is_some() {
        return no("WITH and ORDER BY are not supported");
    }
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return no("LIMIT would make silver depend on the order of arrival");
    }
    let SetExpr::Select(select) = query.body.as_ref() else {
        return no("UNION and other set operations are not supported");
    };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if grouped || select.having.is_some() || select.distinct.is_some() || select.top.is_some() {
        return no("GROUP BY, HAVING, DISTINCT and TOP do not work row by row");
    }
    let from_bronze = match select.from.as_slice() {
        [one] if one.joins.is_empty() => matches!(
            &one.relation,
            TableFactor::Table { name, args: None, .. } if name.to_string().eq_ignore_ascii_case(BRONZE)
        ),
        _ => false,
    };
    if !from_bronze {
        return no("it must read FROM bronze and from no other table");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_row_by_row_is_refused_before_anything_runs() {
        for sql in [
            "SELECT count(*) FROM bronze GROUP BY a",
            "SELECT DISTINCT a FROM bronze",
            "SELECT a FROM bronze LIMIT 1",
            "SELECT a FROM bronze ORDER BY a",
            "SELECT a FROM bronze UNION SELECT a FROM bronze",
            "SELECT a FROM silver",
            "SELECT a FROM bronze JOIN bronze b ON true",
            "WITH x AS (SELECT 1) SELECT a FROM bronze",
            "DELETE FROM bronze",
            "SELECT 1; SELECT 2",
        ] {
            assert!(Rowwise::parse("t", Some(sql), None).is_err(), "{sql}");
        }
        assert!(
            Rowwise::parse("t", Some("SELECT lower(a) AS a FROM bronze WHERE b > 1"), None).is_ok()
        );
        assert!(Rowwise::parse("t", None, Some("op = 'D') OR (1 = 1")).is_err());
    }
}
