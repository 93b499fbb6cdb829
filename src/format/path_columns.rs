//! Columns that stand in the path of a file: `year=2024/month=01/part.csv`, as Hive writes them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use percent_encoding::percent_decode_str;

use super::names::{loosely, new_names, numbered};
use super::{Format, FormatError, RawBatch, RowReader};

/// What Hive writes for null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A file with the columns of its path after its own.
#[derive(Debug)]
struct PathColumns {
    reader: Box<dyn RowReader>,
    names: Vec<String>,
    originals: Vec<String>,
    /// The values of the path; none is a null.
    values: Vec<Option<String>>,
    sample: Option<RawBatch>,
}

/// The same file with the `key=value` folders of its URI as columns. A file's own column of that header
/// stays what it is, and its own names are those that its misfits have.
pub(super) fn with_path_columns(reader: Box<dyn RowReader>, uri: &str) -> Box<dyn RowReader> {
    let own: Vec<String> = reader.originals().iter().map(|header| loosely(header)).collect();
    let mut columns = columns_of(uri);
    columns.retain(|(key, _)| !own.contains(&loosely(key)));
    // A file without any content has no columns.
    if columns.is_empty() || own.is_empty() {
        return reader;
    }
    let (keys, values): (Vec<String>, Vec<Option<String>>) = columns.into_iter().unzip();
    let taken: HashSet<&str> = reader.names().iter().map(String::as_str).collect();
    let new = new_names(&numbered(keys.iter().map(String::as_str)), &taken);
    let names: Vec<String> = reader.names().iter().cloned().chain(new).collect();
    let originals: Vec<String> = reader.originals().iter().cloned().chain(keys).collect();
    let sample = reader.sample().cloned();
    let mut file = PathColumns { reader, names, originals, values, sample: None };
    file.sample = sample.map(|sample| file.extended(sample));
    Box::new(file)
}

/// Keys and values of the folders; of a key that is repeated, the innermost.
fn columns_of(uri: &str) -> Vec<(String, Option<String>)> {
    let folders = uri.rsplit_once('/').map_or("", |(folders, _)| folders);
    let mut columns: Vec<(String, Option<String>)> = Vec::new();
    for (key, value) in folders.split('/').filter_map(|folder| folder.split_once('=')) {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (key, value) = (decoded(key), (value != NULL).then(|| decoded(value)));
        columns.retain(|(before, _)| *before != key);
        if !key.is_empty() {
            columns.push((key, value));
        }
    }
    columns
}

impl PathColumns {
    fn extended(&self, mut batch: RawBatch) -> RawBatch {
        let rows = batch.rows();
        batch.columns.extend(self.values.iter().map(|value| {
            let values = std::iter::repeat_n(value.as_deref(), rows);
            Arc::new(values.collect::<StringArray>()) as ArrayRef
        }));
        batch
    }
}

impl RowReader for PathColumns {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn originals(&self) -> &[String] {
        &self.originals
    }

    fn own(&self) -> usize {
        self.reader.own()
    }

    fn format(&self) -> Format {
        self.reader.format()
    }

    fn sample(&self) -> Option<&RawBatch> {
        self.sample.as_ref()
    }

    fn next_batch(&mut self) -> Result<Option<RawBatch>, FormatError> {
        self.sample = None;
        let batch = self.reader.next_batch()?;
        Ok(batch.map(|batch| self.extended(batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FormatSettings, Input, Limits, open_at};
    use super::*;

    #[test]
    fn names_of_the_file_stay_beside_those_of_the_path() {
        let open = |path| {
            let input = Input::of_bytes(&b"Customer ID,n\nA\xFF,1\n"[..]);
            open_at(&FormatSettings::default(), input, Limits::default(), path).unwrap()
        };
        let (alone, mut reader) = (open(None), open(Some("raw/customer_id=7/x.csv")));
        assert_eq!(reader.originals(), ["Customer ID", "n", "customer_id"]);
        assert_eq!((alone.own(), reader.own()), (2, 2));
        assert_eq!(&reader.names()[..2], alone.names());
        assert!(reader.names()[2].starts_with("customer_id_"), "{:?}", reader.names());
        let name = reader.names()[0].clone();
        let batch = reader.next_batch().unwrap().unwrap();
        assert!(batch.misfits.value(0).contains(&format!("\"{name}\"")), "{:?}", batch.misfits);
    }

    #[test]
    fn folders_with_a_key_are_columns() {
        for (uri, columns) in [
            (
                "s3://raw/year=2024/month=01/a=b.csv",
                vec![("year", Some("2024")), ("month", Some("01"))],
            ),
            ("raw/city=S%C3%A3o Paulo/x.csv", vec![("city", Some("São Paulo"))]),
            ("raw/a=b=c/x.csv", vec![("a", Some("b=c"))]),
            ("raw/a=1/a=2/x.csv", vec![("a", Some("2"))]),
            ("raw/day=__HIVE_DEFAULT_PARTITION__/x.csv", vec![("day", None)]),
            ("raw/=1/2026/x.csv", vec![]),
            ("x.csv", vec![]),
        ] {
            let found = columns_of(uri);
            let found: Vec<(&str, Option<&str>)> =
                found.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            assert_eq!(found, columns, "{uri}");
        }
    }
}
