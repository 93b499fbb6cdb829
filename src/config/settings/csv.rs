//! `[pipeline.csv]`: how CSV files are written; and what is said about the columns of files.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::resolver::{Resolver, one_of};
use crate::config::file::{ColumnSection, CsvSection, PipelineSection};
use crate::format::csv::Dialect;
use crate::format::encoding::Encoding;
use crate::format::feed::ColumnSettings;
use crate::format::names::column_names;
use crate::format::notation::{Notation, check_format, is_timezone};
use crate::lake::arrow_type;

/// How numbers and times are written.
pub(super) fn notation(resolver: &mut Resolver, index: usize, section: &CsvSection) -> Notation {
    let key = |rest: &str| format!("pipeline[{index}].csv.{rest}");
    let marks = one_of(&[(".", '.'), (",", ',')]);
    let zone = |text: &str| match is_timezone(text) {
        true => Ok(Some(text.to_owned())),
        false => Err(format!("`{text}` is not a zone: write Europe/Berlin, +01:00, …")),
    };
    let default = Notation::default();
    Notation {
        decimal: resolver.parsed(
            &key("decimal"),
            section.decimal.as_deref(),
            default.decimal,
            marks,
        ),
        formats: formats(resolver, &key("formats"), &section.formats),
        timezone: resolver.parsed(&key("timezone"), section.timezone.as_deref(), None, zone),
    }
}

fn formats(resolver: &mut Resolver, key: &str, formats: &[String]) -> Vec<String> {
    for why in formats.iter().filter_map(|format| check_format(format).err()) {
        resolver.say(key, why);
    }
    formats.to_vec()
}

/// Columns by their name in the table.
pub(super) type Columns = BTreeMap<String, ColumnSettings>;

pub(super) fn csv(resolver: &mut Resolver, index: usize, section: &CsvSection) -> Dialect {
    let key = |rest: &str| format!("pipeline[{index}].csv.{rest}");
    let byte = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, 0 | b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err(format!("`{text}` is not one ASCII character")),
    };
    let default = Dialect::default();
    let delimiter = section.delimiter.as_deref();
    let delimiter = resolver.parsed(&key("delimiter"), delimiter, default.delimiter, byte);
    let quoting = |text: &str| match text.as_bytes() {
        [] => Ok(None),
        [byte] if byte.is_ascii_graphic() && *byte != delimiter => Ok(Some(*byte)),
        _ => Err(format!("`{text}` is not one ASCII character other than the delimiter")),
    };
    let named =
        |name: &str| Encoding::named(name).ok_or_else(|| format!("`{name}` is not an encoding"));
    let (quote, escape) = (section.quote.as_deref(), section.escape.as_deref());
    let (comment, encoding) = (section.comment.as_deref(), section.encoding.as_deref());
    let dialect = Dialect {
        delimiter,
        quote: resolver.parsed(&key("quote"), quote, default.quote, quoting),
        escape: resolver.parsed(&key("escape"), escape, default.escape, quoting),
        encoding: resolver.parsed(&key("encoding"), encoding, default.encoding, named),
        header: section.header.unwrap_or(default.header),
        null_values: section.null_values.clone().unwrap_or(default.null_values),
        skip_lines: section.skip_lines.unwrap_or(default.skip_lines),
        skip_footer: skip_footer(resolver, &key("skip_footer"), section.skip_footer),
        comment: resolver.parsed(&key("comment"), comment, None, |text| byte(text).map(Some)),
    };
    if dialect.comment == Some(dialect.delimiter) {
        resolver.say(key("comment"), "it is the delimiter, too");
    }
    if dialect.comment.is_some() && dialect.comment == dialect.quote {
        resolver.say(key("comment"), "it is the quote, too");
    }
    dialect
}

/// Lines that are held back while a file is read are in memory together.
const LONGEST_FOOTER: u64 = 100;

fn skip_footer(resolver: &mut Resolver, key: &str, lines: Option<u64>) -> usize {
    let lines = lines.unwrap_or_default();
    if lines > LONGEST_FOOTER {
        resolver.say(key, format!("{lines} are too many; the most is {LONGEST_FOOTER}"));
        return 0;
    }
    lines as usize
}

/// What is said about columns, in either section.
pub(super) fn columns(
    resolver: &mut Resolver,
    index: usize,
    pipeline: &PipelineSection,
) -> Columns {
    let mut columns = Columns::new();
    let mut headers: BTreeMap<&str, &str> = BTreeMap::new();
    let of_csv = pipeline.csv.columns.iter().map(|said| ("csv.", said));
    for (section, (column, said)) in pipeline.columns.iter().map(|said| ("", said)).chain(of_csv) {
        let key = format!("pipeline[{index}].{section}columns.{column}");
        if columns.contains_key(column) {
            resolver.say(&key, "it is in [pipeline.columns], too");
        }
        let plain = column_names([column.as_str()]);
        if plain != [column.clone()] {
            resolver.say(&key, format!("write the column's name in the table: `{}`", plain[0]));
        }
        let (kind, from, at) = match said {
            ColumnSection::Type(kind) => (Some(kind), None, key.clone()),
            ColumnSection::Table(table) => {
                (table.kind.as_ref(), table.from.as_deref(), format!("{key}.type"))
            }
        };
        if let Some(other) = from.and_then(|from| headers.insert(from, column)) {
            resolver
                .say(format!("{key}.from"), format!("column `{other}` is from that header, too"));
        }
        columns.insert(
            column.clone(),
            ColumnSettings {
                kind: kind.and_then(|kind| declared(resolver, &at, kind)),
                from: from.map(str::to_owned),
                formats: match said {
                    ColumnSection::Type(_) => vec![],
                    ColumnSection::Table(table) => {
                        formats(resolver, &format!("{key}.formats"), &table.formats)
                    }
                },
            },
        );
    }
    columns
}

fn declared(resolver: &mut Resolver, key: &str, kind: &str) -> Option<DataType> {
    let found = arrow_type(kind);
    if found.is_none() {
        resolver.say(key, format!("`{kind}` is not a type; write boolean, int, long, float, double, decimal(p,s), date, time, timestamp, timestamptz or string"));
    }
    found
}
