//! Column names: what a header says → names that SQL takes without quotes, and back.
//!
//! The header is the column's identity, its name only stands for it. So a name never depends on where
//! the header stands in a file: where making it plain lost something, it ends with a hash of the header.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use sha2::{Digest, Sha256};

use super::Format;

/// The names of the columns of a new table with these headers, see `new_names`.
pub fn column_names<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    new_names(&numbered(headers), &HashSet::new())
}

/// Whether a column is silversmith's own: no file has it.
pub fn is_own(name: &str) -> bool {
    name.starts_with('_')
}

/// Headers, each with which of its repetitions in the file it is, from 1.
pub(super) fn numbered<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<(&'a str, usize)> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let number = |header| (header, *seen.entry(header).and_modify(|n| *n += 1).or_insert(1));
    headers.into_iter().map(number).collect()
}

/// Names for headers that become columns beside those whose names are `taken`.
///
/// A name is the header, lower-cased, with `_` for anything but `[a-z0-9_]`, and a `c` before a leading
/// `_` (such names are silversmith's own). It ends with a hash of the header where more than spelling was
/// lost, as of `Price $`, or where another column has the name. Of headers that are repeated the second
/// ends with `_2`. An empty header is `column_N`.
pub(super) fn new_names(headers: &[(&str, usize)], taken: &HashSet<&str>) -> Vec<String> {
    let simple: Vec<String> =
        headers.iter().enumerate().map(|(at, (header, _))| simple(header, at)).collect();
    let mut claims: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (name, (header, _)) in simple.iter().zip(headers) {
        claims.entry(name).or_default().insert(header);
    }
    let mut used: HashSet<String> = taken.iter().map(|name| (*name).to_owned()).collect();
    // A header that is a plain name already keeps it.
    let plain = |(name, (header, number)): (&String, &(&str, usize))| {
        (name == header && *number == 1 && used.insert(name.clone())).then(|| name.clone())
    };
    let mut names: Vec<Option<String>> = simple.iter().zip(headers).map(plain).collect();
    for (at, (header, number)) in headers.iter().enumerate() {
        if names[at].is_some() {
            continue;
        }
        let alone = claims.get(simple[at].as_str()).is_some_and(|claims| claims.len() == 1);
        let wished = match number {
            1 => simple[at].clone(),
            again => format!("{}_{again}", simple[at]),
        };
        let free = (alone || *number > 1) && !used.contains(&wished);
        let name = if free { wished } else { hashed(&base(header), header, *number, &used) };
        used.insert(name.clone());
        names[at] = Some(name);
    }
    names.into_iter().flatten().collect()
}

/// The longest name, before anything is added: Glue takes 255 characters.
const LONGEST: usize = 200;

/// The name of a header that no other column claims.
fn simple(header: &str, at: usize) -> String {
    if trimmed(header).is_empty() {
        format!("column_{}", at + 1)
    } else if loses(header) {
        hashed(&base(header), header, 1, &HashSet::new())
    } else {
        base(header)
    }
}

/// The header in the characters that a name may have.
pub(super) fn base(header: &str) -> String {
    let name: String = trimmed(header)
        .chars()
        .take(LONGEST)
        .flat_map(char::to_lowercase)
        .take(LONGEST)
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .collect();
    if is_own(&name) || name.is_empty() { format!("c{name}") } else { name }
}

/// Whether two headers of different meaning may have the same [`base`]: a character that is no mere
/// separator is not in the name.
fn loses(header: &str) -> bool {
    let header = trimmed(header);
    let kept = |c: char| c.is_ascii_alphanumeric() || c.is_whitespace() || SEPARATORS.contains(c);
    header.chars().count() > LONGEST || !header.chars().all(kept)
}

/// Characters that part words and mean nothing more.
const SEPARATORS: &str = "_-./\\:;,()[]{}'\"";

/// Hexadecimal digits of a hash, unless that name is taken.
const DIGITS: usize = 6;

fn hashed(base: &str, header: &str, number: usize, used: &HashSet<String>) -> String {
    let mut hash = Sha256::new_with_prefix(header.as_bytes());
    // The first of its repetitions has the hash of the header alone.
    if number > 1 {
        hash.update(format!("\n{number}"));
    }
    let (hash, base) = (format!("{:x}", hash.finalize()), base.trim_end_matches('_'));
    let longer = (DIGITS..hash.len()).map(|digits| format!("{base}_{}", &hash[..digits]));
    let mut free = longer.filter(|name| !used.contains(name));
    free.next().unwrap_or_else(|| format!("{base}_{hash}"))
}

