//! Which column of a file goes where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use super::feed::{Feed, SchemaChange, TypeChange};
use super::infer::Role;
use super::late::{Lacking, Late};
use super::matching::matched;
use super::names::{field, holds_texts, is_of_files, is_own, text_column, texts_of};
use super::notation::Notation;
use super::plausible::{check, check_first_line};
use super::said::{Said, new_kind};
use super::{Format, FormatError, RawBatch, RowReader};

/// For each column of a file, by its index: the table's column, or none: `_rescued`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// The table's names for the file's columns.
    pub names: Vec<String>,
    /// The reader's names for those of them that are others, and the table's.
    pub renamed: BTreeMap<String, String>,
    /// The types that the table has for them.
    pub kinds: Vec<Option<DataType>>,
    /// How their values are written.
    pub notations: Vec<Notation>,
    /// Where their cells go that do not fit.
    pub misfits: Vec<Misfits>,
    /// Columns that the table lacks and gets, in the order of the file.
    pub new_columns: Vec<FieldRef>,
    /// Of these, the ones whose type is not declared, and that have no value in the sample.
    pub without_values: Vec<String>,
    /// What columns behind the sample are matched with; none in a format that has none.
    pub(super) late: Option<Late>,
}

/// Where the cells of a column go that do not fit its type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Misfits {
    /// To `_rescued`.
    #[default]
    Rescued,
    /// To this column of strings.
    Column(String),
    /// To this column of strings, once the table has it.
    Missing(String),
}

/// Refuses a file without rows whose first line is one: it would be lost.
pub fn check_without_rows(
    reader: &dyn RowReader,
    feed: &Feed,
    table: Option<&Schema>,
) -> Result<(), FormatError> {
    check_first_line(reader, &matched(reader.originals(), feed, table), feed, table)
}

/// Lays out an opened file against the table's columns (`None`: there is no table yet, every column
/// is new). Types of new columns are as declared, else inferred from the sample.
pub fn lay_out(
    reader: &dyn RowReader,
    feed: &Feed,
    table: Option<&Schema>,
) -> Result<Layout, FormatError> {
    let (mut layout, format) = (Layout::default(), reader.format());
    let names = matched(reader.originals(), feed, table);
    check(reader, &names, feed, table)?;
    for (index, name) in names.into_iter().enumerate() {
        let kind = layout.kind_of(reader, feed, table, (index, &name))?;
        if let Some(own) = reader.names().get(index).filter(|own| **own != name) {
            layout.renamed.insert(own.clone(), name.clone());
        }
        layout.notations.push(feed.notation_in(format, &name));
        layout.names.push(name);
        layout.kinds.push(kind);
    }
    layout.check_width(feed, table)?;
    layout.misfits = layout.columns_for_misfits(feed, table);
    // A key that no object has is a null in each of them.
    if feed.change == SchemaChange::Fail
        && format != Format::Json
        && let Some(missing) = table.and_then(|t| missing(t, &layout.names))
    {
        return Err(FormatError::SchemaChanged(format!("column `{missing}` is missing")));
    }
    if format == Format::Json {
        let columns = table.into_iter().flat_map(|t| t.fields()).chain(&layout.new_columns);
        let (headers, columns) =
            (reader.originals(), (table.is_some(), columns.cloned().collect()));
        layout.late = Some(Late::new(format, feed, (headers, &layout.names), columns));
    }
    Ok(layout)
}

impl Layout {
    /// Adds the columns of a batch that the table lacks, and that the file would add to it, to those known so far.
    pub fn find_lacking(&self, raw: &RawBatch, known: &mut Vec<Lacking>) {
        if let Some(late) = &self.late {
            let new = late.lacking(raw, &self.kinds, known);
            known.extend(new);
        }
    }

    /// Adds columns to the table that are in the file, and have no value in its sample.
    pub fn grow(
        &mut self,
        lacking: &[Lacking],
        feed: &Feed,
        table: Option<&Schema>,
    ) -> Result<(), FormatError> {
        for column in lacking {
            let Some(late) = &mut self.late else { continue };
            let added = late.grow(column);
            if let Some(kind) = column.index.and_then(|index| self.kinds.get_mut(index)) {
                *kind = Some(added.data_type().clone());
            }
            self.new_columns.push(added);
        }
        self.check_width(feed, table)
    }

