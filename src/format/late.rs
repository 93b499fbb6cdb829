//! Columns that a file shows only behind its sample: which columns of the table they are.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef, Schema};

use super::feed::{Feed, SchemaChange};
use super::matching::matched;
use super::names::field;
use super::notation::Notation;
use super::said::{Said, new_kind};
use super::{Format, FormatError, RawBatch};

/// What late columns are matched with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Late {
    format: Format,
    feed: Feed,
    /// The headers of the sample, and the table's names for them.
    headers: Vec<String>,
    names: Vec<String>,
    /// The table's columns, with those that the file adds.
    columns: Vec<FieldRef>,
}

/// Where a column of a file goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) name: String,
    /// Its type in the table; none: `_rescued`.
    pub(super) kind: Option<DataType>,
    pub(super) notation: Notation,
}

/// A column of a file that its table lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Lacking {
    /// Its index in the sample; none where it comes behind that.
    pub(super) index: Option<usize>,
    /// Its header.
    pub header: String,
    /// Its type by the first values of it.
    pub kind: DataType,
}

impl Late {
    pub(super) fn new(
        format: Format,
        feed: &Feed,
        (headers, names): (&[String], &[String]),
        (has_table, columns): (bool, Vec<FieldRef>),
    ) -> Self {
        let (headers, names) = (headers.to_vec(), names.to_vec());
        // All columns of a first file are new.
        let change = if has_table { feed.change } else { SchemaChange::Evolve };
        Self { format, feed: Feed { change, ..feed.clone() }, headers, names, columns }
    }

    /// Where columns with these headers go: to a column of the table that none of the sample is.
    fn targets<'a>(&self, late: impl Iterator<Item = &'a str>) -> Vec<Target> {
        let headers: Vec<String> =
            self.headers.iter().cloned().chain(late.map(str::to_owned)).collect();
        let table = Schema::new(self.columns.clone());
        let names = matched(&headers, &self.feed, Some(&table)).split_off(self.headers.len());
        let target = |mut name: String| {
            let is_free = !self.names.contains(&name);
            let column = table.field_with_name(&name).ok().filter(|_| is_free);
            let kind = column.map(|column| column.data_type().clone());
            // Cells of both may be rescued side by side.
            while self.names.contains(&name) {
                name.push('_');
            }
            let notation = self.feed.notation_in(self.format, &name);
            Target { name, kind, notation }
        };
        names.into_iter().map(target).collect()
    }

    /// Where the late columns of a batch go; an error where the configuration refuses new ones. `kinds` are the
    /// table's types of those in the sample.
    pub(super) fn targets_of(
        &self,
        raw: &RawBatch,
        kinds: &[Option<DataType>],
    ) -> Result<Vec<Target>, FormatError> {
        let targets = if raw.late.is_empty() { vec![] } else { self.targets(headers(raw)) };
        if self.feed.change == SchemaChange::Fail {
            let of_sample =
                self.names.iter().zip(kinds).zip(&raw.columns).find_map(|(it, values)| {
                    (it.1.is_none() && values.null_count() < values.len()).then_some(it.0)
                });
            let late = || targets.iter().find(|to| to.kind.is_none()).map(|to| &to.name);
            if let Some(new) = of_sample.or_else(late) {
                return Err(FormatError::SchemaChanged(format!("column `{new}` is new")));
            }
        }
        Ok(targets)
    }

    /// The columns of a batch that the table lacks and may get, without those that are `known`. `kinds` are the table's
    /// types of those in the sample.
    pub(super) fn lacking(
        &self,
        raw: &RawBatch,
        kinds: &[Option<DataType>],
        known: &[Lacking],
    ) -> Vec<Lacking> {
        if self.feed.change != SchemaChange::Evolve {
            return vec![];
        }
        let known: HashSet<(Option<usize>, &str)> =
            known.iter().map(|column| (column.index, column.header.as_str())).collect();
        let is_new = |index: Option<usize>, header: &str| !known.contains(&(index, header));
        let of_sample = raw.columns.iter().zip(kinds).enumerate();
        let of_sample = of_sample
            .filter(|(index, (_, kind))| {
                kind.is_none() && is_new(Some(*index), &self.headers[*index])
            })
            .filter_map(|(index, (values, _))| {
                let said = raw.said.get(index).unwrap_or(&Said::Nothing);
                let called = (self.headers[index].as_str(), self.names[index].as_str());
                self.lacks(Some(index), called, (values, said))
            });
        let has_new = raw.late.iter().any(|column| is_new(None, &column.header));
        let targets = if has_new { self.targets(headers(raw)) } else { vec![] };
        let late = raw.late.iter().zip(&targets);
        let late = late
            .filter(|(column, to)| to.kind.is_none() && is_new(None, &column.header))
            .filter_map(|(column, to)| {
                self.lacks(None, (&column.header, &to.name), (&column.values, &column.said))
            });
        of_sample.chain(late).collect()
    }

    /// None where no value says the type.
    fn lacks(
        &self,
        index: Option<usize>,
        (header, name): (&str, &str),
        values: (&ArrayRef, &Said),
    ) -> Option<Lacking> {
        if values.0.null_count() == values.0.len() {
            return None;
        }
        let kind = new_kind(&self.feed, (name, self.format), Some(values))?;
        Some(Lacking { index, header: header.to_owned(), kind })
    }

    /// Adds a column to those of the table.
    pub(super) fn grow(&mut self, lacking: &Lacking) -> FieldRef {
        let header = lacking.header.as_str();
        let name = match lacking.index {
            Some(index) => self.names[index].clone(),
            None => self.targets([header].into_iter()).pop().map(|to| to.name).unwrap_or_default(),
        };
        let added = field(&name, lacking.kind.clone(), (header, self.format));
        self.columns.push(added.clone());
        added
    }
}

fn headers(raw: &RawBatch) -> impl Iterator<Item = &str> {
    raw.late.iter().map(|column| column.header.as_str())
}
