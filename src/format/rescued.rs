//! How much of a file may be rescued before it is refused: a file that does not fit is not of this feed, or is
//! written in another dialect.

use arrow::array::{Array, StringArray};
use serde_json::{Map, Value};

use super::FormatError;

/// Counts the rows of one file that did not fit.
#[derive(Debug, Default)]
pub struct Tally {
    rows: u64,
    /// Rows of which something was rescued.
    rescued: u64,
    /// Of these, the ones that have not the shape of the file's records.
    misshapen: u64,
    /// What does not fit of the first of them, without its text.
    first: Option<String>,
}

impl Tally {
    /// Adds the rows of a batch that begins with row `first_row`: the JSON of what was rescued of each, and
    /// how many of them have not the shape of the file's records.
    pub fn add(&mut self, rescued: &StringArray, misshapen: usize, first_row: u64) {
        self.rows += rescued.len() as u64;
        self.rescued += (rescued.len() - rescued.null_count()) as u64;
        self.misshapen += misshapen as u64;
        if self.first.is_none()
            && let Some(row) = (0..rescued.len()).find(|row| rescued.is_valid(*row))
        {
            let what = in_short(rescued.value(row));
            self.first = Some(format!("row {}: {what}", first_row + row as u64));
        }
    }

    /// Refuses the file where too many rows did not fit: more than the percentage `most`, or, without it, all of
    /// them have not the shape of the header.
    pub fn check(&self, most: Option<u8>) -> Result<(), FormatError> {
        let refused = match most {
            Some(most) => self.rescued * 100 > self.rows * u64::from(most),
            None => self.rows > 0 && self.misshapen == self.rows,
        };
        match refused {
            false => Ok(()),
            true => Err(FormatError::Rescued {
                rescued: self.rescued,
                rows: self.rows,
                first: self.first.clone().unwrap_or_default(),
            }),
        }
    }
}

/// The problem that a row has, or the columns of the cells that do not fit; never the text of a cell.
fn in_short(json: &str) -> String {
    let json: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    match json.get("_problem") {
        Some(problem) => problem.as_str().unwrap_or_default().to_owned(),
        None => json.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(rescued: &[Option<&str>], misshapen: usize) -> Tally {
        let mut tally = Tally::default();
        tally.add(&StringArray::from(rescued.to_vec()), misshapen, 11);
        tally
    }

    #[test]
    fn a_file_of_which_too_much_is_rescued_is_refused() {
        for (rescued, misshapen, most, fits) in [
            (vec![None, Some("{}")], 1, None, true),
            (vec![Some("{}"), Some("{}")], 1, None, true),
            (vec![Some("{}"), Some("{}")], 2, None, false),
            (vec![], 0, None, true),
            (vec![], 0, Some(0), true),
            (vec![None, Some("{}")], 0, Some(50), true),
            (vec![None, Some("{}")], 0, Some(49), false),
            (vec![Some("{}")], 1, Some(100), true),
        ] {
            let checked = tally(&rescued, misshapen).check(most);
            assert_eq!(checked.is_ok(), fits, "{rescued:?}, {misshapen}, {most:?}");
        }
        for (row, what) in [
            ("{\"a\":\"secret\",\"b\":\"x\"}", "a, b"),
            ("{\"_problem\":\"not UTF-8\",\"a\":\"secret\"}", "not UTF-8"),
        ] {
            let error = tally(&[None, Some(row)], 0).check(Some(0)).unwrap_err();
            let expected = "1 of 2 rows do not fit the header or the types; the first: row 12: ";
            assert_eq!(error.to_string(), format!("{expected}{what}"));
        }
    }
}
