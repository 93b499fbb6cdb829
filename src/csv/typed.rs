//! String columns → typed columns; what does not fit its type is rescued.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use serde_json::{Map, Value};

use super::CsvError;
use super::layout::Layout;
use super::reader::RawBatch;

/// Rows with their types.
#[derive(Debug)]
pub struct TypedBatch {
    /// The columns that go to the table, by name.
    pub columns: Vec<(String, ArrayRef)>,
    /// For each row: what did not fit, as JSON; null for most.
    pub rescued: StringArray,
    /// The number of the first row, counted from 1.
    pub first_row: u64,
}

impl TypedBatch {
    /// Rows of which something was rescued.
    pub fn rescued_rows(&self) -> usize {
        self.rescued.len() - self.rescued.null_count()
    }
}

/// Casts a batch as the layout says. Nothing is lost: a cell that is not of its column's type is
/// null there and stands in the row's JSON under the column's name.
pub fn typed(raw: RawBatch, layout: &Layout) -> Result<TypedBatch, CsvError> {
    let mut columns = Vec::with_capacity(layout.names.len());
    // Columns of which cells have to be looked at: (name, text, what was kept of it).
    let mut losses: Vec<(&str, &StringArray, Option<ArrayRef>)> = Vec::new();
    for ((name, kind), text) in layout.names.iter().zip(&layout.kinds).zip(&raw.columns) {
        let Some(kind) = kind else {
            losses.push((name, text.as_string::<i32>(), None));
            continue;
        };
        let values = cast_text(text, kind)?;
        if values.null_count() > text.null_count() {
            losses.push((name, text.as_string::<i32>(), Some(values.clone())));
        }
        columns.push((name.clone(), values));
    }
    let rescued = if losses.is_empty() { raw.misfits } else { rescue(&raw.misfits, &losses) };
    Ok(TypedBatch { columns, rescued, first_row: raw.first_row })
}

fn cast_text(text: &ArrayRef, kind: &DataType) -> Result<ArrayRef, CsvError> {
    if kind == &DataType::Utf8 {
        return Ok(text.clone());
    }
    let safe = CastOptions { safe: true, ..Default::default() };
    let text = match kind {
        DataType::Decimal128(_, scale) => &within_scale(text, *scale),
        _ => text,
    };
    let values = cast_with_options(text, kind, &safe)?;
    if values.null_count() == text.null_count() {
        return Ok(values);
    }
    // Padded fields are common, and blanks around a number mean nothing.
    let strings = text.as_string::<i32>().iter();
    let trimmed: ArrayRef = Arc::new(strings.map(|v| v.map(str::trim)).collect::<StringArray>());
    Ok(cast_with_options(&trimmed, kind, &safe)?)
}

/// Arrow rounds a decimal with too many digits; that would lose what the file says.
fn within_scale(text: &ArrayRef, scale: i8) -> ArrayRef {
    let fits = |value: &&str| {
        let fraction = value.trim().split_once('.').map_or("", |(_, fraction)| fraction);
        fraction.trim_end_matches('0').len() <= scale.max(0) as usize
    };
    Arc::new(text.as_string::<i32>().iter().map(|v| v.filter(fits)).collect::<StringArray>())
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