/// A header without blanks and byte order marks around it.
fn trimmed(header: &str) -> &str {
    header.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// What two spellings of one header have in common: all but case, and blanks around it.
pub(super) fn loosely(header: &str) -> String {
    trimmed(header).to_lowercase()
}

/// An optional column, with its header.
pub(super) fn field(name: &str, kind: DataType, (header, format): (&str, Format)) -> FieldRef {
    let doc = documentation(name, header, format).map(|doc| ("doc".to_owned(), doc));
    Arc::new(Field::new(name, kind, true).with_metadata(doc.into_iter().collect()))
}

/// The documentation of a column: its header, where that is not its name. Tables have had it in these
/// words from the first version on, so their columns are found again by it.
pub(super) fn documentation(name: &str, header: &str, format: Format) -> Option<String> {
    let words = match format {
        Format::Csv => DOCUMENTED[0],
        Format::Json => DOCUMENTED[1],
        Format::Parquet => DOCUMENTED[2],
    };
    (name != header).then(|| format!("{words}{header}`"))
}

const DOCUMENTED: [&str; 3] = ["CSV column `", "JSON key `", "Parquet column `"];

/// The header of a table's column; none where another program has changed its documentation.
pub(super) fn header_of(column: &Field) -> Option<&str> {
    match column.metadata().get("doc") {
        None => Some(column.name()),
        Some(doc) => {
            DOCUMENTED.into_iter().find_map(|words| doc.strip_prefix(words)?.strip_suffix('`'))
        }
    }
}

/// The name of the column for the cells of `column` that do not fit its type.
pub(super) fn text_column(column: &str) -> String {
    format!("{column}__text")
}

/// How the documentation of such a column begins: no header leads to it.
const TEXTS: &str = "cells that do not fit the type of `";

/// The documentation of such a column.
pub(super) fn texts_of(column: &str) -> String {
    format!("{TEXTS}{column}`")
}

/// Whether a column of a table is such a one.
pub(super) fn holds_texts(column: &Field) -> bool {
    column.metadata().get("doc").is_some_and(|doc| doc.starts_with(TEXTS))
}

/// Whether files bring such a column: it is neither silversmith's own nor one for cells that do not fit.
pub(super) fn is_of_files(column: &Field) -> bool {
    !is_own(column.name()) && !holds_texts(column)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_made_plain_and_unique() {
        let header =
            ["Customer ID", "customer_id", "E-Mail", "", "_rescued", "é", "id", "id", " x "];
        assert_eq!(
            column_names(header),
            [
                "customer_id_62566c",
                "customer_id",
                "e_mail",
                "column_4",
                "c_rescued",
                "c_4a9955",
                "id",
                "id_2",
                "x"
            ]
        );
    }

    #[test]
    fn a_name_depends_on_the_header_and_not_on_its_index() {
        for headers in [
            vec!["Price $", "Price %", "price"],
            vec!["名前", "住所"],
            vec!["Größe", "Grüße"],
            vec!["Customer ID", "Customer-ID", "CUSTOMER ID"],
            vec!["ID", "Id"],
        ] {
            let mut reversed = headers.clone();
            reversed.reverse();
            let mut names = column_names(reversed);
            names.reverse();
            assert_eq!(column_names(headers.clone()), names, "{headers:?}");
        }
        let taken = HashSet::from(["customer_id"]);
        let names = new_names(&numbered(["Customer-ID", "customer_id"]), &taken);
        assert!(names.iter().all(|name| name.starts_with("customer_id_")), "{names:?}");
    }

    #[test]
    fn a_header_is_read_back_from_the_documentation() {
        for header in ["Zip Code", "a`b", "`", "", "plain"] {
            let name = column_names([header]).remove(0);
            let mut field = Field::new(&name, DataType::Utf8, true);
            let format = if header.is_empty() { Format::Csv } else { Format::Json };
            if let Some(doc) = documentation(&name, header, format) {
                field = field.with_metadata([("doc".to_owned(), doc)].into());
            }
            assert_eq!(header_of(&field), Some(header));
        }
    }

    proptest! {
        #[test]
        fn any_header_gives_plain_unique_names(header in proptest::collection::vec(".{0,12}", 0..20)) {
            let names = column_names(header.iter().map(String::as_str));
            prop_assert_eq!(names.len(), header.len());
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
            for name in names {
                prop_assert!(!name.starts_with('_') && !name.is_empty());
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            }
        }
    }
}
