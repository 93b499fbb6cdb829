//! Rows as a table for people, line by line as they come: the first ones set the widths of the columns. On a terminal
//! that is too narrow for a table, each row is a list of its cells.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use unicode_width::UnicodeWidthStr;

use super::quiet::quiet;

/// Rows that are held until the widths are known.
const HELD: usize = 1_000;
/// The least width of a column that is cut to fit.
const LEAST: usize = 8;

/// How times are written.
pub(super) const TIME: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// The lines of a cell.
type Cell = Vec<String>;

/// See the module.
#[derive(Debug)]
pub(super) struct TableWriter {
    names: Vec<String>,
    /// Empty until the header is written.
    widths: Vec<usize>,
    held: Vec<Vec<Cell>>,
    /// The width of the terminal that it is to fit into.
    fit: Option<usize>,
    /// Rows that were written as lists; none where they are lines of a table.
    lists: Option<usize>,
}

impl TableWriter {
    /// A table of these columns, cut to the width of a terminal where there is one.
    pub(super) fn new(schema: &Schema, fit: Option<usize>) -> Self {
        let names = schema.fields().iter().map(|field| quiet(field.name())).collect();
        Self { names, widths: vec![], held: vec![], fit, lists: None }
    }

    /// Adds rows.
    pub(super) fn add(&mut self, out: &mut impl Write, batch: &RecordBatch) -> anyhow::Result<()> {
        for row in cells(batch)? {
            match self.widths.is_empty() {
                true => self.held.push(row),
                false => self.row(out, &row)?,
            }
            if self.held.len() == HELD {
                self.begin(out)?;
            }
        }
        Ok(())
    }

    /// Writes what is held, and the last line.
    pub(super) fn end(mut self, out: &mut impl Write) -> anyhow::Result<()> {
        if self.widths.is_empty() {
            self.begin(out)?;
        }
        match self.lists {
            Some(_) => Ok(()),
            None => Ok(writeln!(out, "{}", self.rule())?),
        }
    }

    fn row(&mut self, out: &mut impl Write, row: &[Cell]) -> anyhow::Result<()> {
        match &mut self.lists {
            Some(count) => {
                *count += 1;
                let number = *count;
                self.list(out, number, row)
            }
            None => self.line(out, row),
        }
    }

    fn begin(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let held = std::mem::take(&mut self.held);
        let width = |cell: &Cell| cell.iter().map(|line| line.width()).max().unwrap_or(0);
        self.widths = (0..self.names.len())
            .map(|column| {
                let cells = held.iter().filter_map(|row| row.get(column)).map(width);
                cells.chain([self.names[column].width()]).max().unwrap_or(0)
            })
            .collect();
        if let Some(fit) = self.fit {
            shrink(&mut self.widths, fit);
            self.lists = (width_of(&self.widths) > fit && !held.is_empty()).then_some(0);
        }
        if self.lists.is_some() {
            return held.iter().try_for_each(|row| self.row(out, row));
        }
        let names: Vec<Cell> = self.names.iter().map(|name| vec![name.clone()]).collect();
        writeln!(out, "{}", self.rule())?;
        self.line(out, &names)?;
        writeln!(out, "{}", self.rule())?;
        for row in &held {
            self.line(out, row)?;
        }
        Ok(())
    }

    fn rule(&self) -> String {
        let columns = self.widths.iter().map(|width| "-".repeat(width + 2));
        format!("+{}+", columns.collect::<Vec<_>>().join("+"))
    }

    /// A row as the names of its columns, each with its cell.
    fn list(&self, out: &mut impl Write, number: usize, row: &[Cell]) -> anyhow::Result<()> {
        let fit = self.fit.unwrap_or(usize::MAX);
        let name = self.names.iter().map(|name| name.width()).max().unwrap_or(0);
        let head = format!("-[ row {number} ]");
        writeln!(out, "{head}{}", "-".repeat((name + 2).saturating_sub(head.len())))?;
        for (column, cell) in self.names.iter().zip(row) {
            let blanks = " ".repeat(name - column.width());
            let text = cut(&cell.join(" "), fit.saturating_sub(name + 3).max(LEAST));
            writeln!(out, "{}", format!("{column}{blanks} | {text}").trim_end())?;
        }
        Ok(())
    }

