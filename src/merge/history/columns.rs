//! The columns that a history adds to a table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use crate::lake::{Table, TableSchema};
use crate::merge::{MergeError, MergeRules};

/// When a version begins: the first column of the order.
pub const VALID_FROM: &str = "valid_from";
/// When it ends: where the next version, or a delete, begins. Null where there is none.
pub const VALID_TO: &str = "valid_to";
/// Whether it is the newest version of its key, and the key is not deleted.
pub const IS_CURRENT: &str = "is_current";
/// All of them.
pub const COLUMNS: [&str; 3] = [VALID_FROM, VALID_TO, IS_CURRENT];

/// The column of a history that has this name, whatever its case: other engines do not distinguish them.
pub fn taken(name: &str) -> Option<&'static str> {
    COLUMNS.into_iter().find(|own| own.eq_ignore_ascii_case(name))
}

/// Checks that rows leave the names of a history free.
///
/// # Errors
/// [`MergeError::Columns`] when they do not.
pub fn check_free<'a>(
    rules: &MergeRules,
    mut names: impl Iterator<Item = &'a String>,
) -> Result<(), MergeError> {
    match names.find(|name| taken(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(MergeError::Columns {
            table: rules.table.clone(),
            why: format!(
                "its rows have a column `{name}`, and history = \"scd2\" makes a column of that name; give it another name in `select`"
            ),
        }),
    }
}

/// The columns of the rows, and those of their history.
pub(in crate::merge) fn with_history(
    rules: &MergeRules,
    rows: &Schema,
) -> Result<Schema, MergeError> {
    check_free(rules, rows.fields().iter().map(|field| field.name()))?;
    let time = rules.order.first().and_then(|first| rows.field_with_name(first).ok());
    let time = time.map_or(DataType::Utf8, |field| field.data_type().clone());
    let mut fields: Vec<FieldRef> = rows.fields().iter().cloned().collect();
    fields.extend([
        Arc::new(Field::new(VALID_FROM, time.clone(), true)),
        Arc::new(Field::new(VALID_TO, time, true)),
        Arc::new(Field::new(IS_CURRENT, DataType::Boolean, true)),
    ]);
    Ok(Schema::new(fields))
}

/// Checks that the rows of a target say when they end, in the type of the order.
///
/// # Errors
/// [`MergeError::Columns`] when they do not.
pub(in crate::merge) fn check_target(
    rules: &MergeRules,
    target: &Table,
    schema: &TableSchema,
    from_nothing: bool,
) -> Result<(), MergeError> {
    let kind = |schema: &TableSchema, name: &str| {
        schema.arrow().field_with_name(name).map(|field| field.data_type().clone()).ok()
    };
    let has_rows = !from_nothing && target.current().is_some();
    let missing = COLUMNS.into_iter().find(|name| kind(target.schema(), name).is_none());
    let why = if let Some(name) = missing.filter(|_| has_rows) {
        format!("it has rows and no column `{name}`, which history = \"scd2\" needs")
    } else {
        let of_order = rules.order.first().and_then(|first| kind(schema, first));
        match [VALID_FROM, VALID_TO].into_iter().find(|name| kind(schema, name) != of_order) {
            None => return Ok(()),
            Some(name) => format!(
                "its column `{name}` has another type than `{}`",
                rules.order.first().map_or("", String::as_str)
            ),
        }
    };
    Err(MergeError::Columns {
        table: rules.table.clone(),
        why: format!(
            "{why}; name another table in the configuration, or run `silversmith silver --rebuild`, which replaces all its rows"
        ),
    })
}
