//! Text → a typed value, or null where the type cannot hold all of the text.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast, cast_with_options, not, nullif};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;

use super::notation::Notation;

/// A cast whose values are null where they do not have the type.
pub(super) const SAFE: CastOptions<'_> =
    CastOptions { safe: true, format_options: FormatOptions::new() };

/// Of a cast the values that the cast back shows to be whole, and for each row whether they are. The others are null.
pub(super) fn whole(
    values: &ArrayRef,
    cast: ArrayRef,
) -> Result<(ArrayRef, BooleanArray), ArrowError> {
    let back = cast_with_options(&cast, values.data_type(), &SAFE)?;
    let whole = not_distinct(values, &back)?;
    let cast = match whole.true_count() == whole.len() {
        true => cast,
        false => nullif(&cast, &not(&whole)?)?,
    };
    Ok((cast, whole))
}

/// Whether a type holds every text of a column.
pub(super) fn holds_all(text: &ArrayRef, kind: &DataType, notation: &Notation) -> bool {
    cast_text(text, kind, notation).is_ok_and(|values| values.null_count() == text.null_count())
}

/// The values of a column of texts, in their notation.
pub(super) fn cast_text(
    text: &ArrayRef,
    kind: &DataType,
    notation: &Notation,
) -> Result<ArrayRef, ArrowError> {
    if kind == &DataType::Utf8 {
        return Ok(text.clone());
    }
    if let Some(times) = notation.times(text, kind) {
        return Ok(times);
    }
    let zoned = notation.zoned(kind);
    let values = cast_plain(&notation.plain(text, kind), &zoned)?;
    if zoned == *kind { Ok(values) } else { cast(&values, kind) }
}

/// The values of texts as programs write them.
fn cast_plain(text: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let text = &faithful(text, kind)?;
    let values = cast_with_options(text, kind, &SAFE)?;
    if values.null_count() == text.null_count() {
        return Ok(values);
    }
    // Padded fields are common, and blanks around a number mean nothing.
    let strings = text.as_string::<i32>().iter();
    let trimmed: ArrayRef = Arc::new(strings.map(|v| v.map(str::trim)).collect::<StringArray>());
    cast_with_options(&trimmed, kind, &SAFE)
}

/// The texts that a type can hold without losing a digit; the others are null, and so rescued.
/// Arrow's casts would round a decimal, a double or a fraction of a second, and cut a time off a date.
fn faithful(text: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let fits: &dyn Fn(&str) -> bool = match kind {
        DataType::Decimal128(_, scale) => &|v| fraction(v).len() <= (*scale).max(0) as usize,
        DataType::Date32 => &|v| v.len() <= 10,
        // The zeros in front of an identifier are digits of it.
        DataType::Int32 | DataType::Int64 => &is_integer,
        DataType::Timestamp(..) | DataType::Time64(_) => &|v| fraction(v).len() <= 6,
        DataType::Float64 => &|v| holds::<f64>(v, 15),
        DataType::Float32 => &|v| holds::<f32>(v, 6),
        _ => return Ok(text.clone()),
    };
    let texts = text.as_string::<i32>();
    let misfits = BooleanBuffer::collect_bool(texts.len(), |row| {
        texts.is_valid(row) && !fits(texts.value(row).trim())
    });
    match misfits.count_set_bits() {
        0 => Ok(text.clone()),
        _ => nullif(text, &BooleanArray::from(misfits)),
    }
}

/// Digits that print back as they are: no leading zeros, no plus.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain && (digits == "0" && text == "0" || !digits.starts_with('0'))
}

/// The digits after the point, up to the first that is none, without zeros at their end.
fn fraction(text: &str) -> &str {
    let after = text.split_once('.').map_or("", |(_, after)| after);
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].trim_end_matches('0')
}

/// Whether a float holds a number: few digits it always holds, of many it has to print the same;
/// one that overflows it does not hold.
fn holds<N: FromStr + ToString + Copy + Into<f64>>(text: &str, few: usize) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let Ok(number) = text.parse::<N>() else { return digits <= few };
    let value: f64 = number.into();
    if !value.is_finite() {
        return digits == 0;
    }
    if value == 0.0 && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9')) {
        return false;
    }
    digits <= few
        || significant(text).is_some_and(|all| Some(all) == significant(&number.to_string()))
}

/// The digits of a number without zeros at either end, and which power of ten the first of them counts.
fn significant(text: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return Some((String::new(), 0));
    }
    let zeros = (all.len() - digits.len()) as i64;
    let first = (whole.len() as i64 - zeros).checked_add(exponent)?;
    Some((digits.trim_end_matches('0').to_owned(), first))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Float64Type, TimeUnit};

    use super::*;

    fn kept(kind: &DataType, text: &str) -> bool {
        let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
        cast_text(&column, kind, &Notation::default()).is_ok_and(|values| values.is_valid(0))
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
            (DataType::Float64, "-0.000000000000000000", true),
            (DataType::Float64, "12345678901234567e3", true),
            (DataType::Float64, "12345678901234567891e3", false),
            (DataType::Float64, "3.3333333333333334e-8", true),
            (DataType::Float64, "1.23456789012345678e-7", false),
            (DataType::Float64, "-0.00012345678901234567E+4", true),
            (DataType::Float64, "Infinity", true),
            (DataType::Float64, "0.1000000000000000000", true),
            (DataType::Float32, "1e-60", false),
            (DataType::Float32, "0.12345679", true),
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

    #[test]
    fn cells_that_do_not_fit_are_null_beside_those_that_do() {
        let texts = vec![Some("1.5"), None, Some("12345678901234567890"), Some(" 2 "), Some("x")];
        let column: ArrayRef = Arc::new(StringArray::from(texts));
        let values = cast_text(&column, &DataType::Float64, &Notation::default()).unwrap();
        let values: Vec<_> = values.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(values, [Some(1.5), None, None, Some(2.0), None]);
    }
}
