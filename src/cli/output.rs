//! Rows on stdout: as a table for people, as CSV or JSON lines for programs.

use std::io::{BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::json::WriterBuilder as JsonBuilder;
use arrow::json::writer::LineDelimited;
use console::Term;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::table::{TIME, TableWriter};

/// The format of printed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// Aligned table
    #[default]
    Table,
    /// CSV with a header
    Csv,
    /// One JSON object per line
    Json,
}

/// Prints complete batches.
pub(super) fn print(batches: &[RecordBatch], format: Format) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    write(&mut out, batches, format)?;
    Ok(out.flush()?)
}

/// Prints rows as they come. Returns how many there were.
pub(super) async fn print_stream(
    mut rows: SendableRecordBatchStream,
    format: Format,
) -> anyhow::Result<usize> {
    let mut out = BufWriter::new(std::io::stdout());
    let mut written = Written::new(&rows.schema(), format);
    while let Some(batch) = rows.try_next().await? {
        written.add(&mut out, &batch)?;
        // A reader that has gone away ends the query, however slowly it comes to rows.
        closed_is_the_end(out.flush())?;
    }
    let count = written.count;
    written.end(&mut out)?;
    closed_is_the_end(out.flush())?;
    Ok(count)
}

pub(super) fn write(
    out: &mut impl Write,
    batches: &[RecordBatch],
    format: Format,
) -> anyhow::Result<()> {
    let schema = batches.first().map_or_else(|| Schema::empty().into(), RecordBatch::schema);
    let mut written = Written::new(&schema, format);
    for batch in batches {
        written.add(out, batch)?;
    }
    written.end(out)
}

/// Rows on their way out.
struct Written {
    format: Format,
    schema: SchemaRef,
    table: Option<TableWriter>,
    batches: usize,
    count: usize,
}

impl Written {
    fn new(schema: &SchemaRef, format: Format) -> Self {
        let fit = Some(Term::stdout()).filter(Term::is_term).map(|term| term.size().1.into());
        let table = (format == Format::Table).then(|| TableWriter::new(schema, fit));
        Self { format, schema: schema.clone(), table, batches: 0, count: 0 }
    }

    fn add(&mut self, out: &mut impl Write, batch: &RecordBatch) -> anyhow::Result<()> {
        self.count += batch.num_rows();
        self.batches += 1;
        match &mut self.table {
            Some(table) => table.add(out, batch),
            None => write_more(out, batch, self.format, self.batches == 1),
        }
    }

    fn end(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.table {
            Some(table) => table.end(out),
            None if self.batches == 0 => {
                write_more(out, &RecordBatch::new_empty(self.schema), self.format, true)
            }
            None => Ok(()),
        }
    }
}

fn write_more(
    out: &mut impl Write,
    batch: &RecordBatch,
    format: Format,
    first: bool,
) -> anyhow::Result<()> {
    // Into memory first: Arrow's writers hide the kind of an I/O error.
    let mut text = Vec::new();
    match format {
        Format::Json => {
            // With its nulls: each line has the same keys.
            let mut writer =
                JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
            writer.write(batch)?;
            writer.finish()?;
        }
        Format::Csv | Format::Table => {
            WriterBuilder::new()
                .with_header(first)
                .with_timestamp_tz_format(TIME.to_owned())
                .build(&mut text)
                .write(batch)?;
        }
    }
    closed_is_the_end(out.write_all(&text))
}

/// The reader has seen enough (`| head`). The query still runs: it ends with the process.
fn closed_is_the_end(written: std::io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// Prints a line of the command's result, on stdout.
pub(super) fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(())
}

/// Says something to the person at the terminal, on stderr.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stderr().lock();
    writeln!(out, "{text}")?;
    Ok(())
}
