//! `sql`: queries over the lake, and over the rows that were appended to a table.

use clap::Args;

use super::FormatArgs;
use super::exit::Usage;
use super::output::print_stream;
use super::progress::watched;
use crate::lake::{SnapshotId, TableName};
use crate::pipeline::Wired;
use crate::sql::session::{query, session};
use crate::sql::{changes, time_travel};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  silversmith sql 'SELECT city, count(*) FROM silver.customers GROUP BY city'
  silversmith sql 'SELECT * FROM silver.customers VERSION AS OF 8744736658442914487'
  silversmith sql \"SELECT * FROM silver.customers TIMESTAMP AS OF '2026-01-31 12:00:00'\"
  silversmith sql 'SELECT * FROM silver.customers.snapshots'
  silversmith sql --changes bronze.customers --from 5618 --to 5620
  silversmith sql --changes bronze.customers --from 5618 'SELECT count(*) FROM changes'")]
pub(super) struct SqlArgs {
    /// One SELECT statement; with --changes, it reads the table `changes`
    query: Option<String>,
    /// Read the rows that were appended to TABLE, as the table `changes`
    #[arg(long, value_name = "TABLE")]
    changes: Option<TableName>,
    /// With --changes: only rows appended after this snapshot
    #[arg(long, value_name = "SNAPSHOT", requires = "changes")]
    from: Option<SnapshotId>,
    /// With --changes: only rows appended up to this snapshot
    #[arg(long, value_name = "SNAPSHOT", requires = "changes")]
    to: Option<SnapshotId>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(wired: &Wired, args: SqlArgs) -> anyhow::Result<()> {
    let context = session(wired.settings.memory().queries_of_a_command())?;
    let lake = &wired.lake;
    let rows = async {
        let frame = match (&args.changes, &args.query) {
            (Some(table), sql) => {
                changes::register(lake, &context, table, args.from, args.to).await?;
                let sql = sql.as_deref().unwrap_or("SELECT * FROM changes");
                query(&context, "the query", sql).await?
            }
            (None, Some(sql)) => time_travel::query(lake, &context, sql).await?,
            (None, None) => {
                let message =
                    "no query: pass a SELECT or --changes TABLE; see `silversmith sql --help`";
                return Err(anyhow::Error::from(Usage(message.to_owned())));
            }
        };
        Ok(frame.execute_stream().await?)
    };
    let rows = watched("query", rows).await?;
    watched("query", print_stream(rows, args.format.format)).await
}
