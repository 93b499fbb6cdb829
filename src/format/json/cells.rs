//! Members of objects → columns of text, and JSON of what does not fit them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayBuilder, ArrayRef, BooleanArray, StringArray, StringBuilder};
use arrow::compute::nullif;
use serde_json::{Map, Value};

use super::super::cells::value;
use super::super::names::column_names;
use super::super::said::Said;
use super::super::{BATCH_BYTES, BATCH_ROWS, FormatError, LateColumn, RawBatch};
use super::scan::{Kind, Member};
use super::text::{compact, decoded};

/// Bytes of a cell without text, at most.
const CELL: usize = 8;
/// The most bytes of cells without text in a batch (I7).
const CELLS: usize = 4 * BATCH_BYTES;

/// The rows of a batch while they are collected.
pub(super) struct Cells {
    /// The first ones are those that the file is known to have.
    columns: Vec<Column>,
    known: usize,
    of_key: HashMap<String, usize>,
    misfits: Vec<(usize, Misfit)>,
    /// Rows of cells that are not believed, by column.
    withdrawn: HashMap<usize, HashSet<usize>>,
    rows: usize,
    bytes: usize,
    misshapen: usize,
}

struct Column {
    key: String,
    texts: StringBuilder,
    kinds: Kinds,
}

/// The kinds of the values of a column.
#[derive(Debug, Clone, Copy, Default)]
struct Kinds {
    texts: bool,
    numbers: bool,
    booleans: bool,
}

/// What does not fit of a row: whole, or cells by the index of their column.
struct Misfit {
    problem: String,
    whole: Option<Value>,
    cells: Vec<(usize, Value)>,
}

impl Cells {
    /// For a file that is known to have these keys.
    pub(super) fn new(keys: &[String]) -> Self {
        let mut cells = Self {
            columns: vec![],
            known: keys.len(),
            of_key: HashMap::new(),
            misfits: vec![],
            withdrawn: HashMap::new(),
            rows: 0,
            bytes: 0,
            misshapen: 0,
        };
        for key in keys {
            cells.column(key, usize::MAX);
        }
        cells
    }

    /// Whether the batch takes another row, of so many members.
    pub(super) fn has_room(&self, members: usize) -> bool {
        let cells = (self.rows + 1) * (self.columns.len() + members) * CELL;
        self.rows == 0 || self.rows < BATCH_ROWS && self.bytes < BATCH_BYTES && cells < CELLS
    }

    /// The columns of the batch.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The column of a key; `guess` is probably its index.
    fn column(&mut self, key: &str, guess: usize) -> usize {
        if self.columns.get(guess).is_some_and(|column| column.key == key) {
            return guess;
        }
        if let Some(index) = self.of_key.get(key) {
            return *index;
        }
        let (index, texts) = (self.columns.len(), StringBuilder::new());
        self.columns.push(Column { key: key.to_owned(), texts, kinds: Kinds::default() });
        self.of_key.insert(key.to_owned(), index);
        index
    }

