//! Whether a file is of this feed at all. One that is not would change the table for ever.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Schema;

use super::feed::Feed;
use super::names::is_of_files;
use super::{Format, FormatError, RowReader};

/// Refuses a file that another delimiter parts, that has no header, that has none of the table's columns,
/// or that lacks a key. `names` are the table's names for its columns. Columns of its path make no file one of
/// the feed: all files of a folder have them.
pub(super) fn check(
    reader: &dyn RowReader,
    names: &[String],
    feed: &Feed,
    table: Option<&Schema>,
) -> Result<(), FormatError> {
    let (own, of_path) = names.split_at(reader.own());
    let headers = &reader.originals()[..reader.own()];
    let is_known = own.iter().any(|name| is_known(name, feed, table));
    let is_csv = reader.format() == Format::Csv;
    let has_header = feed.header || !is_csv;
    let may_be_one_field = match feed.header {
        true => !is_known,
        false => has_several(feed, table, of_path),
    };
    if is_csv && may_be_one_field {
        other_delimiter(reader, headers, feed)?;
    }
    let missing: Vec<&String> = feed.required.iter().filter(|key| !names.contains(key)).collect();
    // A file with all keys is of this feed, also where another has shaped the table.
    let has_keys = missing.is_empty() && feed.required.iter().any(|key| own.contains(key));
    if has_header && !has_keys && !is_known {
        check_first_line(reader, names, feed, table)?;
        if has_columns(table) {
            return Err(FormatError::OtherColumns { found: shown(headers) });
        }
    }
    if let Some(key) = missing.first() {
        let (key, found) = ((*key).clone(), shown(headers));
        return Err(FormatError::KeyMissing { key, found });
    }
    Ok(())
}

/// Refuses a file whose first line is data: that row would be lost as the names of columns.
pub(super) fn check_first_line(
    reader: &dyn RowReader,
    names: &[String],
    feed: &Feed,
    table: Option<&Schema>,
) -> Result<(), FormatError> {
    let (own, headers) = (&names[..reader.own()], &reader.originals()[..reader.own()]);
    let is_known = own.iter().any(|name| is_known(name, feed, table));
    let has_header_line = feed.header && reader.format() == Format::Csv;
    match has_header_line && !is_known && is_data(headers, has_columns(table)) {
        true => Err(FormatError::NoHeader { first: shown(headers) }),
        false => Ok(()),
    }
}

/// Whether a column is the table's, or the configuration names it: it is meant then, whatever its header looks like.
fn is_known(name: &str, feed: &Feed, table: Option<&Schema>) -> bool {
    table.is_some_and(|t| t.field_with_name(name).is_ok()) || feed.columns.contains_key(name)
}

/// The columns that files have brought to a table.
fn columns_of(table: Option<&Schema>) -> impl Iterator<Item = &String> {
    let fields = table.into_iter().flat_map(|t| t.fields());
    fields.filter(|field| is_of_files(field)).map(|field| field.name())
}

/// Whether there is a table with columns of its own.
fn has_columns(table: Option<&Schema>) -> bool {
    columns_of(table).next().is_some()
}

/// Whether files of the feed have several columns, as far as that is known: of one column the text may hold any
/// delimiter. Columns of the path are not in the file.
fn has_several(feed: &Feed, table: Option<&Schema>, of_path: &[String]) -> bool {
    let present = columns_of(table).filter(|name| !of_path.contains(name)).count();
    let declared = feed.columns.keys().filter(|name| !of_path.contains(name)).count();
    present > 1 || declared > 1 || present + declared == 0
}

/// What commonly parts fields.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// A file of one column whose first line has several fields with another delimiter.
fn other_delimiter(
    reader: &dyn RowReader,
    headers: &[String],
    feed: &Feed,
) -> Result<(), FormatError> {
    let ([header], used) = (headers, feed.delimiter) else { return Ok(()) };
    let first_cell = || {
        let cells = reader.sample()?.columns.first()?.as_string::<i32>();
        (!cells.is_empty() && cells.is_valid(0)).then(|| cells.value(0).to_owned())
    };
    let first = if feed.header { Some(header.clone()) } else { first_cell() };
    let first = first.unwrap_or_default();
    let fields = |by: char| first.split(by).filter(|field| !field.trim().is_empty()).count();
    let others = DELIMITERS.into_iter().filter(|delimiter| *delimiter != used);
    match others.map(|delimiter| (fields(delimiter), delimiter)).max() {
        Some((columns, found)) if columns > 1 => {
            Err(FormatError::OtherDelimiter { used, found, columns })
        }
        _ => Ok(()),
    }
}

/// Whether a first line is no header. Beside a table, whose headers are known, one value is enough.
/// Dates as headers are common in tables that were turned round, so a first column is none.
fn is_data(headers: &[String], has_table: bool) -> bool {
    let values = headers.iter().filter(|header| is_value(header)).count();
    let first = headers.first().is_some_and(|header| is_value(header));
    if has_table { values > 0 } else { first && values * 2 >= headers.len() }
}

/// Whether a text is a number, a date or a time.
fn is_value(text: &str) -> bool {
    let text = text.trim();
    let begins = text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit());
    begins && text.chars().all(|c| c.is_ascii_digit() || "+-.,:/TZ eE%".contains(c))
}

/// The most characters of a first line that a message repeats.
const SHOWN: usize = 200;

fn shown(headers: &[String]) -> String {
    let quoted: Vec<String> = headers.iter().map(|header| format!("`{header}`")).collect();
    let all = quoted.join(", ");
    match all.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &all[..end]),
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::super::csv::Dialect;
    use super::super::names::{text_column, texts_of};
    use super::super::{FormatSettings, Limits, open};
    use super::*;

    /// Of one column the text may hold any delimiter; a column for cells that do not fit is none of the files.
    #[test]
    fn a_feed_of_one_column_may_hold_any_delimiter() {
        let settings = FormatSettings::Csv(Dialect { header: false, ..Dialect::default() });
        let reader = open(&settings, Box::new(&b"1;2\n"[..]), Limits::default()).unwrap();
        let feed = Feed { header: false, ..Feed::default() };
        let check = |beside: Field| {
            let columns = vec![Field::new("column_1", DataType::Int64, true), beside];
            check(&*reader, &["column_1".to_owned()], &feed, Some(&Schema::new(columns)))
        };
        let texts = Field::new(text_column("column_1"), DataType::Utf8, true);
        check(texts.with_metadata([("doc".to_owned(), texts_of("column_1"))].into())).unwrap();
        let other = check(Field::new("column_2", DataType::Utf8, true));
        assert!(matches!(other, Err(FormatError::OtherDelimiter { .. })), "{other:?}");
    }

    #[test]
    fn a_first_line_of_values_is_no_header() {
        let data = |line: &str, has_table| {
            let headers: Vec<String> = line.split(',').map(str::to_owned).collect();
            is_data(&headers, has_table)
        };
        for (line, alone, beside) in [
            ("1,Ada,2024-01-31T10:00:00Z", true, true),
            ("-1.5,7", true, true),
            ("Ada,7", false, true),
            ("id,2024-01,2024-02", false, true),
            ("id,name", false, false),
            ("nan,e", false, false),
        ] {
            assert_eq!((data(line, false), data(line, true)), (alone, beside), "{line}");
        }
    }
}
