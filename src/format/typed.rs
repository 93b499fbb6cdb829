//! String columns → typed columns; what does not fit its type is rescued.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::{cast, cast_with_options};
use arrow::datatypes::DataType;
use serde_json::{Map, Value};

use super::cast::{SAFE, cast_text, whole};
use super::layout::{Layout, Misfits};
use super::{FormatError, RawBatch};

/// Rows with their types.
#[derive(Debug)]
pub struct TypedBatch {
    /// The columns that go to the table, by name.
    pub columns: Vec<(String, ArrayRef)>,
    /// For each row: what did not fit, as JSON; null for most.
    pub rescued: StringArray,
    /// Rows that have not the shape of the file's records.
    pub misshapen: usize,
    /// The `_source_row` of the first row.
    pub first_row: u64,
    /// The first column with a cell that does not fit its type, and the `_source_row` of that.
    pub misfit: Option<(String, u64)>,
    /// Columns that the table lacks, and that cells go to: without them, these are in no column.
    pub missing: BTreeSet<String>,
}

impl TypedBatch {
    /// Rows of which something was rescued.
    pub fn rescued_rows(&self) -> usize {
        self.rescued.len() - self.rescued.null_count()
    }
}

/// Casts a batch as the layout says. Nothing is lost: a cell that is not of its column's type is
/// null there, and is in the row's JSON under the column's name, or in a column of its own.
pub fn typed(raw: RawBatch, layout: &Layout) -> Result<TypedBatch, FormatError> {
    let mut columns = Vec::with_capacity(layout.names.len());
    // Columns that lost cells: (name, text, what was kept of it).
    let mut losses: Vec<Loss<'_>> = Vec::new();
    let (mut misfit, mut missing) = (None, BTreeSet::new());
    let late = layout.late.as_ref().map(|late| late.targets_of(&raw, &layout.kinds)).transpose()?;
    let late = late.unwrap_or_default();
    let known = layout.names.iter().map(String::as_str).zip(&layout.kinds).zip(&layout.notations);
    let known = known.zip(&layout.misfits);
    let known = known.map(|(((name, kind), of), misfits)| (name, kind.as_ref(), of, misfits));
    let late = late.iter().map(|to| (to.name.as_str(), to.kind.as_ref(), &to.notation, RESCUED));
    let texts = raw.columns.iter().chain(raw.late.iter().map(|late| &late.values));
    for ((name, kind, notation, misfits), text) in known.chain(late).zip(texts) {
        let Some(kind) = kind else {
            losses.push((name, as_text(text)?, None));
            continue;
        };
        let (text, values) = match with_type(text, kind)? {
            Some(values) => (text.clone(), values),
            None => {
                let text: ArrayRef = Arc::new(as_text(text)?);
                let text = with_values(&text, kind);
                let values = cast_text(&text, kind, notation)?;
                (text, values)
            }
        };
        if values.null_count() > text.null_count() {
            let is_lost = |row: &usize| text.is_valid(*row) && values.is_null(*row);
            let row = (0..text.len()).find(is_lost).unwrap_or_default() as u64;
            misfit = misfit.or_else(|| Some((name.to_owned(), raw.first_row + row)));
            let texts = as_text(&text)?;
            match misfits {
                Misfits::Rescued => losses.push((name, texts, Some(values.clone()))),
                Misfits::Column(column) => columns.push((column.clone(), lost(&texts, &values))),
                Misfits::Missing(column) => drop(missing.insert(column.clone())),
            }
        }
        columns.push((name.to_owned(), values));
    }
    let is_whole = raw.misfits.null_count() == raw.misfits.len() || layout.renamed.is_empty();
    let rescued = match losses.is_empty() && is_whole {
        true => raw.misfits,
        false => rescue(&raw.misfits, &losses, layout)?,
    };
    let (misshapen, first_row) = (raw.misshapen, raw.first_row);
    Ok(TypedBatch { columns, rescued, misshapen, first_row, misfit, missing })
}

/// A column that lost cells: its name, its text, and what was kept of that.
type Loss<'a> = (&'a str, StringArray, Option<ArrayRef>);

/// Where columns that come behind the sample leave what does not fit.
const RESCUED: &Misfits = &Misfits::Rescued;

/// The texts of which no value was kept.
fn lost(texts: &StringArray, values: &ArrayRef) -> ArrayRef {
    let lost = texts.iter().enumerate().map(|(row, text)| text.filter(|_| values.is_null(row)));
    Arc::new(lost.collect::<StringArray>())
}

/// Values that have a type already, as another one: those that it does not hold whole are null. None for texts, and
/// for types that only a text has in common.
fn with_type(values: &ArrayRef, kind: &DataType) -> Result<Option<ArrayRef>, FormatError> {
    let from = values.data_type();
    if from == &DataType::Utf8 {
        return Ok(None);
    }
    if from == kind {
        return Ok(Some(values.clone()));
    }
    if !from.is_numeric() || !kind.is_numeric() {
        return Ok(None);
    }
    let cast = cast_with_options(values, kind, &SAFE)?;
    Ok(Some(whole(values, cast)?.0))
}

/// The texts of values: what is cast where types differ, and what is rescued.
fn as_text(values: &ArrayRef) -> Result<StringArray, FormatError> {
    match values.data_type() {
        DataType::Utf8 => Ok(values.as_string::<i32>().clone()),
        _ => Ok(cast(values, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

/// An empty text is a value of a string column only: in any other it means null, as writers mean it that put
/// quotes around every cell.
fn with_values(text: &ArrayRef, kind: &DataType) -> ArrayRef {
    let texts = text.as_string::<i32>();
    let has_empty = || texts.iter().any(|value| value == Some(""));
    if kind == &DataType::Utf8 || !has_empty() {
        return text.clone();
    }
    Arc::new(texts.iter().map(|v| v.filter(|v| !v.is_empty())).collect::<StringArray>())
}

fn rescue(
    misfits: &StringArray,
    losses: &[Loss<'_>],
    layout: &Layout,
) -> Result<StringArray, FormatError> {
    let mut rescued = StringBuilder::new();
    for row in 0..misfits.len() {
        let mut cells = match misfits.is_valid(row) {
            true => under_their_names(misfits.value(row), layout)?,
            false => Map::new(),
        };
        for (name, text, kept) in losses {
            let lost = kept.as_ref().is_none_or(|values| values.is_null(row));
            if text.is_valid(row) && lost {
                cells.insert((*name).to_owned(), Value::from(text.value(row)));
            }
        }
        if cells.is_empty() {
            rescued.append_null();
        } else {
            rescued.append_value(Value::Object(cells).to_string());
        }
    }
    Ok(rescued.finish())
}

/// What a reader rescued of a row, by the table's names of the columns.
fn under_their_names(json: &str, layout: &Layout) -> Result<Map<String, Value>, FormatError> {
    let cells: Map<String, Value> = serde_json::from_str(json).map_err(FormatError::Json)?;
    let named = |(name, value): (String, Value)| match layout.renamed.get(&name) {
        Some(renamed) => (renamed.clone(), value),
        None => (name, value),
    };
    Ok(cells.into_iter().map(named).collect())
}
