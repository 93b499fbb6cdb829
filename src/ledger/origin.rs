//! What the rows of bronze say of where they come from.

use arrow::array::{Array, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;

use super::rows::time;
use crate::source::ObjectId;

/// The column of bronze, and of silver, that names a row's object.
pub const URI: &str = "_source_uri";
/// The column that names the object's version.
pub const VERSION: &str = "_source_version";
/// The column with the object's LastModified.
pub const MODIFIED: &str = "_event_time";

/// The object versions that the rows of a batch come from.
#[derive(Debug)]
pub struct Origins<'a> {
    uri: &'a StringArray,
    version: &'a StringArray,
    modified: &'a TimestampMicrosecondArray,
}

impl<'a> Origins<'a> {
    /// The columns that say it.
    pub const COLUMNS: [&'static str; 3] = [URI, VERSION, MODIFIED];

    /// None where the batch lacks one of these columns.
    pub fn of(batch: &'a RecordBatch) -> Option<Self> {
        Self::named(batch, Self::COLUMNS)
    }

    /// The same in columns of other names.
    pub(super) fn named(
        batch: &'a RecordBatch,
        [uri, version, modified]: [&str; 3],
    ) -> Option<Self> {
        let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
        let modified = batch.column_by_name(modified)?;
        Some(Self {
            uri: text(uri)?,
            version: text(version)?,
            modified: modified.as_primitive_opt::<TimestampMicrosecondType>()?,
        })
    }

    /// The URI, the version and the second of LastModified of a row, which identify its object version. None where
    /// another program appended the row, and it has no source.
    pub fn at(&self, row: usize) -> Option<(&'a str, &'a str, i64)> {
        let is_known = self.uri.is_valid(row) && self.version.is_valid(row);
        let second = self.modified.value(row).div_euclid(1_000_000);
        is_known.then(|| (self.uri.value(row), self.version.value(row), second))
    }

    /// The object version of a row.
    pub fn id(&self, row: usize) -> Option<ObjectId> {
        let (uri, version, _) = self.at(row)?;
        let last_modified = time(self.modified.value(row));
        Some(ObjectId { uri: uri.to_owned(), version: version.to_owned(), last_modified })
    }
}
