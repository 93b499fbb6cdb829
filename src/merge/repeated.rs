//! Texts that many rows have, such as the address of their object: held once, however many batches bring them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int32Array, LargeStringArray, StringArray};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// What a text takes beside its bytes: the entries of the list and the map.
const ENTRY: usize = 96;

/// The texts of a column; rows have their numbers.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    texts: Vec<Arc<str>>,
    number_of: HashMap<Arc<str>, i32, ahash::RandomState>,
    bytes: usize,
    /// The texts as an array, once they are read back.
    array: OnceLock<LargeStringArray>,
}

impl Repeated {
    /// The numbers of texts; a null has none.
    pub(super) fn numbers(&mut self, texts: &StringArray) -> Int32Array {
        // Rows of one object come one after the other.
        let mut last: Option<(&str, i32)> = None;
        let number = |text: Option<_>| {
            let text: &str = text?;
            let number = match last {
                Some((same, number)) if same == text => number,
                _ => self.number(text),
            };
            last = Some((text, number));
            Some(number)
        };
        texts.iter().map(number).collect()
    }

    fn number(&mut self, text: &str) -> i32 {
        if let Some(number) = self.number_of.get(text) {
            return *number;
        }
        // As many as fit into memory, which is less.
        let number = i32::try_from(self.texts.len()).unwrap_or(i32::MAX);
        let text: Arc<str> = text.into();
        self.bytes += ENTRY + text.len();
        self.texts.push(text.clone());
        self.number_of.insert(text, number);
        self.array = OnceLock::new();
        number
    }

    /// The texts of numbers.
    pub(super) fn texts(&self, numbers: &Int32Array) -> Result<ArrayRef, ArrowError> {
        let all = self.array.get_or_init(|| self.texts.iter().map(Some).collect());
        cast(&take(all, numbers, None)?, &DataType::Utf8)
    }

    /// Forgets the texts that none of these numbers has; the rows' numbers from now on.
    pub(super) fn keep(&mut self, numbers: &[&Int32Array]) -> Vec<Int32Array> {
        let before = std::mem::take(self);
        let mut now: Vec<Option<i32>> = vec![None; before.texts.len()];
        let mut moved = |number: i32| {
            let at = number as usize;
            *now[at].get_or_insert_with(|| self.number(&before.texts[at]))
        };
        let of_rows = |numbers: &&Int32Array| numbers.iter().map(|n| n.map(&mut moved)).collect();
        numbers.iter().map(of_rows).collect()
    }

    /// The bytes that it takes, with those of the array.
    pub(super) fn memory(&self) -> usize {
        2 * self.bytes
    }

    /// The bytes of a text, on average.
    pub(super) fn mean(&self) -> usize {
        self.bytes / self.texts.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn rows_of_many_batches_share_their_texts_and_keep_them() {
        let texts = |texts: &[Option<&str>]| texts.iter().copied().collect::<StringArray>();
        let (one, two) =
            (texts(&[Some("a"), None, Some("b")]), texts(&[Some("b"), Some(""), Some("b")]));
        let mut all = Repeated::default();
        let numbers = [all.numbers(&one), all.numbers(&two)];
        assert_eq!(all.texts.len(), 3);
        for (texts, numbers) in [&one, &two].into_iter().zip(&numbers) {
            assert_eq!(all.texts(numbers).unwrap().as_string::<i32>(), texts);
        }
        let bytes = all.memory();
        let kept = all.keep(&[&numbers[1]]);
        assert_eq!(all.texts(&kept[0]).unwrap().as_string::<i32>(), &two);
        assert!(all.texts.len() == 2 && all.memory() < bytes, "`a` is forgotten");
    }
}
