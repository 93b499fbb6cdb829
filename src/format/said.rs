//! What a file itself says about the type of a column, and what follows from it for a new one.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::Format;
use super::cast::{holds_all, is_integer};
use super::feed::Feed;
use super::infer::{ORDER_SCALE, PRECISION, Role, infer, is_padded, scale_of_amounts, timestamp};
use super::notation::Notation;

/// What the sample of a file says about the type of a column, beyond its texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Said {
    /// Nothing: a CSV file does not distinguish numbers from texts.
    #[default]
    Nothing,
    /// All values are written as numbers.
    Numbers,
    /// All values are written as booleans.
    Booleans,
    /// Some values are written as texts, or they are of several kinds.
    Texts,
    /// The values have this type.
    Type(DataType),
}

/// The type of a new column: as declared, else as its values have it; none where there are none.
pub(super) fn new_kind(
    feed: &Feed,
    (name, format): (&str, Format),
    values: Option<(&ArrayRef, &Said)>,
) -> Option<DataType> {
    if let Some(declared) = feed.declared(name) {
        return Some(declared.clone());
    }
    let (values, said) = values?;
    let is_known = matches!(said, Said::Type(_)) || values.null_count() < values.len();
    is_known.then(|| kind_of(values, said, feed.role(name), &feed.notation_in(format, name)))
}

/// The type of the values of a column. What is written as a text becomes no number, and what is written as a number needs no
/// care that it might be a text of digits.
fn kind_of(column: &ArrayRef, said: &Said, role: Role, notation: &Notation) -> DataType {
    match said {
        Said::Nothing => infer(column, role, notation),
        Said::Numbers => number(column, role, notation),
        Said::Booleans => DataType::Boolean,
        Said::Texts => match infer(column, role, notation) {
            time if time == DataType::Date32 || time == timestamp() => time,
            _ => DataType::Utf8,
        },
        Said::Type(kind) => kind.clone(),
    }
}

/// The first type that holds every number of a column: long, double, a decimal, or else string. Numbers of a key are
/// never doubles; those that order are decimals.
fn number(column: &ArrayRef, role: Role, notation: &Notation) -> DataType {
    let texts = column.as_string::<i32>();
    let values: Vec<&str> = texts.iter().flatten().collect();
    let amounts = || scale_of_amounts(&values).map(|scale| DataType::Decimal128(PRECISION, scale));
    let candidates = match role {
        _ if values.iter().all(|value| is_integer(value)) => vec![DataType::Int64],
        Role::Key => vec![],
        Role::Order => vec![DataType::Decimal128(38, ORDER_SCALE)],
        Role::Plain if values.iter().any(|value| is_padded(value)) => {
            amounts().into_iter().collect()
        }
        Role::Plain => [DataType::Float64].into_iter().chain(amounts()).collect(),
    };
    let found = candidates.into_iter().find(|kind| holds_all(column, kind, notation));
    found.unwrap_or(DataType::Utf8)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;
    use crate::lake::type_name;

    fn kind(values: &[&str], said: Said, role: Role) -> String {
        let column: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        type_name(&kind_of(&column, &said, role, &Notation::default()))
    }

    #[test]
    fn numbers_have_the_first_type_that_holds_them_all() {
        for (values, plain, key, order) in [
            (vec!["1", "-20"], "long", "long", "long"),
            (vec!["1", "1.0"], "double", "string", "decimal(38,9)"),
            (vec!["1.299"], "double", "string", "decimal(38,9)"),
            (vec!["0.1", "1e-7", "1E+30"], "double", "string", "string"),
            (vec!["0.30000000000000004"], "double", "string", "string"),
            (vec!["3.3333333333333334e-8"], "double", "string", "string"),
            (vec!["NaN", "Infinity", "-Infinity", "1.5"], "double", "string", "string"),
            (vec!["1.123456789123456789"], "string", "string", "string"),
            (vec!["9.50", "0.25"], "decimal(18,2)", "string", "decimal(38,9)"),
            (vec!["18446744073709551615"], "string", "string", "string"),
            (vec!["1", "18446744073709551615"], "string", "string", "string"),
            (vec!["1e400"], "string", "string", "string"),
        ] {
            for (role, expected) in [(Role::Plain, plain), (Role::Key, key), (Role::Order, order)] {
                assert_eq!(kind(&values, Said::Numbers, role), expected, "{values:?}, {role:?}");
            }
        }
    }

    #[test]
    fn texts_are_times_or_texts_and_never_numbers() {
        for (values, expected) in [
            (vec!["7", "8"], "string"),
            (vec!["true"], "string"),
            (vec!["2026-01-31"], "date"),
            (vec!["2026-01-31T10:00:00Z"], "timestamptz"),
            (vec!["2026-01-31", "7"], "string"),
        ] {
            assert_eq!(kind(&values, Said::Texts, Role::Plain), expected, "{values:?}");
        }
        assert_eq!(kind(&["true"], Said::Booleans, Role::Plain), "boolean");
    }
}
