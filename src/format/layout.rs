//! Which column of a file goes where.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use super::infer::infer;
use super::{FormatError, RowReader};

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

/// For each column of a file, by its index: the table's column of that name, or none: `_rescued`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// The table's names for the file's columns.
    pub names: Vec<String>,
    /// The types that the table has for them.
    pub kinds: Vec<Option<DataType>>,
    /// Columns that the table lacks and gets, in the order of the file.
    pub new_columns: Vec<FieldRef>,
    /// Of these, the ones whose type is not declared, and that have no value in the sample.
    pub without_values: Vec<String>,
}

/// Lays out an opened file against the table's columns (`None`: there is no table yet, every column
/// is new). Types of new columns are as `declared`, else inferred from the sample.
pub fn lay_out(
    reader: &dyn RowReader,
    declared: &BTreeMap<String, DataType>,
    table: Option<&Schema>,
    change: SchemaChange,
) -> Result<Layout, FormatError> {
    let mut layout = Layout { names: reader.names().to_vec(), ..Layout::default() };
    for (index, name) in reader.names().iter().enumerate() {
        let present = table.and_then(|t| t.field_with_name(name).ok());
        let kind = match present {
            Some(field) => Some(field.data_type().clone()),
            None if table.is_some() && change == SchemaChange::Rescue => None,
            None if table.is_some() && change == SchemaChange::Fail => {
                return Err(FormatError::SchemaChanged(format!("column `{name}` is new")));
            }
            None => {
                let sample = reader.sample().map(|s| &s.columns[index]);
                let has_values = sample.is_some_and(|s| s.null_count() < s.len());
                let kind = match (declared.get(name), sample) {
                    (Some(declared), _) => declared.clone(),
                    (None, Some(sample)) if has_values => infer(sample),
                    (None, _) => {
                        layout.without_values.push(name.clone());
                        DataType::Utf8
                    }
                };
                let original = reader.originals().get(index).cloned().unwrap_or_default();
                layout.new_columns.push(field(name, kind.clone(), &original));
                Some(kind)
            }
        };
        layout.kinds.push(kind);
    }
    if change == SchemaChange::Fail
        && let Some(missing) = table.and_then(|t| missing(t, &layout.names))
    {
        return Err(FormatError::SchemaChanged(format!("column `{missing}` is missing")));
    }
    Ok(layout)
}

fn missing<'a>(table: &'a Schema, names: &[String]) -> Option<&'a str> {
    let mut columns = table.fields().iter().map(|f| f.name().as_str());
    columns.find(|c| !c.starts_with('_') && !names.iter().any(|n| n == c))
}

/// An optional column. Its documentation is the name that its header had, where that differs: tables
/// have had it in these words from the first version on.
fn field(name: &str, kind: DataType, original: &str) -> FieldRef {
    let field = Field::new(name, kind, true);
    Arc::new(if name == original {
        field
    } else {
        field.with_metadata([("doc".to_owned(), format!("CSV column `{original}`"))].into())
    })
}
