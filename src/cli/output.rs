//! Rows on stdout: as a table for people, as CSV or JSON lines for programs.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::csv::WriterBuilder;
use arrow::json::LineDelimitedWriter;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

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

const TIME: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Prints complete batches.
pub(super) fn print(batches: &[RecordBatch], format: Format) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    write(&mut out, batches, format)?;
    Ok(out.flush()?)
}

/// Prints rows as they arrive; a table alone waits for all of them, as they set the widths of its columns.
pub(super) async fn print_stream(
    mut rows: SendableRecordBatchStream,
    format: Format,
) -> anyhow::Result<()> {
    if format == Format::Table {
        let schema = rows.schema();
        let mut batches: Vec<RecordBatch> = rows.try_collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        return print(&batches, format);
    }
    let mut header = Some(RecordBatch::new_empty(rows.schema()));
    let mut out = BufWriter::new(std::io::stdout());
    while let Some(batch) = rows.try_next().await? {
        write_more(&mut out, &batch, format, header.take().is_some())?;
    }
    if let Some(empty) = header {
        write_more(&mut out, &empty, format, true)?;
    }
    Ok(out.flush()?)
}

pub(super) fn write(
    out: &mut impl Write,
    batches: &[RecordBatch],
    format: Format,
) -> anyhow::Result<()> {
    if format == Format::Table {
        let batches = &batches.iter().map(quiet_cells).collect::<anyhow::Result<Vec<_>>>()?;
        let options = FormatOptions::new()
            .with_timestamp_tz_format(Some(TIME))
            .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
            .with_display_error(true);
        writeln!(out, "{}", pretty_format_batches_with_options(batches, &options)?)?;
        return Ok(());
    }
    for (index, batch) in batches.iter().enumerate() {
        write_more(out, batch, format, index == 0)?;
    }
    Ok(())
}

/// A text without control characters that act on a terminal: keys, cells and errors quote foreign input.
pub(super) fn quiet(text: &str) -> String {
    let each = text.chars().map(|c| match c {
        '\n' => "\n".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    each.collect()
}

fn quiet_cells(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let loud = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.as_string_opt::<i32>() {
            Some(texts) if texts.iter().flatten().any(loud) => {
                Arc::new(texts.iter().map(|text| text.map(quiet)).collect::<StringArray>())
            }
            _ => column.clone(),
        }
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
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
            let mut writer = LineDelimitedWriter::new(&mut text);
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
    match out.write_all(&text) {
        // The reader has seen enough (`| head`). The query still runs: it ends with the process.
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