    /// Adds an object.
    pub(super) fn object(&mut self, bytes: &[u8], members: &[Member]) {
        let keys = members.iter().map(|m| decoded(&bytes[m.key.clone()], m.key_escaped));
        let keys: Vec<Cow<'_, str>> = match keys.collect() {
            Ok(keys) => keys,
            Err(why) => return self.odd(bytes, &format!("a key is {why}")),
        };
        self.bytes += bytes.len() + CELL * members.len();
        let (row, mut odd, mut repeats) = (self.rows, Vec::new(), false);
        for (at, (member, key)) in members.iter().zip(&keys).enumerate() {
            let index = self.column(key, at);
            if self.columns[index].texts.len() > row {
                repeats = true;
                continue;
            }
            let written = &bytes[member.value.clone()];
            if let Err(why) = self.columns[index].push(row, written, member.kind) {
                odd.push((why, index, value(written)));
            }
        }
        if repeats {
            self.check_repeated(row, bytes, members, &keys, &mut odd);
        }
        self.rows += 1;
        if let Some((why, ..)) = odd.first() {
            let problem = (*why).to_owned();
            let cells = odd.into_iter().map(|(_, index, value)| (index, value)).collect();
            self.misfits.push((row, Misfit { problem, whole: None, cells }));
        }
    }

    /// Of a key that the object has several times, no value is believed, unless they are the same.
    fn check_repeated(
        &mut self,
        row: usize,
        bytes: &[u8],
        members: &[Member],
        keys: &[Cow<'_, str>],
        odd: &mut Vec<(&'static str, usize, Value)>,
    ) {
        let mut values: BTreeMap<usize, Vec<(Kind, &[u8])>> = BTreeMap::new();
        for (at, (member, key)) in members.iter().zip(keys).enumerate() {
            let written = (member.kind, &bytes[member.value.clone()]);
            values.entry(self.column(key, at)).or_default().push(written);
        }
        values.retain(|_, written| written.windows(2).any(|pair| pair[0] != pair[1]));
        odd.retain(|(_, index, _)| !values.contains_key(index));
        for (index, written) in values {
            self.withdrawn.entry(index).or_default().insert(row);
            let written = written.into_iter().map(|(_, bytes)| value(bytes)).collect();
            odd.push(("several values for one key", index, written));
        }
    }

    /// Adds what is no object.
    pub(super) fn odd(&mut self, bytes: &[u8], why: &str) {
        let text = bytes.trim_ascii();
        self.bytes += 2 * bytes.len();
        self.misshapen += 1;
        let misfit = Misfit { problem: why.to_owned(), whole: Some(value(text)), cells: vec![] };
        self.misfits.push((self.rows, misfit));
        self.rows += 1;
    }

    /// The batch, and the keys of its columns; none without rows. In a sample, every key is known.
    pub(super) fn finish(
        mut self,
        first_row: u64,
        is_sample: bool,
    ) -> Result<Option<(RawBatch, Vec<String>)>, FormatError> {
        if self.rows == 0 {
            return Ok(None);
        }
        if is_sample {
            self.known = self.columns.len();
        }
        let misfits = self.misfits();
        let (rows, known, misshapen) = (self.rows, self.known, self.misshapen);
        let mut keys = Vec::with_capacity(known);
        let (mut columns, mut said, mut late) = (vec![], vec![], vec![]);
        for (index, mut column) in self.columns.into_iter().enumerate() {
            column.fill(rows);
            let values = without(Arc::new(column.texts.finish()), self.withdrawn.get(&index))?;
            let kinds = column.kinds.said();
            if index < known {
                columns.push(values);
                said.push(kinds);
                keys.push(column.key);
            } else if values.null_count() < rows {
                late.push(LateColumn { header: column.key, values, said: kinds });
            }
        }
        Ok(Some((RawBatch { columns, said, late, misfits, misshapen, first_row }, keys)))
    }

    fn misfits(&mut self) -> StringArray {
        let names = self.columns[..self.known].iter().map(|column| column.key.as_str());
        let mut names = column_names(names);
        // One by one: what they are called has not to depend on the others behind the sample.
        let late = self.columns[self.known..].iter().map(|column| column.key.as_str());
        names.extend(late.flat_map(|key| column_names([key])));
        let mut texts: Vec<Option<String>> = vec![None; self.rows];
        for (row, misfit) in self.misfits.drain(..) {
            let mut json = Map::new();
            for (index, value) in misfit.cells {
                let mut name = names[index].clone();
                while json.contains_key(&name) {
                    name.push('_');
                }
                json.insert(name, value);
            }
            json.extend(misfit.whole.map(|whole| ("_text".to_owned(), whole)));
            json.insert("_problem".to_owned(), misfit.problem.into());
            texts[row] = Some(Value::Object(json).to_string());
        }
        StringArray::from(texts)
    }
}

impl Column {
    /// Fills rows that do not have the key with nulls.
    fn fill(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.texts.len());
        self.texts.append_nulls(missing);
    }

    /// Adds a value; or a null, and why it is none.
    fn push(&mut self, row: usize, written: &[u8], kind: Kind) -> Result<(), &'static str> {
        self.fill(row);
        let text = match kind {
            Kind::Null => Ok(None),
            Kind::True => Ok(Some(Cow::Borrowed("true"))),
            Kind::False => Ok(Some(Cow::Borrowed("false"))),
            Kind::Number => decoded(written, false).map(Some),
            Kind::Text { escaped } => decoded(written, escaped).map(Some),
            Kind::Nested => compact(written).map(|text| Some(Cow::Owned(text))),
        };
        match kind {
            Kind::Null => {}
            Kind::Number => self.kinds.numbers = true,
            Kind::True | Kind::False => self.kinds.booleans = true,
            Kind::Text { .. } | Kind::Nested => self.kinds.texts = true,
        }
        match text {
            Ok(Some(text)) => self.texts.append_value(text),
            Ok(None) => self.texts.append_null(),
            Err(why) => {
                self.texts.append_null();
                return Err(why);
            }
        }
        Ok(())
    }
}

impl Kinds {
    fn said(self) -> Said {
        match (self.texts, self.numbers, self.booleans) {
            (false, true, false) => Said::Numbers,
            (false, false, true) => Said::Booleans,
            (false, false, false) => Said::Nothing,
            _ => Said::Texts,
        }
    }
}

/// The same column with nulls in some rows.
fn without(column: ArrayRef, rows: Option<&HashSet<usize>>) -> Result<ArrayRef, FormatError> {
    let Some(rows) = rows else { return Ok(column) };
    let withdrawn: BooleanArray = (0..column.len()).map(|row| Some(rows.contains(&row))).collect();
    Ok(nullif(&column, &withdrawn)?)
}
