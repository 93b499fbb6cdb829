//! The columns that a history adds to a table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use crate::lake::TableSchema;
use crate::merge::MergeError;
use crate::merge::rules::{COLUMNS, IS_CURRENT, MergeRules, VALID_FROM, VALID_TO};

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

/// Checks that the rows of a target say when they begin and end in the type of their order.
///
/// # Errors
/// [`MergeError::Columns`] when they do not.
pub(in crate::merge) fn check_types(
    rules: &MergeRules,
    schema: &TableSchema,
) -> Result<(), MergeError> {
    let kind = |name: &str| {
        schema.arrow().field_with_name(name).map(|field| field.data_type().clone()).ok()
    };
    let first = rules.order.first().map_or("", String::as_str);
    match [VALID_FROM, VALID_TO].into_iter().find(|name| kind(name) != kind(first)) {
        None => Ok(()),
        Some(name) => Err(MergeError::Columns {
            table: rules.table.clone(),
            why: format!(
                "its column `{name}` has another type than `{first}`; name another table in the configuration, or run `silversmith silver --rebuild`, which replaces all its rows"
            ),
        }),
    }
}
