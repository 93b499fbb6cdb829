//! `init`: writes a first `silversmith.toml` from a sample.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use arrow::datatypes::DataType;
use clap::Args;

use super::exit::Usage;
use super::infer::columns_of;
use super::key_guess::{KeyGuess, guess};
use super::output::say;
use super::samples::{Samples, subject};
use crate::format::csv::Dialect;
use crate::format::feed::Feed;
use crate::format::{self, FormatError, FormatSettings, Input, Limits};
use crate::lake::type_name;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith init raw/orders.csv
  silversmith init raw/orders
  silversmith init raw/2026-01-01.csv raw/2026-01-02.csv --name orders
  silversmith init raw/orders.csv --config lakes/orders.toml")]
pub(super) struct InitArgs {
    /// Samples of one feed: CSV, JSON or Parquet files, or their folder, which becomes the source
    #[arg(required = true, value_name = "FILE")]
    samples: Vec<PathBuf>,
    /// Name of the pipeline and its tables; by default, what the file or its folder is called, without dates
    #[arg(long)]
    name: Option<String>,
    /// Overwrite the configuration file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(config: &Path, args: InitArgs) -> anyhow::Result<()> {
    if config.exists() && !args.force {
        let message = format!("{} exists already; --force overwrites it", config.display());
        return Err(Usage(message).into());
    }
    let samples = Samples::of(&args.samples)?;
    let text = written(config, &samples, args.name.as_deref())?;
    std::fs::write(config, text).with_context(|| config.display().to_string())?;
    say(&format!(
        "wrote {}: look at keys and order_by, then run `silversmith check` and `silversmith run --until-idle`",
        config.display()
    ))
}

/// The text of a configuration for files like these.
fn written(config: &Path, samples: &Samples, name: Option<&str>) -> anyhow::Result<String> {
    let Samples { files, folder } = samples;
    let [file, ..] = files.as_slice() else { return Err(Usage("no file".to_owned()).into()) };
    let Understood { settings, format, csv, columns } = understood(file, files)?;
    if columns.is_empty() {
        let why = format!(
            "{} is empty; a sample needs at least a header line, or a JSON object",
            file.display()
        );
        return Err(Usage(why).into());
    }
    let file_name = file.file_name().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let (stem, alike) = parted(&file_name);
    let subject = name.map_or_else(|| subject(stem, folder), str::to_owned);
    let name = format::names::column_names([subject.as_str()]).remove(0);
    let folder = relative(config, folder)?;
    let silver = silver(file, &settings, &name, &columns)?;
    let declared: Vec<String> =
        columns.iter().map(|(name, kind)| format!("{name} = \"{}\"", type_name(kind))).collect();
    Ok(format!(
        r#"# Written by `silversmith init`. All paths are relative to this file.
[lake]
name        = "lake"
catalog     = "sqlite:lake/catalog.db"
warehouse   = "lake/warehouse"
checkpoints = "lake/checkpoints"

[source]
directory = {folder:?}

[[pipeline]]
name   = "{name}"
source = {glob:?}
{format}
{csv}[pipeline.columns]   # types inferred from the sample; a cell of another type goes to _rescued
{declared}

[pipeline.bronze]
table = "bronze.{name}"

{silver}"#,
        glob = format!("{folder}/**/{alike}"),
        declared = declared.join("\n"),
    ))
}

/// What a file is of, by its name, and a glob for files of its kind: `orders` and `*.csv.gz`. Without an ending, a
/// glob for everything would match the files of the lake, too.
fn parted(name: &str) -> (&str, String) {
    let ending = |name: &str| name.rfind('.').filter(|dot| *dot > 0);
    let Some(last) = ending(name) else { return (name, name.to_owned()) };
    let is_compressed = format::is_compressed(&name[last + 1..]);
    let dot = ending(&name[..last]).filter(|_| is_compressed).unwrap_or(last);
    (&name[..dot], format!("*{}", &name[dot..]))
}

/// A folder, relative to the configuration file where it is below it.
fn relative(config: &Path, folder: &Path) -> anyhow::Result<String> {
    let config = std::path::absolute(config)?;
    let base = config.parent().unwrap_or(Path::new("/"));
    let text = folder.strip_prefix(base).unwrap_or(folder).to_string_lossy().into_owned();
    Ok(if text.is_empty() { ".".to_owned() } else { text })
}

/// A column's name and its type.
type Column = (String, DataType);

