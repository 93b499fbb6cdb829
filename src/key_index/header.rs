//! The header of an index: a small file that says what the index is for and which runs it has. It is renamed last, so
//! that it names complete runs only. What does not read as a header of this very index is not believed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{KeyIndexError, disk};

/// The header's file.
pub(super) const HEADER: &str = "header";
/// Where the next header is written.
pub(super) const NEXT: &str = "header.next";
/// Changes whenever the bytes of runs mean something else.
const FORMAT: u32 = 1;

/// What an index is for: another table, or keys or orders of other columns, make another index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The table's UUID.
    pub table: String,
    /// The key columns.
    pub keys: Vec<Column>,
    /// The columns of what else its entries say.
    pub order: Vec<Column>,
}

/// A column: a renamed one stays the same, and one whose type was widened does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its field id.
    pub id: String,
    /// Its type.
    pub kind: String,
}

/// A run, as the header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NamedRun {
    pub(super) id: u64,
    pub(super) entries: u64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    format: u32,
    /// The version of silversmith: comparable bytes are those of its libraries.
    program: String,
    pub(super) definition: Definition,
    /// What hashes are keyed with.
    pub(super) secret: String,
    pub(super) next_run: u64,
    pub(super) next_file: u32,
    pub(super) runs: Vec<NamedRun>,
    /// Live files that were not covered at some look-up, and were left to a scan.
    pub(super) waiting: Vec<String>,
}

impl Header {
    /// That of an empty index.
    pub(super) fn new(definition: Definition, secret: String) -> Self {
        Self {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            definition,
            secret,
            next_run: 1,
            next_file: 1,
            runs: vec![],
            waiting: vec![],
        }
    }

    /// The header in a folder.
    ///
    /// # Errors
    /// It is missing, damaged, or of another index.
    pub(super) fn read(folder: &Path, definition: &Definition) -> Result<Self, KeyIndexError> {
        let path = folder.join(HEADER);
        let damaged = |why| KeyIndexError::Damaged { path: path.clone(), why };
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => damaged("it is not text"),
            _ => disk("reading", &path)(error),
        })?;
        let (checksum, json) =
            text.split_once('\n').ok_or_else(|| damaged("it has no checksum"))?;
        if checksum != checksum_of(json) {
            return Err(damaged("it does not match its checksum"));
        }
        let header: Self = serde_json::from_str(json).map_err(|_| damaged("it cannot be read"))?;
        let expected = Self::new(definition.clone(), String::new());
        if (header.format, &header.program) != (expected.format, &expected.program) {
            return Err(damaged("another version of silversmith wrote it"));
        }
        if header.definition != *definition {
            return Err(damaged("it is of another table, or of other keys or another order"));
        }
        Ok(header)
    }

    /// Replaces the header in a folder, at once.
    pub(super) fn write(&self, folder: &Path) -> Result<(), KeyIndexError> {
        let (next, path) = (folder.join(NEXT), folder.join(HEADER));
        let json = serde_json::to_string(self).map_err(std::io::Error::from);
        let json = json.map_err(disk("describing", &path))?;
        let text = format!("{}\n{json}", checksum_of(&json));
        fs::write(&next, text).map_err(disk("writing", &next))?;
        fs::rename(&next, &path).map_err(disk("replacing", &path))
    }
}

fn checksum_of(json: &str) -> String {
    format!("{:08x}", crc32fast::hash(json.as_bytes()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn definition(table: &str) -> Definition {
        let column = |id: &str| Column { id: id.to_owned(), kind: "Int64".to_owned() };
        Definition { table: table.to_owned(), keys: vec![column("1")], order: vec![column("2")] }
    }

    fn written(folder: &TempDir) -> Header {
        let mut header = Header::new(definition("t"), "secret".to_owned());
        header.runs.push(NamedRun { id: 1, entries: 5 });
        header.write(folder.path()).unwrap();
        header
    }

    #[test]
    fn a_header_reads_back_and_is_replaced_at_once() {
        let folder = TempDir::new().unwrap();
        let mut header = written(&folder);
        assert_eq!(Header::read(folder.path(), &definition("t")).unwrap(), header);
        header.next_run = 9;
        // A crash before the rename leaves the old one.
        fs::write(folder.path().join(NEXT), "half of a hea").unwrap();
        assert_eq!(Header::read(folder.path(), &definition("t")).unwrap().next_run, 1);
        header.write(folder.path()).unwrap();
        assert_eq!(Header::read(folder.path(), &definition("t")).unwrap(), header);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn what_is_not_of_this_index_is_refused() {
        let folder = TempDir::new().unwrap();
        let header = written(&folder);
        let other = Definition { order: vec![], ..definition("t") };
        for wrong in [definition("u"), other] {
            let error = Header::read(folder.path(), &wrong).unwrap_err().to_string();
            assert!(error.contains("of another table"), "{error}");
        }
        for older in [
            Header { format: 0, ..header.clone() },
            Header { program: "0.0.1".to_owned(), ..header.clone() },
        ] {
            older.write(folder.path()).unwrap();
            let error = Header::read(folder.path(), &definition("t")).unwrap_err().to_string();
            assert!(error.contains("another version"), "{error}");
        }
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let folder = TempDir::new().unwrap();
        written(&folder);
        let path = folder.path().join(HEADER);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(Header::read(folder.path(), &definition("t")).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(Header::read(folder.path(), &definition("t")).is_err(), "{at} bytes");
        }
        fs::remove_file(&path).unwrap();
        assert!(Header::read(folder.path(), &definition("t")).is_err());
    }
}
