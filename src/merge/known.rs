//! Rows in quarantine, as a merge compares its rows with them.

use std::collections::HashMap;

use arrow::array::{
    Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::lake::read::scan::FileTask;
use crate::lake::{Lake, LakeError, Table};

/// The columns of quarantine that say why a row is there, and what it is.
pub(super) const CONTENT: [&str; 3] = ["rule", "reason", "bronze_row"];
/// The columns of bronze that identify a row of it for ever.
pub(super) const IDENTITY: [&str; 4] =
    ["_source_uri", "_source_version", "_event_time", "_source_row"];

/// A hash of what identifies a row of bronze.
pub(super) type Print = [u8; 16];

/// What is known of a row.
#[derive(Debug)]
struct Entry {
    content: Print,
    goes: bool,
}

/// Rows in quarantine, by what identifies them. Memory follows their number: some 50 bytes for each.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Print, Entry>);

/// How a refused row compares with quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not there.
    New,
    /// It is there, with another reason or another content.
    Changed,
    /// It is there as it is.
    Same,
}

impl Known {
    /// Those of some files; with `rule`, those that it refused.
    pub(super) async fn read(
        lake: &Lake,
        quarantine: &Table,
        files: &[FileTask],
        rule: Option<&str>,
        threads: usize,
    ) -> Result<Self, LakeError> {
        let columns: Vec<String> =
            CONTENT.iter().chain(&IDENTITY).map(|column| (*column).to_owned()).collect();
        let schema = quarantine.schema();
        let mut rows = lake.read_files(quarantine, schema, files.to_vec(), &columns, threads);
        let mut known = HashMap::new();
        while let Some(batch) = rows.try_next().await? {
            for (row, print) in prints(&batch, "").into_iter().enumerate() {
                let said = CONTENT.map(|column| cell(text(&batch, column), row));
                if rule.is_none_or(|rule| said[0] == Some(rule)) {
                    let content = content(said);
                    known.insert(print.unwrap_or(content), Entry { content, goes: false });
                }
            }
        }
        Ok(Self(known))
    }

    /// Which rows of a batch are known. What identifies them is in columns with this prefix.
    pub(super) fn among(&self, batch: &RecordBatch, prefix: &str) -> BooleanArray {
        let prints = prints(batch, prefix).into_iter();
        prints.map(|print| Some(print.is_some_and(|print| self.0.contains_key(&print)))).collect()
    }

    /// How a row compares that is refused for this reason. What changes goes from where it is.
    pub(super) fn refused(&mut self, print: Option<Print>, said: [Option<&str>; 3]) -> Standing {
        let content = content(said);
        match self.0.get_mut(&print.unwrap_or(content)) {
            None => Standing::New,
            Some(entry) if entry.content == content => Standing::Same,
            Some(entry) => {
                entry.goes = true;
                Standing::Changed
            }
        }
    }

    /// Notes that a row is not refused.
    pub(super) fn passed(&mut self, print: &Print) {
        if let Some(entry) = self.0.get_mut(print) {
            entry.goes = true;
        }
    }

    /// Those that go from quarantine.
    pub(super) fn going(mut self) -> Self {
        self.0.retain(|_, entry| entry.goes);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What identifies each row, in columns with this prefix. None for a row that another program has appended, without
/// its source: that is known by its content.
pub(super) fn prints(batch: &RecordBatch, prefix: &str) -> Vec<Option<Print>> {
    let named = |column: &str| format!("{prefix}{column}");
    let [uri, version, time, number] = IDENTITY.map(named);
    let (uri, version) = (text(batch, &uri), text(batch, &version));
    let time: Option<&TimestampMicrosecondArray> =
        batch.column_by_name(&time).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    let number: Option<&Int64Array> =
        batch.column_by_name(&number).and_then(|c| c.as_primitive_opt::<Int64Type>());
    let print = |row: usize| {
        let time = time.filter(|times| times.is_valid(row)).map(|times| times.value(row));
        let number = number.filter(|n| n.is_valid(row)).map(|n| n.value(row))?;
        let numbers = format!("{time:?} {number}");
        Some(content([Some(cell(uri, row)?), cell(version, row), Some(&numbers)]))
    };
    (0..batch.num_rows()).map(print).collect()
}

/// A hash of texts, in which no two texts run into each other.
fn content(texts: [Option<&str>; 3]) -> Print {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hash.update(text.unwrap_or_default());
    }
    let mut print = Print::default();
    print.copy_from_slice(&hash.finalize()[..16]);
    print
}

fn text<'a>(batch: &'a RecordBatch, column: &str) -> Option<&'a StringArray> {
    batch.column_by_name(column)?.as_string_opt::<i32>()
}

fn cell(texts: Option<&StringArray>, row: usize) -> Option<&str> {
    texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
}
