//! Which column of the table a header of a file is. A column is its header: neither its index in the
//! file nor its name in the table decides, unless the configuration says so.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::Schema;

use super::feed::Feed;
use super::names::{base, header_of, is_of_files, loosely, new_names, numbered};

/// The column of each header, by name: by hand (`from`), then by header: exactly; then without case and the
/// blanks around it, where that leaves no choice. What is left is new, and gets a name that is free.
pub(super) fn matched(headers: &[String], feed: &Feed, table: Option<&Schema>) -> Vec<String> {
    let columns = table.map(columns_of).unwrap_or_default();
    let mut matching =
        Matching { headers, found: vec![None; headers.len()], claimed: HashSet::new() };
    matching.by_hand(feed);
    matching.exactly(&columns);
    matching.loosely(&columns, |column| column.header.map(loosely), loosely);
    // The documentation of these is not silversmith's any more: only their name is left.
    let unnamed = |column: &Column<'_>| column.header.is_none().then(|| column.name.to_owned());
    matching.loosely(&columns, unnamed, base);
    matching.finish(feed, table)
}

/// A column of the table that files may have.
struct Column<'a> {
    name: &'a str,
    header: Option<&'a str>,
}

fn columns_of(table: &Schema) -> Vec<Column<'_>> {
    let columns = table.fields().iter().filter(|field| is_of_files(field));
    columns.map(|field| Column { name: field.name(), header: header_of(field) }).collect()
}

struct Matching<'a> {
    headers: &'a [String],
    /// For each header its column.
    found: Vec<Option<&'a str>>,
    claimed: HashSet<&'a str>,
}

impl<'a> Matching<'a> {
    fn claim(&mut self, index: usize, column: &'a str) {
        self.found[index] = Some(column);
        self.claimed.insert(column);
    }

