//! Names of tables.

use std::fmt;
use std::str::FromStr;

use iceberg::TableIdent;

/// A table's full name: namespace levels and the table itself, as `namespace.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    namespace: String,
    table: String,
}

/// Why a text is not a table name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a table name: write namespace.table, in letters, digits and _")]
pub struct BadTableName(pub String);

impl TableName {
    /// A table of a namespace; the parts are not checked.
    pub fn new(namespace: impl Into<String>, table: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), table: table.into() }
    }

    /// The namespace, its levels joined by dots.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The table's own name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The table beside this one whose name ends in `suffix`: `bronze.orders` → `bronze.orders_objects`.
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self::new(self.namespace.clone(), format!("{}{suffix}", self.table))
    }

    pub(super) fn ident(&self) -> Result<TableIdent, iceberg::Error> {
        TableIdent::from_strs(self.namespace.split('.').chain([self.table.as_str()]))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.table)
    }
}

impl FromStr for TableName {
    type Err = BadTableName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match text.rsplit_once('.') {
            Some((namespace, table)) if plain(table) && namespace.split('.').all(plain) => {
                Ok(Self::new(namespace, table))
            }
            _ => Err(BadTableName(text.to_owned())),
        }
    }
}
