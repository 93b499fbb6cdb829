//! String columns → typed columns; what does not fit its type is rescued.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use serde_json::{Map, Value};

use super::infer::is_integer;
use super::layout::Layout;
use super::{FormatError, RawBatch};

/// Rows with their types.
#[derive(Debug)]
pub struct TypedBatch {
    /// The columns that go to the table, by name.
    pub columns: Vec<(String, ArrayRef)>,
    /// For each row: what did not fit, as JSON; null for most.
    pub rescued: StringArray,
    /// Rows that have not the shape of the file's records.
    pub misshapen: usize,
    /// The `_source_row` of the first row.
    pub first_row: u64,
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
    let mut losses: Vec<Loss<'_>> = Vec::new();
    for ((name, kind), text) in layout.names.iter().zip(&layout.kinds).zip(&raw.columns) {
        let Some(kind) = kind else {
            losses.push((name, text.as_string::<i32>().clone(), None));
            continue;
        };
        let text = &with_values(text, kind);
        let values = cast_text(text, kind)?;
        if values.null_count() > text.null_count() {
            losses.push((name, text.as_string::<i32>().clone(), Some(values.clone())));
        }
        columns.push((name.clone(), values));
    }
    let rescued = if losses.is_empty() { raw.misfits } else { rescue(&raw.misfits, &losses)? };
    let (misshapen, first_row) = (raw.misshapen, raw.first_row);
    Ok(TypedBatch { columns, rescued, misshapen, first_row })
}

/// A column that lost cells: its name, its text, and what was kept of that.
type Loss<'a> = (&'a str, StringArray, Option<ArrayRef>);

/// An empty text is a value of a string column only: in any other it means null, as writers mean it that put
/// quotes around every cell.
fn with_values(text: &ArrayRef, kind: &DataType) -> ArrayRef {
    let texts = text.as_string::<i32>();
    let has_empty = || texts.iter().any(|value| value == Some(""));
    if kind == &DataType::Utf8 || !has_empty() {
        return text.clone();
    }
    Arc::new(texts.iter().map(|v| v.filter(|v| !v.is_empty())).collect::<StringArray>())
}

fn cast_text(text: &ArrayRef, kind: &DataType) -> Result<ArrayRef, FormatError> {
    if kind == &DataType::Utf8 {
        return Ok(text.clone());
    }
    let safe = CastOptions { safe: true, ..Default::default() };
    let text = &faithful(text, kind);
    let values = cast_with_options(text, kind, &safe)?;
    if values.null_count() == text.null_count() {
        return Ok(values);
    }
    // Padded fields are common, and blanks around a number mean nothing.
    let strings = text.as_string::<i32>().iter();
    let trimmed: ArrayRef = Arc::new(strings.map(|v| v.map(str::trim)).collect::<StringArray>());
    Ok(cast_with_options(&trimmed, kind, &safe)?)
}

/// The texts that a type can hold without losing a digit; the others are null, and so rescued.
/// Arrow's casts would round a decimal, a double or a fraction of a second, and cut a time off a date.
fn faithful(text: &ArrayRef, kind: &DataType) -> ArrayRef {
    let fits: &dyn Fn(&str) -> bool = match kind {
        DataType::Decimal128(_, scale) => &|v| fraction(v).len() <= (*scale).max(0) as usize,
        DataType::Date32 => &|v| v.len() <= 10,
        // The zeros in front of an identifier are digits of it.
        DataType::Int32 | DataType::Int64 => &is_integer,
        DataType::Timestamp(..) | DataType::Time64(_) => &|v| fraction(v).len() <= 6,
        DataType::Float64 => {
            &|v| holds(v, 15, |v| v.parse::<f64>().ok().map(|n| (n.is_finite(), n.to_string())))
        }
        DataType::Float32 => {
            &|v| holds(v, 6, |v| v.parse::<f32>().ok().map(|n| (n.is_finite(), n.to_string())))
        }
        _ => return text.clone(),
    };
    let texts = text.as_string::<i32>().iter();
    Arc::new(texts.map(|v| v.filter(|v| fits(v.trim()))).collect::<StringArray>())
}

/// The digits after the point, up to the first that is none, without zeros at their end.
fn fraction(text: &str) -> &str {
    let after = text.split_once('.').map_or("", |(_, after)| after);
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].trim_end_matches('0')
}

/// Whether a float holds a number: few digits it always holds, of many it has to print the same;
/// one that overflows it does not hold.
fn holds(text: &str, few: usize, parsed: impl Fn(&str) -> Option<(bool, String)>) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let Some((finite, printed)) = parsed(text) else { return digits <= few };
    if !finite {
        return digits == 0;
    }
    let is_zero = printed == "0" || printed == "-0";
    if is_zero && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9')) {
        return false;
    }
    let shown = match mantissa.split_once('.') {
        Some(_) => mantissa.trim_end_matches('0').trim_end_matches('.'),
        None => mantissa,
    };
    digits <= few || (mantissa == text && printed == shown)
}

fn rescue(misfits: &StringArray, losses: &[Loss<'_>]) -> Result<StringArray, FormatError> {
    let mut rescued = StringBuilder::new();
    for row in 0..misfits.len() {
        let mut cells: Map<String, Value> = match misfits.is_valid(row) {
            true => serde_json::from_str(misfits.value(row)).map_err(FormatError::Json)?,
            false => Map::new(),
        };
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
    Ok(rescued.finish())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn kept(kind: &DataType, text: &str) -> bool {
        let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
        cast_text(&column, kind).is_ok_and(|values| values.is_valid(0))
    }

    #[test]
    fn a_cast_that_would_lose_something_is_no_cast() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (kind, text, fits) in [
            (DataType::Date32, "2026-01-31", true),
            (DataType::Date32, "2026-01-31 10:00:00", false),
            (DataType::Float64, "0.30000000000000004", true),
            (DataType::Float64, "1.50", true),
            (DataType::Float64, "1e300", true),
            (DataType::Float64, "1e999", false),
            (DataType::Float64, "1e-400", false),
            (DataType::Float64, "0.00", true),
            (DataType::Int64, "02139", false),
            (DataType::Int64, "0", true),
            (DataType::Int32, "-7", true),
            (DataType::Float64, "12345678901234567890", false),
            (DataType::Float64, "NaN", true),
            (DataType::Float32, "0.1", true),
            (DataType::Float32, "16777217", false),
            (timestamp.clone(), "2026-01-31T10:00:00.123456", true),
            (timestamp.clone(), "2026-01-31T10:00:00.123456000", true),
            (timestamp, "2026-01-31T10:00:00.1234567", false),
            (DataType::Decimal128(5, 2), "1.250", true),
            (DataType::Decimal128(5, 2), "1.255", false),
            (DataType::Int64, " 7 ", true),
        ] {
            assert_eq!(kept(&kind, text), fits, "{text} as {kind}");
        }
    }
}
