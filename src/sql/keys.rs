//! What is known of tables beside what their metadata says.

use std::collections::HashMap;

use crate::lake::TableName;

/// The columns that identify a row of a table, of the tables where they are known: there a row that was
/// deleted and one that was inserted are an update. An extension of a session.
#[derive(Debug, Default)]
pub struct TableKeys(pub HashMap<TableName, Vec<String>>);
