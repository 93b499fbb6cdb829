//! One SELECT over tables of the lake, parsed before any of them is read: the SQL of a gold table.

use std::sync::Arc;

use datafusion::catalog::MemorySchemaProvider;
use datafusion::datasource::TableProvider;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;

use super::references::{self, At, References};
use super::{SqlError, dialect};
use crate::lake::TableName;

/// A SELECT, and the tables that it names. See the module.
#[derive(Debug)]
pub struct TableQuery {
    what: String,
    statement: Statement,
    references: References,
}

impl TableQuery {
    /// Parses a SELECT. `what` is the subject of errors. A name of one part must be one of `bare`, or a WITH query of
    /// the statement.
    ///
    /// # Errors
    /// [`SqlError`] where it is no SELECT, names a version of a table, or a table without its namespace.
    pub fn parse(what: &str, sql: &str, bare: &[&str]) -> Result<Self, SqlError> {
        let mut statements = dialect::parse(what, sql)?;
        let (Some(mut statement @ Statement::Query(_)), true) =
            (statements.pop(), statements.is_empty())
        else {
            return Err(SqlError::not_allowed(what, "write one SELECT"));
        };
        let references = references::replace(what, &mut statement)?;
        if !references.changes.is_empty() {
            return Err(SqlError::not_allowed(
                what,
                "it follows its tables, so it cannot read changes",
            ));
        }
        if references.tables.iter().any(|table| table.at != At::Now) {
            let why = "it follows its tables, so it cannot name a version of one";
            return Err(SqlError::not_allowed(what, why));
        }
        let known =
            |name: &&String| bare.contains(&name.as_str()) || references.with.contains(name);
        if let Some(unknown) = references.bare.iter().find(|name| !known(name)) {
            let known: Vec<_> = bare.iter().map(|name| format!("`{name}` or ")).collect();
            let why = format!(
                "there is no table `{unknown}`: write {}a table with its namespace, such as silver.{unknown}",
                known.concat()
            );
            return Err(SqlError::not_allowed(what, why));
        }
        Ok(Self { what: what.to_owned(), statement, references })
    }

    /// The tables that it names with their namespaces, each once.
    pub fn tables(&self) -> Vec<TableName> {
        let mut tables: Vec<TableName> = Vec::new();
        let plain = self.references.plain.iter();
        let plain = plain.map(|(namespace, name)| TableName::new(namespace.clone(), name.clone()));
        let others = self.references.tables.iter().map(|reference| table_name(&reference.name));
        for table in plain.chain(others) {
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        tables
    }

    /// Whether it names this one part. A WITH query of that name may be meant.
    pub fn names(&self, bare: &str) -> bool {
        self.references.bare.iter().any(|name| name == bare)
    }

    /// Plans it. `rows` has the rows of each of its tables; what it names by one part is registered in the session.
    ///
    /// # Errors
    /// [`SqlError`] where it does not fit the tables' columns.
    pub async fn plan(
        self,
        context: &SessionContext,
        mut rows: impl FnMut(&TableName) -> Result<Arc<dyn TableProvider>, SqlError>,
    ) -> Result<DataFrame, SqlError> {
        let failed = |e| SqlError::of(&self.what, e);
        for reference in &self.references.tables {
            let rows = rows(&table_name(&reference.name))?;
            context.register_table(&reference.registered, rows).map_err(failed)?;
        }
        let catalog = context.state().config_options().catalog.default_catalog.clone();
        let catalog = context.catalog(&catalog);
        for (namespace, name) in &self.references.plain {
            let Some(catalog) = &catalog else { continue };
            if catalog.schema(namespace).is_none() {
                let schema = Arc::new(MemorySchemaProvider::new());
                catalog.register_schema(namespace, schema).map_err(failed)?;
            }
            if let Some(schema) = catalog.schema(namespace).filter(|s| !s.table_exist(name)) {
                let table = TableName::new(namespace.clone(), name.clone());
                schema.register_table(name.clone(), rows(&table)?).map_err(failed)?;
            }
        }
        let statement = DfStatement::Statement(Box::new(self.statement));
        let plan = context.state().statement_to_plan(statement).await.map_err(failed)?;
        context.execute_logical_plan(plan).await.map_err(failed)
    }
}

fn table_name(parts: &[String]) -> TableName {
    match parts.split_last() {
        Some((table, namespace)) => TableName::new(namespace.join("."), table.clone()),
        None => TableName::new(String::new(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sql: &str) -> Result<TableQuery, SqlError> {
        TableQuery::parse("gold table g.t: its SQL", sql, &["silver"])
    }

    #[test]
    fn the_tables_of_a_query_are_known_before_it_is_planned() {
        let sql = "WITH big AS (SELECT * FROM silver WHERE n > 9) SELECT * FROM big b \
                   JOIN Silver.Customers c ON b.id = c.id JOIN ref.lands l ON l.id = c.land \
                   WHERE b.id IN (SELECT id FROM \"Other\".\"Table\") AND c.id NOT IN (SELECT id FROM ref.lands)";
        let query = parsed(sql).unwrap();
        let names: Vec<String> = query.tables().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["silver.customers", "ref.lands", "Other.Table"]);
        assert!(query.names("silver"));
        assert!(!parsed("SELECT * FROM silver.orders").unwrap().names("silver"));
    }

    #[test]
    fn what_it_cannot_follow_is_refused_with_the_reason() {
        for (sql, why) in [
            ("SELECT * FROM orders", "there is no table `orders`: write `silver` or a table with"),
            ("SELECT * FROM silver.orders VERSION AS OF 7", "it cannot name a version"),
            ("CREATE TABLE x AS SELECT 1", "write one SELECT"),
            ("SELECT 1; SELECT 2", "write one SELECT"),
        ] {
            let error = crate::error::chain(&parsed(sql).unwrap_err());
            assert!(
                error.contains(why) || (why.starts_with("sql") && error.contains("AS OF")),
                "{error}"
            );
        }
    }
}
