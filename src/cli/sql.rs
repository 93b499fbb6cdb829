//! `sql`: queries over the lake, and over what changed in a table.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::FormatArgs;
use super::asking::Asking;
use super::exit::Usage;
use super::output::print_stream;
use super::progress::watched;
use super::shell;
use crate::lake::{SnapshotId, TableName};
use crate::pipeline::Wired;
use crate::sql::between::Between;
use crate::sql::changes;
use crate::sql::statement::{self, parse};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith sql
  silversmith sql 'SELECT city, count(*) FROM silver.customers GROUP BY city'
  silversmith sql 'SHOW TABLES; DESCRIBE silver.customers'
  silversmith sql 'SELECT * FROM silver.customers VERSION AS OF 8744736658442914487'
  silversmith sql \"SELECT * FROM silver.customers TIMESTAMP AS OF '2026-01-31 12:00:00'\"
  silversmith sql 'SELECT * FROM silver.customers.snapshots'
  silversmith sql --file report.sql --format csv > report.csv
  silversmith sql --changes silver.customers --from 8744736658442914487
  silversmith sql --changes bronze.customers 'SELECT count(*) FROM changes'
  silversmith sql \"SELECT _change_type, count(*) FROM changes('silver.customers', 8744736658442914487) GROUP BY 1\"")]
pub(super) struct SqlArgs {
    /// Statements, each ended by a semicolon but the last; with --changes, one that reads the table `changes`.
    /// Without any: a shell on a terminal, else the statements on stdin
    query: Option<String>,
    /// Read the statements from this file
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with_all = ["query", "changes"])]
    file: Option<PathBuf>,
    /// Read what changed in TABLE, row by row, as the table `changes`
    #[arg(long, value_name = "TABLE")]
    changes: Option<TableName>,
    /// With --changes: only changes after this snapshot
    #[arg(long, value_name = "SNAPSHOT", requires = "changes")]
    from: Option<SnapshotId>,
    /// With --changes: only changes up to this snapshot
    #[arg(long, value_name = "SNAPSHOT", requires = "changes")]
    to: Option<SnapshotId>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(wired: &Wired, args: SqlArgs) -> anyhow::Result<()> {
    let (lake, format) = (&wired.lake, args.format.format);
    let asking = Asking { wired, memory: wired.settings.memory().queries_of_a_command() };
    if let Some(table) = args.changes {
        let context = asking.session()?;
        let between = Between { table, from: args.from, to: args.to };
        let rows = async {
            let changed = changes::changes(lake, &context, "changes", &between).await?;
            context.register_table("changes", changed.into_view())?;
            let sql = args.query.as_deref().unwrap_or("SELECT * FROM changes");
            Ok::<_, anyhow::Error>(
                statement::query(lake, &context, sql).await?.execute_stream().await?,
            )
        };
        let rows = watched("query", Box::pin(rows)).await?;
        watched("query", print_stream(rows, format)).await?;
        return Ok(());
    }
    let text = match (args.query, args.file) {
        (Some(query), _) => query,
        (None, Some(file)) => {
            std::fs::read_to_string(&file).with_context(|| format!("--file {}", file.display()))?
        }
        (None, None) if std::io::stdin().is_terminal() => {
            return shell::run(asking, format).await;
        }
        (None, None) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("statements on stdin")?;
            text
        }
    };
    let asked = parse(&text)?;
    if asked.is_empty() {
        let message = "no query: pass a SELECT or --changes TABLE; see `silversmith sql --help`";
        return Err(Usage(message.to_owned()).into());
    }
    for asked in asked {
        asking.answer(asked, format).await?;
    }
    Ok(())
}
