//! Types of columns that are not declared, from the first rows of a file.
//!
//! Careful rather than clever: a type is chosen only when every value of the sample has it, and its cast
//! keeps every one of them. In doubt it is text: `007`, `1e5`, the version `1.10` among others like `1.9`,
//! `1.299` that may mean 1299, a time with nine digits after the second.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, TimeUnit};

use super::cast::{holds_all, is_integer};
use super::notation::Notation;

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is a part of a key: two texts are equal only if they are the same text.
    Key,
    /// It says which row is newer: values are compared, and must not be rounded.
    Order,
    /// Anything else.
    Plain,
}

/// The digits of a decimal that is inferred.
pub(super) const PRECISION: u8 = 18;
/// The digits after the point of a column that orders.
pub(super) const ORDER_SCALE: i8 = 9;

/// The type of a sampled string column: boolean, long, double, decimal, date, timestamptz, or else string.
pub fn infer(column: &ArrayRef, role: Role, notation: &Notation) -> DataType {
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
    let numbers: Option<Vec<String>> = values.iter().map(|value| notation.number(value)).collect();
    let numbers = numbers.unwrap_or_default();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let keeps = |kind: &DataType| holds_all(column, kind, notation);
    let all = |looks_like: fn(&str) -> bool| values.iter().all(|value| looks_like(value));
    let candidate = if all(is_boolean) {
        Some(DataType::Boolean)
    } else if all(is_integer) {
        Some(DataType::Int64)
    } else if !numbers.is_empty() && numbers.iter().all(|number| is_number(number)) {
        number(&numbers, role, notation)
    } else if !notation.formats.is_empty() {
        [DataType::Date32, timestamp()].into_iter().find(&keeps)
    } else if all(is_date) {
        Some(DataType::Date32)
    } else if all(is_timestamp) {
        Some(timestamp())
    } else {
        None
    };
    candidate.filter(keeps).unwrap_or(DataType::Utf8)
}

pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// The type of numbers of which some have a fraction; none where that would be a guess.
fn number(values: &[&str], role: Role, notation: &Notation) -> Option<DataType> {
    let fractions = values.iter().filter_map(|value| value.split_once('.'));
    let grouped = |(whole, fraction): (&str, &str)| {
        let whole = whole.trim_start_matches('-');
        whole != "0" && whole.len() <= 3 && fraction.len() == 3
    };
    match role {
        Role::Key => None,
        // In German, 1.299 is 1299.
        _ if notation.decimal == '.' && fractions.into_iter().all(grouped) => None,
        Role::Order => Some(DataType::Decimal128(38, ORDER_SCALE)),
        Role::Plain if values.iter().all(|value| prints_back(value)) => Some(DataType::Float64),
        // Amounts: `9.50` keeps its zero where all have the same digits after the point.
        Role::Plain => scale_of_amounts(values).map(|scale| DataType::Decimal128(PRECISION, scale)),
    }
}

/// The digits after the point, where all numbers of a column have as many.
pub(super) fn scale_of_amounts(values: &[&str]) -> Option<i8> {
    let scale = values.iter().find_map(|value| value.split_once('.'))?.1.len();
    let same = values.iter().all(|v| v.split_once('.').is_some_and(|v| v.1.len() == scale));
    i8::try_from(scale).ok().filter(|scale| same && *scale <= ORDER_SCALE)
}

fn is_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

/// Digits, and a point among them or none.
fn is_number(text: &str) -> bool {
    match text.split_once('.') {
        None => is_integer(text),
        Some((whole, fraction)) => {
            let digits = fraction.bytes().all(|b| b.is_ascii_digit()) && !fraction.is_empty();
            digits && (is_integer(whole) || whole == "-0")
        }
    }
}

/// A number that a double certainly holds, of at most 15 digits, and prints as it was.
fn prints_back(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() <= 15 && !is_padded(text)
}

/// Whether the last of several digits after the point is a zero, which a double does not print.
pub(super) fn is_padded(text: &str) -> bool {
    text.split_once('.').is_some_and(|(_, digits)| digits.len() > 1 && digits.ends_with('0'))
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

    use super::*;
    use crate::lake::type_name;

    fn inferred(values: &[&str], role: Role) -> String {
        let values: Vec<Option<&str>> =
            values.iter().map(|v| Some(*v).filter(|v| *v != "-")).collect();
        let column: ArrayRef = Arc::new(StringArray::from(values));
        type_name(&infer(&column, role, &Notation::default()))
    }

    #[test]
    fn a_declared_notation_is_inferred_by() {
        let notation =
            Notation { decimal: ',', formats: vec!["%d.%m.%Y".to_owned()], timezone: None };
        for (values, kind) in [
            (vec!["1,5", "2"], "double"),
            (vec!["9,50", "0,25"], "decimal(18,2)"),
            (vec!["1,299"], "double"),
            (vec!["1.299"], "string"),
            (vec!["31.01.2026"], "date"),
            (vec!["2026-01-31"], "string"),
        ] {
            let column: ArrayRef = Arc::new(StringArray::from(values.clone()));
            assert_eq!(type_name(&infer(&column, Role::Plain, &notation)), kind, "{values:?}");
        }
    }

    #[test]
    fn types_are_inferred_carefully() {
        for (values, kind) in [
            (vec!["1", "-", "-20"], "long"),
            (vec!["007"], "string"),
            (vec!["9223372036854775808"], "string"),
            (vec!["0.12345678901234567"], "string"),
            (vec!["1.5", "2"], "double"),
            (vec!["1.0", "2.25"], "double"),
            (vec!["-0.5", "0"], "double"),
            (vec!["1e5"], "string"),
            (vec!["9.50", "0.25"], "decimal(18,2)"),
            (vec!["9.50", "-0.5"], "string"),
            (vec!["1.9", "1.10", "1.11"], "string"),
            (vec!["1.299"], "string"),
            (vec!["1.299", "0.125"], "double"),
            (vec!["1.2.3"], "string"),
            (vec!["1,5"], "string"),
            (vec!["5%"], "string"),
            (vec!["nan"], "string"),
            (vec!["TRUE", "false"], "boolean"),
            (vec!["1", "true"], "string"),
            (vec!["2013-01-01"], "date"),
            (vec!["2013-13-01"], "string"),
            (vec!["01/02/2013"], "string"),
            (vec!["2013-01-01T10:00:00Z"], "timestamptz"),
            (vec!["2013-01-01 10:00:00"], "timestamptz"),
            (vec!["2013-01-01 10:00:00.123456"], "timestamptz"),
            (vec!["2013-01-01 10:00:00.123456789"], "string"),
            (vec!["-", "-"], "string"),
            (vec!["+1"], "string"),
            (vec!["-0"], "string"),
            (vec!["", "7"], "long"),
            (vec![""], "string"),
        ] {
            assert_eq!(inferred(&values, Role::Plain), kind, "{values:?}");
        }
    }

    #[test]
    fn keys_and_orders_are_never_floats() {
        for (values, key, order) in [
            (vec!["1.5", "2"], "string", "decimal(38,9)"),
            (vec!["1.10", "1.9"], "string", "decimal(38,9)"),
            (vec!["1700000000.1234567890"], "string", "decimal(38,9)"),
            (vec!["1700000000.1234567891"], "string", "string"),
            (vec!["7", "8"], "long", "long"),
        ] {
            assert_eq!(inferred(&values, Role::Key), key, "{values:?}");
            assert_eq!(inferred(&values, Role::Order), order, "{values:?}");
        }
    }
}
