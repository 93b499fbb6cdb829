//! What is expected of the rows of a silver table: SQL over a row of bronze and the columns that `select` makes of it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, SelectItem, SetExpr, Statement, visit_expressions_mut,
};

use super::SqlError;
use super::parse::{expression, name_of, quoted};

/// What happens when a row does not meet an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFail {
    /// The row goes to quarantine.
    #[default]
    Quarantine,
    /// Nothing is merged.
    Fail,
    /// The row is merged, and counted.
    Warn,
}

/// An expectation. A row meets it unless it is false, or fails: of what is unknown, nothing is expected.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Its name.
    pub name: String,
    /// Its SQL, as it was written.
    pub sql: String,
    /// See [`OnFail`].
    pub on_fail: OnFail,
    expression: SqlExpr,
}

impl Expectation {
    /// Parses one.
    pub fn parse(name: &str, sql: &str, on_fail: OnFail) -> Result<Self, SqlError> {
        let expression = expression(&format!("the expectation `{name}`"), sql)?;
        Ok(Self { name: name.to_owned(), sql: sql.to_owned(), on_fail, expression })
    }
}

/// The columns that a `SELECT` makes, by name, as expressions over what it selects from.
#[derive(Debug)]
pub(super) struct Outputs(HashMap<String, SqlExpr>);

impl Outputs {
    pub(super) fn of(statement: &Statement) -> Self {
        let Statement::Query(query) = statement else { return Self(HashMap::new()) };
        let SetExpr::Select(select) = query.body.as_ref() else { return Self(HashMap::new()) };
        let named = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((name_of(alias), expr.clone())),
            SelectItem::UnnamedExpr(expr @ SqlExpr::Identifier(name)) => {
                Some((name_of(name), expr.clone()))
            }
            SelectItem::UnnamedExpr(expr @ SqlExpr::CompoundIdentifier(parts)) => {
                Some((name_of(parts.last()?), expr.clone()))
            }
            // Another expression has no name, and a wildcard stands for columns that are called the same in bronze.
            _ => None,
        });
        Self(named.collect())
    }

    /// An output column as SQL over bronze.
    pub(super) fn column(&self, name: &str) -> String {
        self.0.get(name).map_or_else(|| quoted(name), |made| format!("({made})"))
    }

    /// An expectation over bronze alone. A name stands for the output column, and where there is none, for the one of
    /// bronze.
    pub(super) fn in_bronze(&self, expectation: &Expectation) -> SqlExpr {
        let mut resolved = expectation.expression.clone();
        // After its parts: what replaces a name is not looked at again.
        let visited = visit_expressions_mut(&mut resolved, |part| {
            let made = match &*part {
                SqlExpr::Identifier(name) => self.0.get(&name_of(name)),
                _ => None,
            };
            if let Some(made) = made {
                *part = SqlExpr::Nested(Box::new(made.clone()));
            }
            ControlFlow::<()>::Continue(())
        });
        match visited {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => resolved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::statement;
    use super::*;

    #[test]
    fn names_are_those_of_select_and_then_those_of_bronze() {
        let select = "SELECT id, lower(mail) AS mail, b.sum AS Amount, \"Name\" FROM bronze b";
        let outputs = Outputs::of(&statement("it", select).unwrap());
        for (sql, over_bronze) in [
            ("mail LIKE '%@%'", "(lower(mail)) LIKE '%@%'"),
            ("amount >= 0 AND country = 'NL'", "(b.sum) >= 0 AND country = 'NL'"),
            ("b.mail = MAIL", "b.mail = (lower(mail))"),
            ("Name IS NULL", "Name IS NULL"),
            ("\"Name\" IS NULL", "(\"Name\") IS NULL"),
        ] {
            let expectation = Expectation::parse("it", sql, OnFail::Warn).unwrap();
            assert_eq!(outputs.in_bronze(&expectation).to_string(), over_bronze);
        }
        assert_eq!(outputs.column("mail"), "(lower(mail))");
        assert_eq!(outputs.column("country"), "\"country\"");
    }
}
