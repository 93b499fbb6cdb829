//! Which columns of a sample identify a row: a guess that is made only with a reason.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::format::RawBatch;

/// Columns that identify a row, and why; none where no column is named like a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyGuess {
    pub(super) columns: Vec<String>,
    pub(super) reason: String,
}

/// Words that a key is called by, alone or at the end of its name.
const WORDS: [&str; 14] = [
    "id", "key", "uuid", "guid", "code", "nr", "no", "num", "number", "sku", "isbn", "iban",
    "email", "symbol",
];

/// Guesses by the sample: the first column that is named like a key and has no value twice; else the first
/// few such columns that together have none. A measure is never a key.
pub(super) fn guess(columns: &[(String, DataType)], sample: &RawBatch) -> Option<KeyGuess> {
    let is_like = |(_, (name, kind)): &(usize, &(String, DataType))| {
        is_named_like_a_key(name) && matches!(kind, DataType::Int64 | DataType::Utf8)
    };
    let like: Vec<usize> = columns.iter().enumerate().filter(is_like).map(|(at, _)| at).collect();
    let one = like.iter().find(|at| unique(sample, &[**at])).map(|at| vec![*at]);
    let several = || (2..=like.len()).map(|n| like[..n].to_vec()).find(|few| unique(sample, few));
    let found = one.or_else(several)?;
    let (rows, named) = (sample.rows(), if found.len() == 1 { "is" } else { "are" });
    Some(KeyGuess {
        columns: found.iter().map(|at| columns[*at].0.clone()).collect(),
        reason: format!(
            "{named} named like a key, and unique in the first rows ({rows}): check it"
        ),
    })
}

fn is_named_like_a_key(name: &str) -> bool {
    WORDS.iter().any(|word| {
        name.strip_suffix(word).is_some_and(|before| before.is_empty() || before.ends_with('_'))
    })
}

/// Whether no two rows have the same values there, and none lacks one.
fn unique(sample: &RawBatch, columns: &[usize]) -> bool {
    let texts = columns.iter().map(|at| cast(&sample.columns[*at], &DataType::Utf8).ok());
    let Some(texts) = texts.collect::<Option<Vec<_>>>() else { return false };
    let mut seen = HashSet::new();
    (0..sample.rows()).all(|row| {
        let cell = |texts: &'_ ArrayRef| {
            let texts = texts.as_string::<i32>();
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        let cells: Option<Vec<String>> = texts.iter().map(cell).collect();
        cells.is_some_and(|cells| seen.insert(cells))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;

    fn guessed<const ROWS: usize>(columns: &[(&str, DataType, [&str; ROWS])]) -> Vec<String> {
        let sample = RawBatch {
            columns: columns
                .iter()
                .map(|(_, _, values)| Arc::new(StringArray::from(values.to_vec())) as ArrayRef)
                .collect(),
            said: vec![],
            late: vec![],
            misfits: StringArray::new_null(ROWS),
            misshapen: 0,
            first_row: 1,
        };
        let named: Vec<(String, DataType)> =
            columns.iter().map(|(name, kind, _)| ((*name).to_owned(), kind.clone())).collect();
        guess(&named, &sample).map(|guess| guess.columns).unwrap_or_default()
    }

    #[test]
    fn a_key_is_guessed_only_with_a_reason() {
        let of = |name: &'static str, kind: &DataType, values: [&'static str; 2]| {
            (name, kind.clone(), values)
        };
        let (text, number, float) = (DataType::Utf8, DataType::Int64, DataType::Float64);
        let none: [String; 0] = [];
        assert_eq!(guessed(&[of("name", &text, ["a", "b"]), of("qty", &number, ["1", "2"])]), none);
        let order = [of("customer_id", &number, ["7", "7"]), of("order_no", &text, ["A", "B"])];
        assert_eq!(guessed(&order), ["order_no"]);
        let line = [
            ("order_id", number.clone(), ["7", "7", "8"]),
            ("line_no", number.clone(), ["1", "2", "1"]),
        ];
        assert_eq!(guessed(&line), ["order_id", "line_no"]);
        assert_eq!(guessed(&[of("id", &float, ["1.5", "2.5"])]), none);
        assert_eq!(guessed(&[of("id", &number, ["1", "1"])]), none);
        assert_eq!(guessed(&[of("paid", &text, ["a", "b"])]), none);
    }
}
