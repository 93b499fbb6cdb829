//! CSV files of other projects: silversmith, Python's `csv` and DuckDB read the same, or [`ODD`] says what differs, and
//! why silversmith is right. No file of theirs is in this repository: `files.sh` fetches them.

mod odd;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array, AsArray};
use serde_json::{Value, json};
use silversmith::format::csv::Dialect;
use silversmith::format::encoding::Encoding;
use silversmith::format::feed::Feed;
use silversmith::format::layout::{check_without_rows, lay_out};
use silversmith::format::{self, FormatError, FormatSettings, Limits};

use super::python;
use odd::ODD;

/// A file that is not simply read as the others read it.
struct Odd {
    file: &'static str,
    /// Why silversmith refuses it under the default settings.
    refused: Option<&'static str>,
    /// The settings that it needs. None: there are none for it, or it needs none.
    settings: Option<fn(&mut Dialect)>,
    /// What differs under these settings, see [`differences`].
    differs: &'static [&'static str],
    /// Why silversmith is right.
    why: &'static str,
}

/// What is read of a file: its header and its rows, and what of a row is rescued, by its number.
struct Contents {
    records: Vec<Vec<String>>,
    rescued: Vec<(usize, String)>,
}

/// What is in a folder of the fetched files, and may be read as CSV; by the path in it, in order.
fn files(folder: &Path) -> Vec<String> {
    let mut files = BTreeSet::new();
    for entry in walkdir::WalkDir::new(folder) {
        let path = entry.unwrap().into_path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_text =
            path.file_name().is_some_and(|name| name == "event-notification-rpt-lastmonth.txt");
        if is_text || matches!(extension, Some("csv" | "tsv" | "gz" | "bz2" | "xls" | "xlsx")) {
            files.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
        }
    }
    files.into_iter().collect()
}

/// Reads a file as a pipeline without a table does. Empty texts and nulls are the same, as the others do not tell them
/// apart.
fn read(path: &Path, dialect: &Dialect) -> Result<Contents, FormatError> {
    let input = Box::new(std::fs::File::open(path).unwrap());
    let settings = FormatSettings::Csv(dialect.clone());
    let mut reader = format::open(&settings, input, Limits::default())?;
    let (delimiter, header) = (char::from(dialect.delimiter), dialect.header);
    let feed = Feed { delimiter, header, ..Feed::default() };
    match reader.sample() {
        Some(_) => drop(lay_out(&*reader, &feed, None)?),
        None => check_without_rows(&*reader, &feed, None)?,
    }
    let mut contents = Contents { records: vec![], rescued: vec![] };
    if header && !reader.originals().is_empty() {
        contents.records.push(reader.originals().to_vec());
    }
    while let Some(batch) = reader.next_batch()? {
        let columns: Vec<_> =
            batch.columns.iter().map(|column| column.as_string::<i32>()).collect();
        for row in 0..batch.rows() {
            let cell = |texts: &&arrow::array::StringArray| {
                if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
            };
            contents.records.push(columns.iter().map(cell).collect());
            if batch.misfits.is_valid(row) {
                let row_number = batch.first_row as usize + row;
                contents.rescued.push((row_number, batch.misfits.value(row).to_owned()));
            }
        }
    }
    Ok(contents)
}

/// The records that csv-spectrum says a file of it holds.
fn expected(folder: &Path, file: &str, header: &[String]) -> Option<Value> {
    let name = file.strip_prefix("csv-spectrum/csvs/")?.strip_suffix(".csv")?;
    let path = folder.join(format!("csv-spectrum/json/{name}.json"));
    let objects: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let objects = objects.as_array().cloned().unwrap_or(vec![objects]);
    let mut records = vec![json!(header)];
    for object in objects {
        assert_eq!(object.as_object().unwrap().len(), header.len(), "{file}");
        records.push(header.iter().map(|key| object[key].clone()).collect());
    }
    Some(records.into())
}

/// What another reader reads otherwise: the number of records, or records by their number. The header is record 0,
/// where there is one.
fn differences(reader: &str, ours: &[Vec<String>], theirs: &Value) -> Vec<String> {
    let Some(theirs) = theirs.as_array() else {
        return vec![format!("{reader} refuses it: {}", theirs.as_str().unwrap())];
    };
    let mut found = vec![];
    if theirs.len() != ours.len() {
        found.push(format!("{reader} has {} records, silversmith {}", theirs.len(), ours.len()));
    }
    for (number, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
        if *theirs != json!(ours) {
            found.push(format!("record {number}: {reader} {theirs}, silversmith {}", json!(ours)));
        }
    }
    found
}

/// What the others make of files that silversmith reads in these dialects.
fn others(folder: &Path, cases: &[(&str, Dialect, Contents)]) -> Vec<Value> {
    let cases = cases.iter().map(|(file, dialect, contents)| {
        json!({
            "file": folder.join(file), "delimiter": char::from(dialect.delimiter).to_string(),
            "quote": dialect.quote.map(|quote| char::from(quote).to_string()),
            "encoding": encoding(folder, file, dialect), "skip": dialect.skip_lines,
            "width": contents.records.first().map_or(1, Vec::len),
        })
    });
    let scratch = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(scratch.path(), cases.collect::<Value>().to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/conformance.py");
    let output = Command::new(python()).arg(script).arg(scratch.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Python's name for the encoding: it has to be given what silversmith finds by the byte order mark.
fn encoding(folder: &Path, file: &str, dialect: &Dialect) -> &'static str {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    match dialect.encoding == Encoding::Utf8 {
        true if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") => "utf-16",
        true => "utf-8-sig",
        false => "cp1252",
    }
}

#[test]
fn files_of_other_projects_are_read_as_python_and_duckdb_read_them() {
    let folder = PathBuf::from(crate::contract::backings::setting("SILVERSMITH_TEST_FILES"));
    let (files, mut wrong, mut cases) = (files(&folder), vec![], vec![]);
    assert!(files.len() > 120, "{files:?}");
    for odd in ODD {
        assert!(files.iter().any(|file| file == odd.file), "{} is not there", odd.file);
    }
    let odd = |file: &str| ODD.iter().find(|odd| odd.file == file);
    for file in &files {
        let (path, mut dialect) = (folder.join(file), Dialect::default());
        let by_default = read(&path, &dialect);
        let refused = by_default.as_ref().err().map(|error| error.reason().to_string());
        if refused.as_deref() != odd(file).and_then(|odd| odd.refused) {
            wrong.push(format!("{file}: refused: {refused:?}"));
        }
        let set = odd(file).and_then(|odd| odd.settings);
        set.iter().for_each(|set| set(&mut dialect));
        match if set.is_some() { read(&path, &dialect) } else { by_default } {
            Ok(contents) => cases.push((file.as_str(), dialect, contents)),
            Err(_) if set.is_none() => {}
            Err(error) => wrong.push(format!("{file}: with its settings: {error}")),
        }
    }
    for ((file, _, contents), theirs) in cases.iter().zip(others(&folder, &cases)) {
        let ours = &contents.records;
        let mut found = differences("python", ours, &theirs["python"]);
        found.extend(differences("duckdb", ours, &theirs["duckdb"]));
        let expected = ours.first().and_then(|header| expected(&folder, file, header));
        found.extend(expected.iter().flat_map(|it| differences("csv-spectrum", ours, it)));
        found.extend(
            contents.rescued.iter().map(|(row, text)| format!("row {row} rescued: {text}")),
        );
        let (known, why) = odd(file).map_or((&[][..], ""), |odd| (odd.differs, odd.why));
        if found != known {
            wrong.push(format!("{file} ({why}):\n  {}", found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