/// How a file is written, what a configuration has to say about that, and its columns.
struct Understood {
    settings: FormatSettings,
    /// `format = …`, where the file's name does not say it.
    format: &'static str,
    /// `[pipeline.csv]`, where its defaults do not fit.
    csv: String,
    columns: Vec<Column>,
}

/// Understands files by the name and the first line of the first one.
fn understood(file: &Path, files: &[PathBuf]) -> anyhow::Result<Understood> {
    let mut dialect = Dialect::default();
    let by_name = FormatSettings::default().of(&file.display().to_string());
    let (settings, format) = match by_name {
        FormatSettings::Json | FormatSettings::Parquet => (Some(by_name), ""),
        _ if begins_as_json(file)? => (Some(FormatSettings::Json), "format = \"json\"\n"),
        _ => (None, ""),
    };
    if let Some(settings) = settings {
        let columns = columns_in(files, &settings, &Feed::default())?;
        return Ok(Understood { settings, format, csv: String::new(), columns });
    }
    let columns = |dialect: &Dialect| {
        let feed = Feed { delimiter: char::from(dialect.delimiter), ..Feed::default() };
        columns_in(files, &FormatSettings::Csv(dialect.clone()), &feed)
    };
    let columns = match columns(&dialect) {
        Err(error) => match error.downcast_ref::<FormatError>() {
            Some(FormatError::OtherDelimiter { found, .. }) => {
                dialect.delimiter = u8::try_from(*found)?;
                columns(&dialect)?
            }
            _ => return Err(error),
        },
        Ok(columns) => columns,
    };
    let csv = match dialect.delimiter {
        b',' => String::new(),
        other => format!("[pipeline.csv]\ndelimiter = {:?}\n\n", char::from(other).to_string()),
    };
    Ok(Understood { settings: FormatSettings::Csv(dialect), format: "", csv, columns })
}

fn columns_in(
    files: &[PathBuf],
    settings: &FormatSettings,
    feed: &Feed,
) -> anyhow::Result<Vec<Column>> {
    let found = columns_of(files, settings, feed)?;
    Ok(found.into_iter().map(|c| (c.name, c.kind)).collect())
}

/// Whether the first lines of a file are objects of JSON, whatever it is called.
fn begins_as_json(file: &Path) -> anyhow::Result<bool> {
    let input = Box::new(File::open(file).with_context(|| file.display().to_string())?);
    let opened = format::open(&FormatSettings::Json, input, Limits::default());
    Ok(opened.is_ok_and(|reader| reader.sample().is_some_and(|sample| sample.misshapen == 0)))
}

/// The section of silver; a comment where no column looks like a key.
fn silver(
    file: &Path,
    settings: &FormatSettings,
    name: &str,
    columns: &[Column],
) -> anyhow::Result<String> {
    let is_time = |kind: &DataType| matches!(kind, DataType::Timestamp(..));
    let order: Vec<&str> = columns
        .iter()
        .filter(|(_, kind)| is_time(kind))
        .map(|(name, _)| name.as_str())
        .take(1)
        .collect();
    let order = format!(
        "order_by = {order:?}   # the column that says which row is newer; [] = the time of the file\n"
    );
    let input = Input::of_file(File::open(file)?)?;
    let reader = format::open_at(settings, input, Limits::default(), None)?;
    // What other files bring comes after the columns of this one.
    let guess = reader
        .sample()
        .and_then(|sample| guess(&columns[..columns.len().min(sample.columns.len())], sample));
    Ok(match guess {
        Some(KeyGuess { columns, reason }) => format!(
            "[pipeline.silver]\ntable    = \"silver.{name}\"\nkeys     = {columns:?}   # {reason}\n{order}"
        ),
        None => format!(
            "# No column looks like a key. Name those that identify a row, and take the # away:\n\
             # [pipeline.silver]\n# table    = \"silver.{name}\"\n# keys     = []\n# {order}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_kind_have_its_ending() {
        for (name, subject, alike) in [
            ("orders.csv", "orders", "*.csv"),
            ("orders.csv.gz", "orders", "*.csv.gz"),
            ("orders.CSV.GZ", "orders", "*.CSV.GZ"),
            ("orders.2026-01.csv", "orders.2026-01", "*.csv"),
            ("orders.gz", "orders", "*.gz"),
            (".csv", ".csv", ".csv"),
            ("orders", "orders", "orders"),
        ] {
            assert_eq!(parted(name), (subject, alike.to_owned()), "{name}");
        }
    }
}
