//! Types of columns that are not declared, from the first rows of a file.
//!
//! Careful rather than clever: a type is chosen only when every value of the sample has it and holds
//! all of its digits. So `007`, `1e5` and numbers of more digits than a double has stay text; the
//! trailing zero of `9.50` does not make it one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};

/// The type of a sampled string column: boolean, long, double, date, timestamptz, or else string.
pub fn infer(column: &ArrayRef) -> DataType {
    let texts = column.as_string::<i32>();
    let values: Vec<&str> = texts.iter().flatten().filter(|text| !text.is_empty()).collect();
    if values.is_empty() {
        return DataType::Utf8;
    }
    // Two quotes are no number: see `typed`.
    let column: &ArrayRef = &match values.len() < texts.len() - texts.null_count() {
        true => {
            Arc::new(texts.iter().map(|v| v.filter(|v| !v.is_empty())).collect::<StringArray>())
        }
        false => column.clone(),
    };
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let candidates: [(LooksLike, DataType); 5] = [
        (is_boolean, DataType::Boolean),
        (is_integer, DataType::Int64),
        (is_fraction, DataType::Float64),
        (is_date, DataType::Date32),
        (is_timestamp, timestamp),
    ];
    candidates
        .into_iter()
        .find(|(looks_like, kind)| values.iter().all(|v| looks_like(v)) && fits(column, kind))
        .map_or(DataType::Utf8, |(_, kind)| kind)
}

type LooksLike = fn(&str) -> bool;

fn fits(column: &ArrayRef, kind: &DataType) -> bool {
    cast_with_options(column, kind, &CastOptions { safe: true, ..Default::default() })
        .is_ok_and(|typed| typed.null_count() == column.null_count())
}

fn is_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

/// Digits that print back as they are: no leading zeros, no plus.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain && (digits == "0" && text == "0" || !digits.starts_with('0'))
}

/// A number that a double certainly holds: at most 15 digits.
fn is_fraction(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits <= 15 && (is_integer(text) || has_fraction(text))
}

fn has_fraction(text: &str) -> bool {
    let Some((whole, fraction)) = text.strip_prefix('-').unwrap_or(text).split_once('.') else {
        return false;
    };
    let all_digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    is_integer(whole) && all_digits
}

fn is_date(text: &str) -> bool {
    let shape = |(i, b): (usize, u8)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}

fn is_timestamp(text: &str) -> bool {
    text.len() >= 16
        && text.is_char_boundary(10)
        && is_date(&text[..10])
        && matches!(text.as_bytes()[10], b'T' | b' ')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::infer;
    use crate::lake::type_name;

    fn inferred(values: &[Option<&str>]) -> String {
        let column: arrow::array::ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        type_name(&infer(&column))
    }

    #[test]
    fn types_are_inferred_carefully() {
        for (values, kind) in [
            (vec![Some("1"), None, Some("-20")], "long"),
            (vec![Some("007")], "string"),
            (vec![Some("9223372036854775808")], "string"),
            (vec![Some("0.12345678901234567")], "string"),
            (vec![Some("1.5"), Some("2")], "double"),
            (vec![Some("1e5")], "string"),
            (vec![Some("9.50"), Some("-0.5")], "double"),
            (vec![Some("nan")], "string"),
            (vec![Some("TRUE"), Some("false")], "boolean"),
            (vec![Some("1"), Some("true")], "string"),
            (vec![Some("2013-01-01")], "date"),
            (vec![Some("2013-13-01")], "string"),
            (vec![Some("2013-01-01T10:00:00Z")], "timestamptz"),
            (vec![Some("2013-01-01 10:00:00")], "timestamptz"),
            (vec![None, None], "string"),
            (vec![Some("+1")], "string"),
            (vec![Some("-0")], "string"),
            (vec![Some(""), Some("7")], "long"),
            (vec![Some("")], "string"),
        ] {
            assert_eq!(inferred(&values), kind, "{values:?}");
        }
    }
}
