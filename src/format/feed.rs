//! What a pipeline says about the columns of its files.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::Format;
use super::infer::Role;
use super::notation::Notation;

/// What to do with columns that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SchemaChange {
    /// They are added to the table.
    #[default]
    Evolve,
    /// Their cells go to `_rescued`.
    Rescue,
    /// The object is rejected.
    Fail,
}

/// What to do with a cell that does not fit the type of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TypeChange {
    /// It is rescued.
    #[default]
    Rescue,
    /// It goes to a column of strings beside its own. Cells of a key or of the order are rescued all the same.
    NewColumn,
    /// The object is rejected.
    Fail,
}

/// What is said about one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnSettings {
    /// Its type; none: it is inferred.
    pub kind: Option<DataType>,
    /// Its header in the files; none: the column is found by the header that it began with.
    pub from: Option<String>,
    /// How its dates and times are written; none: as those of the other columns.
    pub formats: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Columns by their name in the table.
    pub columns: BTreeMap<String, ColumnSettings>,
    /// How numbers and times are written.
    pub notation: Notation,
    /// What to do about columns that come and go.
    pub change: SchemaChange,
    /// What to do about cells that do not fit.
    pub type_change: TypeChange,
    /// What parts the fields of a line of CSV, unless a file names another one.
    pub delimiter: char,
    /// Whether the first line names the columns.
    pub header: bool,
    /// Columns without which a file is rejected.
    pub required: Vec<String>,
    /// Columns that are parts of a key.
    pub keys: Vec<String>,
    /// Columns that say which row is newer.
    pub order: Vec<String>,
    /// Whether `key=value` folders of a file's path are columns of it.
    pub path_columns: bool,
    /// Columns that the table may have, silversmith's own not counted.
    pub max_columns: usize,
    /// Columns that one file may add to a table that exists.
    pub max_new_columns: usize,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            columns: BTreeMap::new(),
            notation: Notation::default(),
            change: SchemaChange::default(),
            type_change: TypeChange::default(),
            delimiter: ',',
            header: true,
            required: vec![],
            keys: vec![],
            order: vec![],
            path_columns: false,
            max_columns: 4_096,
            max_new_columns: 100,
        }
    }
}

impl Feed {
    /// The declared type of a column.
    pub fn declared(&self, column: &str) -> Option<&DataType> {
        self.columns.get(column)?.kind.as_ref()
    }

    /// How a column's values are written.
    pub fn notation(&self, column: &str) -> Notation {
        let mut notation = self.notation.clone();
        if let Some(said) = self.columns.get(column).filter(|said| !said.formats.is_empty()) {
            notation.formats.clone_from(&said.formats);
        }
        notation
    }

    /// How a column's values are written in files of a format: only CSV has several ways to write numbers.
    pub(super) fn notation_in(&self, format: Format, column: &str) -> Notation {
        let notation = self.notation(column);
        match format {
            Format::Csv => notation,
            Format::Json | Format::Parquet => Notation { decimal: '.', ..notation },
        }
    }

    /// What a column is for.
    pub fn role(&self, column: &str) -> Role {
        let has = |columns: &[String]| columns.iter().any(|name| name == column);
        match (has(&self.keys), has(&self.order)) {
            (true, _) => Role::Key,
            (false, true) => Role::Order,
            (false, false) => Role::Plain,
        }
    }
}
