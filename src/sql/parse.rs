//! The SQL of a pipeline's settings as syntax trees: one statement, or one expression.

use datafusion::sql::parser::{DFParser, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Ident, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::SqlError;

pub(super) fn statement(what: &str, sql: &str) -> Result<Statement, SqlError> {
    let mut statements = DFParser::parse_sql(sql).map_err(|e| SqlError::of(what, e))?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(DfStatement::Statement(statement)), true) => Ok(*statement),
        _ => {
            Err(SqlError::NotAllowed { what: what.to_owned(), why: "write one SELECT".to_owned() })
        }
    }
}

pub(super) fn expression(what: &str, sql: &str) -> Result<SqlExpr, SqlError> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| {
        let expr = parser.parse_expr()?;
        parser.expect_token(&Token::EOF)?;
        Ok(expr)
    });
    parsed.map_err(|e| SqlError::of(what, e.into()))
}

/// The name that an identifier stands for: without quotes it is in lower case.
pub(super) fn name_of(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// A column as an identifier.
pub(crate) fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}