    /// The headers that have no column yet.
    fn open(&self) -> impl Iterator<Item = (usize, &'a str)> + '_ {
        let headers = self.headers.iter().map(String::as_str).enumerate();
        headers.filter(|(index, _)| self.found[*index].is_none())
    }

    fn by_hand(&mut self, feed: &'a Feed) {
        let by_hand: Vec<Column<'a>> = feed
            .columns
            .iter()
            .filter_map(|(name, said)| Some(Column { name, header: Some(said.from.as_deref()?) }))
            .collect();
        self.exactly(&by_hand);
        self.loosely(&by_hand, |column| column.header.map(loosely), loosely);
    }

    /// Headers that are repeated are the columns of that header in their order.
    fn exactly(&mut self, columns: &[Column<'a>]) {
        let mut of_header: HashMap<&str, Vec<&'a str>> = HashMap::new();
        for column in columns.iter().rev().filter(|column| !self.claimed.contains(column.name)) {
            if let Some(header) = column.header {
                of_header.entry(header).or_default().push(column.name);
            }
        }
        let open: Vec<_> = self.open().collect();
        for (index, header) in open {
            if let Some(column) = of_header.get_mut(header).and_then(Vec::pop) {
                self.claim(index, column);
            }
        }
    }

    /// Headers and columns that have the same text in common with no other one: never a guess.
    fn loosely(
        &mut self,
        columns: &[Column<'a>],
        of_column: impl Fn(&Column<'a>) -> Option<String>,
        of_header: impl Fn(&str) -> String,
    ) {
        let open = columns.iter().filter(|column| !self.claimed.contains(column.name));
        let mut by_text: HashMap<String, (Vec<&'a str>, Vec<usize>)> = HashMap::new();
        for column in open {
            if let Some(text) = of_column(column) {
                by_text.entry(text).or_default().0.push(column.name);
            }
        }
        for (index, header) in self.open() {
            if let Some((_, headers)) = by_text.get_mut(&of_header(header)) {
                headers.push(index);
            }
        }
        for (columns, headers) in by_text.into_values() {
            if let ([column], [index]) = (columns.as_slice(), headers.as_slice()) {
                self.claim(*index, column);
            }
        }
    }

    /// Names what is new, beside what the table has and what the configuration maps by hand.
    fn finish(self, feed: &'a Feed, table: Option<&'a Schema>) -> Vec<String> {
        let of_table = table.iter().flat_map(|t| t.fields()).map(|field| field.name().as_str());
        let mut taken: HashSet<&str> = of_table.collect();
        taken.extend(
            feed.columns.iter().filter(|(_, said)| said.from.is_some()).map(|(n, _)| n.as_str()),
        );
        let numbered = numbered(self.headers.iter().map(String::as_str));
        let new: Vec<(&str, usize)> = self.open().map(|(index, _)| numbered[index]).collect();
        let mut new = new_names(&new, &taken).into_iter();
        let name = |found: Option<&str>| found.map(str::to_owned).or_else(|| new.next());
        self.found.into_iter().filter_map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::super::Format;
    use super::super::feed::ColumnSettings;
    use super::super::names::documentation;
    use super::*;

    /// A table with columns by name and header.
    fn table(columns: &[(&str, &str)]) -> Schema {
        let fields = columns.iter().map(|(name, header)| {
            let doc = documentation(name, header, Format::Csv).map(|doc| ("doc".to_owned(), doc));
            Field::new(*name, DataType::Utf8, true).with_metadata(doc.into_iter().collect())
        });
        Schema::new(fields.collect::<Vec<_>>())
    }

    /// The columns of headers; those that are new in brackets.
    fn names(headers: &[&str], feed: &Feed, table: &Schema) -> Vec<String> {
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        let is_known = |name: &str| table.field_with_name(name).is_ok();
        let names = matched(&headers, feed, Some(table)).into_iter();
        names.map(|name| if is_known(&name) { name } else { format!("({name})") }).collect()
    }

    fn found(headers: &[&str], columns: &[(&str, &str)]) -> Vec<String> {
        names(headers, &Feed::default(), &table(columns))
    }

    #[test]
    fn a_column_is_found_by_its_header_wherever_that_stands() {
        let prices = [("id", "id"), ("preis____", "Preis (€)"), ("preis_____2", "Preis ($)")];
        assert_eq!(found(&["Preis ($)", "id"], &prices), ["preis_____2", "id"]);
        assert_eq!(found(&["Preis (£)"], &prices), ["(preis_585941)"]);
        assert_eq!(found(&["\u{feff}ID ", " preis (€)"], &prices), ["id", "preis____"]);
    }

    #[test]
    fn the_exact_header_wins_and_no_choice_is_guessed() {
        assert_eq!(found(&["ID", "id"], &[("id", "id")]), ["(id_384397)", "id"]);
        assert_eq!(found(&["ID", "Id"], &[("id", "id")]).iter().filter(|n| *n == "id").count(), 0);
        let both = [("name", "name"), ("name_1", "NAME")];
        assert_eq!(found(&["Name"], &both).iter().filter(|n| n.starts_with("(name_")).count(), 1);
        // Spelled alike in the table, and not the same header.
        assert!(found(&["customer_id"], &[("customer_id", "Customer ID")])[0].starts_with('('));
    }

    #[test]
    fn repeated_headers_keep_their_order_among_each_other() {
        assert_eq!(found(&["a", "b", "a"], &[("a", "a"), ("a_2", "a")]), ["a", "(b)", "a_2"]);
        assert_eq!(found(&["a", "a"], &[("a", "a")]), ["a", "(a_2)"]);
    }

    #[test]
    fn the_configuration_maps_by_hand() {
        let from = |header: &str| ColumnSettings {
            from: Some(header.to_owned()),
            ..ColumnSettings::default()
        };
        let columns = [("amount".to_owned(), from("Betrag (€)")), ("id".to_owned(), from("Nr."))];
        let feed = Feed { columns: columns.into(), ..Feed::default() };
        let of = |headers: &[&str]| names(headers, &feed, &table(&[("id", "id"), ("amount", "a")]));
        assert_eq!(of(&["Betrag (€)", "nr."]), ["amount", "id"]);
        assert_eq!(of(&["a", "id"]), ["amount", "id"], "files of before");
        assert_eq!(of(&["Nr.", "id"])[0], "id");
        let empty = table(&[]);
        assert_eq!(names(&["Nr.", "sum"], &feed, &empty), ["(id)", "(sum)"]);
        // Another header does not take the name that is meant for `Betrag (€)`.
        assert!(names(&["amount"], &feed, &empty)[0].starts_with("(amount_"));
    }

    #[test]
    fn a_column_with_another_documentation_is_found_by_its_name() {
        let field = Field::new("zip_code", DataType::Utf8, true)
            .with_metadata([("doc".to_owned(), "of the customer".to_owned())].into());
        let table = Schema::new(vec![field, Field::new("_rescued", DataType::Utf8, true)]);
        let found = names(&["Zip Code", "_rescued"], &Feed::default(), &table);
        assert_eq!(found, ["zip_code", "(c_rescued)"]);
    }
}
