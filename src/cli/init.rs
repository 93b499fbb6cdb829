//! `init`: writes a first `silversmith.toml` from a sample.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use clap::Args;

use super::check::columns_of;
use super::exit::Usage;
use super::output::say;
use crate::format::feed::Feed;
use crate::format::{self, FormatSettings, Limits};
use crate::lake::type_name;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith init raw/orders.csv
  silversmith init raw/orders.csv --config lakes/orders.toml")]
pub(super) struct InitArgs {
    /// Sample CSV file; its folder becomes the source
    file: PathBuf,
    /// Overwrite the configuration file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(config: &Path, args: InitArgs) -> anyhow::Result<()> {
    if config.exists() && !args.force {
        let message = format!("{} exists already; --force overwrites it", config.display());
        return Err(Usage(message).into());
    }
    let text = written(config, &args.file)?;
    std::fs::write(config, text).with_context(|| config.display().to_string())?;
    say(&format!(
        "wrote {}: look at keys and order_by, then run `silversmith check` and `silversmith run --until-idle`",
        config.display()
    ))
}

/// The text of a configuration for files like this one.
fn written(config: &Path, file: &Path) -> anyhow::Result<String> {
    let format = FormatSettings::default();
    let columns = columns_of(file, &format, &Feed::default())?;
    if columns.is_empty() {
        let why = format!("{} is empty; a sample needs at least a header line", file.display());
        return Err(Usage(why).into());
    }
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = format::names::column_names([stem.as_str()]).remove(0);
    let folder = folder_of(config, file)?;
    let keys = key(file, &format)?;
    let order: Vec<&str> = columns
        .iter()
        .filter(|(_, kind, _)| matches!(kind, DataType::Timestamp(..)))
        .map(|(name, ..)| name.as_str())
        .take(1)
        .collect();
    let declared: Vec<String> =
        columns.iter().map(|(name, kind, _)| format!("{name} = \"{}\"", type_name(kind))).collect();
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

[pipeline.csv.columns]   # types inferred from the sample; a cell of another type goes to _rescued
{declared}

[pipeline.bronze]
table = "bronze.{name}"

[pipeline.silver]
table    = "silver.{name}"
keys     = {keys:?}   # the columns that identify a row: a guess, check it
order_by = {order:?}   # the column that says which row is newer; [] = the time of the file
"#,
        glob = format!("{folder}/**/*.csv"),
        declared = declared.join("\n"),
    ))
}

/// The sample's folder, relative to the configuration file where it is below it.
fn folder_of(config: &Path, file: &Path) -> anyhow::Result<String> {
    let file = std::path::absolute(file)?;
    let config = std::path::absolute(config)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let base = config.parent().unwrap_or(Path::new("/"));
    let relative = folder.strip_prefix(base).unwrap_or(folder);
    let text = relative.to_string_lossy().into_owned();
    Ok(if text.is_empty() { ".".to_owned() } else { text })
}

/// The first column, or else the fewest first columns, whose values are unique in the sample.
fn key(file: &Path, format: &FormatSettings) -> anyhow::Result<Vec<String>> {
    let input = Box::new(File::open(file)?);
    let reader = format::open(format, input, Limits::default())?;
    let names = reader.names();
    let Some(sample) = reader.sample() else { return Ok(names.iter().take(1).cloned().collect()) };
    let unique = |positions: &[usize]| {
        let mut seen = HashSet::new();
        (0..sample.rows()).all(|row| {
            let cell = |position: &usize| {
                let column = sample.columns[*position].as_string::<i32>();
                column.is_valid(row).then(|| column.value(row))
            };
            let cells: Option<Vec<&str>> = positions.iter().map(cell).collect();
            cells.is_some_and(|cells| seen.insert(cells))
        })
    };
    let one = (0..names.len()).find(|position| unique(&[*position])).map(|p| vec![p]);
    let several =
        || (2..=names.len()).map(|n| (0..n).collect::<Vec<_>>()).find(|first| unique(first));
    let positions = one.or_else(several).unwrap_or_else(|| vec![0]);
    Ok(positions.into_iter().map(|p| names[p].clone()).collect())
}
