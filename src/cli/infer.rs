//! `check --infer`: the columns of a sample of files, each with what its type is known by.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef, Schema};

use super::output::{Format, print};
use crate::config;
use crate::format::feed::{Feed, SchemaChange};
use crate::format::infer::infer;
use crate::format::layout::lay_out;
use crate::format::{self, Format as FileFormat, FormatSettings, Input, Limits};
use crate::lake::type_name;

/// A column of a sample.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: DataType,
    pub(super) header: String,
    /// Rows of the sample, of which so many have a value.
    rows: usize,
    values: usize,
    /// What its type is known by.
    evidence: String,
}

/// Characters of a value that are shown.
const SHOWN: usize = 40;

/// The columns of files, as their first rows have them: those of the first, then what the others bring.
pub(super) fn columns_of(
    files: &[PathBuf],
    format: &FormatSettings,
    feed: &Feed,
) -> anyhow::Result<Vec<Column>> {
    // The files are looked at together: what one brings is no change of the others.
    let lenient = Feed { change: SchemaChange::Evolve, ..feed.clone() };
    let mut found: Vec<Found> = Vec::new();
    for file in files {
        let named = || file.display().to_string();
        let input = File::open(file).and_then(Input::of_file).with_context(named)?;
        let (path, format) = (feed.path_columns.then(named), format.of(&named()));
        let reader = format::open_at(&format, input, Limits::default(), path.as_deref());
        let reader = reader.with_context(named)?;
        let table = Schema::new(found.iter().map(|f| f.field.clone()).collect::<Vec<_>>());
        let table = Some(&table).filter(|table| !table.fields().is_empty());
        let layout = lay_out(&*reader, &lenient, table).with_context(named)?;
        for (index, name) in layout.names.iter().enumerate() {
            let new = layout.new_columns.iter().find(|field| field.name() == name);
            if let Some(field) = new {
                let header = reader.originals().get(index).cloned().unwrap_or_default();
                let (field, format) = (field.clone(), reader.format());
                found.push(Found { field, header, format, samples: vec![] });
            }
            let of_name = found.iter_mut().find(|found| found.field.name() == name);
            let sample = reader.sample().and_then(|sample| sample.columns.get(index));
            if let (Some(found), Some(sample)) = (of_name, sample) {
                found.samples.push(sample.clone());
            }
        }
    }
    found.into_iter().map(|found| column(found, feed)).collect()
}

/// A column as the first file that has it says, and its samples.
struct Found {
    field: FieldRef,
    header: String,
    format: FileFormat,
    samples: Vec<ArrayRef>,
}

fn column(found: Found, feed: &Feed) -> anyhow::Result<Column> {
    let Found { field, header, format, samples } = found;
    let name = field.name().clone();
    let rows = samples.iter().map(|sample| sample.len()).sum::<usize>();
    let values = rows - samples.iter().map(|sample| sample.null_count()).sum::<usize>();
    let column =
        |kind, evidence| Column { name: name.clone(), kind, header, rows, values, evidence };
    if let Some(declared) = feed.declared(&name) {
        return Ok(column(declared.clone(), "it is declared".to_owned()));
    }
    let (kind, evidence) = match format {
        FileFormat::Csv => inferred(&samples, feed, &name)?,
        FileFormat::Json => (field.data_type().clone(), "the kinds of its values".to_owned()),
        FileFormat::Parquet => (field.data_type().clone(), "its type in the file".to_owned()),
    };
    Ok(column(kind, evidence))
}

/// The type of texts, and the value that decided.
fn inferred(samples: &[ArrayRef], feed: &Feed, name: &str) -> anyhow::Result<(DataType, String)> {
    let samples: Vec<&dyn Array> = samples.iter().map(AsRef::as_ref).collect();
    let sample: ArrayRef = match samples.is_empty() {
        true => Arc::new(StringArray::new_null(0)),
        false => concat(&samples)?,
    };
    let kind = infer(&sample, feed.role(name), &feed.notation(name));
    let evidence = match deciding(&sample, &kind, feed, name) {
        Some(value) => shown(&value),
        None => "no value".to_owned(),
    };
    Ok((kind, evidence))
}

/// The value with which the ones so far have the type of all.
fn deciding(sample: &ArrayRef, kind: &DataType, feed: &Feed, name: &str) -> Option<String> {
    let values: StringArray = sample
        .as_string::<i32>()
        .iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .map(Some)
        .collect();
    let all: ArrayRef = Arc::new(values.clone());
    let is_known =
        |count: usize| infer(&all.slice(0, count), feed.role(name), &feed.notation(name)) == *kind;
    let (mut least, mut most) = (1, values.len());
    while least < most {
        let middle = least + (most - least) / 2;
        match is_known(middle) {
            true => most = middle,
            false => least = middle + 1,
        }
    }
    (!values.is_empty()).then(|| values.value(least - 1).to_owned())
}

fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &value[..end]),
        None => format!("`{value}`"),
    }
}

pub(super) fn run(config: &Path, files: &[PathBuf], format: Format) -> anyhow::Result<()> {
    // The pipeline that matches a file has its CSV settings; without one, the defaults apply.
    let settings = if config.exists() { Some(config::load(config)?) } else { None };
    let first = files.first().cloned().unwrap_or_default();
    let absolute = std::path::absolute(first)?;
    let pipeline = settings.as_ref().and_then(|settings| {
        let uri = absolute.strip_prefix(&settings.base).unwrap_or(&absolute);
        settings.pipelines.iter().find(|p| p.bronze.source.is_match(uri))
    });
    let (written_as, feed) = match pipeline {
        Some(p) => (p.bronze.format.clone(), p.bronze.feed.clone()),
        None => (FormatSettings::default(), Feed::default()),
    };
    let columns = columns_of(files, &written_as, &feed)?;
    let texts = |of: &dyn Fn(&Column) -> String| -> ArrayRef {
        Arc::new(columns.iter().map(|column| Some(of(column))).collect::<StringArray>())
    };
    let batch = RecordBatch::try_from_iter([
        ("column", texts(&|c| c.name.clone())),
        ("type", texts(&|c| type_name(&c.kind))),
        ("header", texts(&|c| c.header.clone())),
        ("values", texts(&|c| format!("{} of {}", c.values, c.rows))),
        ("decided_by", texts(&|c| c.evidence.clone())),
    ])?;
    print(&[batch], format)
}