    fn line(&self, out: &mut impl Write, row: &[Cell]) -> anyhow::Result<()> {
        let height = row.iter().map(Vec::len).max().unwrap_or(1).max(1);
        for index in 0..height {
            let mut line = String::from("|");
            for (cell, width) in row.iter().zip(&self.widths) {
                let text = cell.get(index).map_or("", String::as_str);
                let text = if self.fit.is_some() { cut(text, *width) } else { text.to_owned() };
                let blanks = width.saturating_sub(text.width());
                line.push_str(&format!(" {text}{} |", " ".repeat(blanks)));
            }
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// Makes the widest columns narrower until all fit.
fn shrink(widths: &mut [usize], fit: usize) {
    while width_of(widths) > fit {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > LEAST) else { return };
        *widest -= 1;
    }
}

/// The width of a table, with its borders.
fn width_of(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 3 * widths.len() + 1
}

/// A text of at most this width; one that is longer ends with a sign for it.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        let wider = format!("{short}{c}");
        if wider.width() + 1 > width {
            break;
        }
        short = wider;
    }
    short.push('…');
    short
}

fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>, ArrowError> {
    let options = FormatOptions::new()
        .with_timestamp_tz_format(Some(TIME))
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_display_error(true);
    let columns = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let cell = |column: &ArrayFormatter<'_>, row: usize| -> Cell {
        // Cells quote foreign input: nothing in them acts on a terminal.
        quiet(&column.value(row).to_string()).split('\n').map(str::to_owned).collect()
    };
    let rows = 0..batch.num_rows();
    Ok(rows.map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn written(fit: Option<usize>, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let mut table = TableWriter::new(&batches[0].schema(), fit);
        for batch in batches {
            table.add(&mut out, batch).unwrap();
        }
        table.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn rows(texts: Vec<Option<&str>>) -> RecordBatch {
        let count = texts.len() as i64;
        let columns: [(&str, ArrayRef); 2] = [
            ("n", Arc::new(Int64Array::from_iter_values(0..count))),
            ("text", Arc::new(StringArray::from(texts))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_quiet() {
        let batch = rows(vec![Some("日本\u{1b}[31m"), None, Some("two\nlines")]);
        insta::assert_snapshot!(written(None, &[batch]), @r"
        +---+----------------+
        | n | text           |
        +---+----------------+
        | 0 | 日本\u{1b}[31m |
        | 1 |                |
        | 2 | two            |
        |   | lines          |
        +---+----------------+
        ");
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let batch = rows(vec![Some("0123456789012345678901234567890123456789")]);
        let table = written(Some(30), &[batch]);
        assert!(table.lines().all(|line| line.width() == 30), "{table}");
        assert!(table.contains("012345678901234567890…"), "{table}");
    }

    #[test]
    fn a_terminal_that_is_too_narrow_gets_lists() {
        let batch = rows(vec![Some("a long text that is cut"), None]);
        insta::assert_snapshot!(written(Some(13), std::slice::from_ref(&batch)), @r"
        -[ row 1 ]
        n    | 0
        text | a long …
        -[ row 2 ]
        n    | 1
        text |
        ");
        let none = written(Some(13), &[batch.slice(0, 0)]);
        assert_eq!(none.lines().count(), 4, "the header alone: {none}");
    }

    /// Rows are written before the last one has come, however many there are.
    #[test]
    fn rows_are_written_as_they_come() {
        let batch = rows(vec![Some("x"); HELD]);
        let (mut out, mut table) = (Vec::new(), TableWriter::new(&batch.schema(), None));
        table.add(&mut out, &batch.slice(0, HELD - 1)).unwrap();
        assert!(out.is_empty());
        table.add(&mut out, &batch.slice(0, 1)).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), HELD + 3);
        table.add(&mut out, &rows(vec![Some("wider than before")])).unwrap();
        table.end(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("| wider than before |"));
    }
}