    /// Refuses columns that are too many for the table.
    fn check_width(&self, feed: &Feed, table: Option<&Schema>) -> Result<(), FormatError> {
        let names = table.iter().flat_map(|t| t.fields()).map(|field| field.name());
        let (new, present) = (self.new_columns.len(), names.filter(|name| !is_own(name)).count());
        let wide = |setting, limit| Err(FormatError::TableTooWide { new, present, setting, limit });
        if present > 0 && new > feed.max_new_columns {
            return wide("bronze.max_new_columns", feed.max_new_columns);
        }
        if new > 0 && present + new > feed.max_columns {
            return wide("bronze.max_columns", feed.max_columns);
        }
        Ok(())
    }

    /// Where cells go that do not fit, for each column. None brings a column where the table has no room for one for
    /// each.
    fn columns_for_misfits(&self, feed: &Feed, table: Option<&Schema>) -> Vec<Misfits> {
        let fields = table.map(|table| table.fields().as_ref()).unwrap_or_default();
        let present = fields.iter().filter(|field| !is_own(field.name())).count();
        let width = present + self.new_columns.len() + self.names.len();
        let columns = self.names.iter().zip(&self.kinds);
        let of_column = |(name, kind): (&String, &Option<DataType>)| {
            let is_typed = kind.as_ref().is_some_and(|kind| *kind != DataType::Utf8);
            let is_plain = is_typed && feed.role(name) == Role::Plain;
            if feed.type_change != TypeChange::NewColumn || !is_plain {
                return Misfits::Rescued;
            }
            let text = text_column(name);
            match fields.iter().find(|field| *field.name() == text) {
                Some(field) if holds_texts(field) => Misfits::Column(text),
                None if width <= feed.max_columns && !self.names.contains(&text) => {
                    Misfits::Missing(text)
                }
                _ => Misfits::Rescued,
            }
        };
        columns.map(of_column).collect()
    }

    /// Takes those of these columns that the table lacks for its misfits, and returns them for the table.
    pub fn take_missing(&mut self, columns: &BTreeSet<String>) -> Vec<FieldRef> {
        let mut taken = Vec::new();
        for (name, misfits) in self.names.iter().zip(&mut self.misfits) {
            if let Misfits::Missing(text) = misfits
                && columns.contains(text)
            {
                let doc = [("doc".to_owned(), texts_of(name))].into();
                let field = Field::new(text.as_str(), DataType::Utf8, true).with_metadata(doc);
                taken.push(Arc::new(field));
                *misfits = Misfits::Column(std::mem::take(text));
            }
        }
        taken
    }

    /// The type that a column has in the table; none: `_rescued`.
    fn kind_of(
        &mut self,
        reader: &dyn RowReader,
        feed: &Feed,
        table: Option<&Schema>,
        (index, name): (usize, &str),
    ) -> Result<Option<DataType>, FormatError> {
        if let Some(present) = table.and_then(|t| t.field_with_name(name).ok()) {
            return Ok(Some(present.data_type().clone()));
        }
        // All columns of a first file are new.
        let change = table.map_or(SchemaChange::Evolve, |_| feed.change);
        if change == SchemaChange::Rescue {
            return Ok(None);
        }
        let (format, sample) = (reader.format(), reader.sample());
        let values = sample.and_then(|sample| {
            Some((sample.columns.get(index)?, sample.said.get(index).unwrap_or(&Said::Nothing)))
        });
        let kind = match new_kind(feed, (name, format), values) {
            // A key whose value is null says nothing of its type: a later file will.
            None if format == Format::Json => return Ok(None),
            _ if change == SchemaChange::Fail => {
                return Err(FormatError::SchemaChanged(format!("column `{name}` is new")));
            }
            Some(kind) => kind,
            None => {
                self.without_values.push(name.to_owned());
                DataType::Utf8
            }
        };
        let header = reader.originals().get(index).map_or("", String::as_str);
        self.new_columns.push(field(name, kind.clone(), (header, format)));
        Ok(Some(kind))
    }
}

fn missing<'a>(table: &'a Schema, names: &[String]) -> Option<&'a str> {
    let of_files = table.fields().iter().filter(|field| is_of_files(field));
    let mut columns = of_files.map(|field| field.name().as_str());
    columns.find(|column| !names.iter().any(|name| name == column))
}
