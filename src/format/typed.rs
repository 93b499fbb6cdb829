//! String columns → typed columns; what does not fit its type is rescued.

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use serde_json::{Map, Value};

use super::cast::cast_text;
use super::layout::Layout;
use super::{FormatError, RawBatch};

/// Rows with their types.
#[derive(Debug)]
pub struct TypedBatch {
    /// The columns that go to the table, by name.
    pub columns: Vec<(String, ArrayRef)>,
    /// For each row: what did not fit, as JSON; null for most.
    pub rescued: StringArray,
    /// The `_source_row` of the first row.
    pub first_row: u64,
    /// The first column with a cell that does not fit its type, and the `_source_row` of that.
    pub misfit: Option<(String, u64)>,
}

impl TypedBatch {
    /// Rows of which something was rescued.
    pub fn rescued_rows(&self) -> usize {
        self.rescued.len() - self.rescued.null_count()
    }
}

/// Casts a batch as the layout says. Nothing is lost: a cell that is not of its column's type is
/// null there, and is in the row's JSON under the column's name.
pub fn typed(raw: RawBatch, layout: &Layout) -> Result<TypedBatch, FormatError> {
    let mut columns = Vec::with_capacity(layout.names.len());
    // Columns that lost cells: (name, text, what was kept of it).
    let mut losses: Vec<(&str, &StringArray, Option<ArrayRef>)> = Vec::new();
    let mut misfit = None;
    let columns_of = layout.names.iter().zip(&layout.kinds).zip(&layout.notations);
    for (((name, kind), notation), text) in columns_of.zip(&raw.columns) {
        let Some(kind) = kind else {
            losses.push((name, text.as_string::<i32>(), None));
            continue;
        };
        let values = cast_text(text, kind, notation)?;
        if values.null_count() > text.null_count() {
            let lost = |row: &usize| text.is_valid(*row) && values.is_null(*row);
            let row = (0..text.len()).find(lost).unwrap_or_default() as u64;
            misfit = misfit.or_else(|| Some((name.clone(), raw.first_row + row)));
            losses.push((name, text.as_string::<i32>(), Some(values.clone())));
        }
        columns.push((name.clone(), values));
    }
    let rescued = if losses.is_empty() { raw.misfits } else { rescue(&raw.misfits, &losses) };
    Ok(TypedBatch { columns, rescued, first_row: raw.first_row, misfit })
}

fn rescue(misfits: &StringArray, losses: &[(&str, &StringArray, Option<ArrayRef>)]) -> StringArray {
    let mut rescued = StringBuilder::new();
    for row in 0..misfits.len() {
        if misfits.is_valid(row) {
            rescued.append_value(misfits.value(row));
            continue;
        }
        let mut cells = Map::new();
        for (name, text, kept) in losses {
            let lost = kept.as_ref().is_none_or(|values| values.is_null(row));
            if text.is_valid(row) && lost {
                cells.insert((*name).to_owned(), Value::from(text.value(row)));
            }
        }
        if cells.is_empty() {
            rescued.append_null();
        } else {
            rescued.append_value(Value::Object(cells).to_string());
        }
    }
    rescued.finish()
}
