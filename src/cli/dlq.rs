//! `dlq`: lists, shows, replays and purges dead letters.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use globset::GlobBuilder;

use super::exit::Usage;
use super::output::{Format, print, print_line, say};
use super::progress::{Progress, watched_with_progress};
use super::quiet::quiet;
use crate::dead_letters::queued::{self, Action, Counts};
use crate::dead_letters::recorded::{self, Recorded};
use crate::dead_letters::{Entry, Filter};
use crate::ledger::ObjectOutcome;
use crate::pipeline::{Intake, Pipeline, Queues, Wired};
use crate::reason::Reason;
use crate::worker::report::counted;

#[derive(Debug, Subcommand)]
pub(super) enum DlqCommand {
    #[command(
        after_help = "Examples:\n  silversmith dlq list\n  silversmith dlq list --since 2h --format json | jq -r .reason | sort | uniq -c"
    )]
    /// List dead letters, one per line
    List {
        #[command(flatten)]
        which: Which,
        /// How rows are printed: as a table, as CSV with a header, or as one JSON object per line
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    #[command(
        after_help = "Examples:\n  silversmith dlq show 019a7f3e-5c1d-7d51-9a0b-1f2e3d4c5b6a\n  silversmith dlq show s3://raw-zone/orders/1.csv"
    )]
    /// Show one dead letter in full
    Show {
        /// Id of the dead letter, as in `dlq list`, or the URI of its object
        id: String,
    },
    #[command(
        after_help = "Examples:\n  silversmith dlq replay --dry-run\n  silversmith dlq replay --reason schema-changed --match 's3://raw-zone/orders/**'\n  silversmith dlq replay --again --match 's3://raw-zone/orders/2026-01-31.csv'"
    )]
    /// Process dead letters again, after their cause is fixed; repeating a replay is harmless
    Replay {
        #[command(flatten)]
        which: Which,
        /// Also replace what was ingested of their objects before, under the configuration of the workers
        #[arg(long)]
        again: bool,
        /// Only show what would happen
        #[arg(long)]
        dry_run: bool,
    },
    #[command(
        after_help = "Examples:\n  silversmith dlq purge --reason not-text --dry-run\n  silversmith dlq purge --all"
    )]
    /// Delete dead letters for good
    Purge {
        #[command(flatten)]
        which: Which,
        /// Purge every dead letter; required when no filter is given
        #[arg(long)]
        all: bool,
        /// Only show what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only dead letters with this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only dead letters about an object whose URI matches this glob
    #[arg(long = "match", value_name = "GLOB")]
    matching: Option<String>,
    /// Only dead letters newer than TIME (RFC 3339, or an age such as 2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Maximum number of dead letters
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Which {
    fn filter(&self, now: DateTime<Utc>) -> anyhow::Result<Filter> {
        let matching = match &self.matching {
            None => None,
            Some(glob) => {
                let glob = GlobBuilder::new(glob).literal_separator(true).build();
                Some(glob.map_err(|e| Usage(format!("--match: {e}")))?.compile_matcher())
            }
        };
        let since = self.since.as_deref().map(|text| since(text, now)).transpose()?;
        if self.limit == Some(0) {
            return Err(Usage("--limit must be at least 1".to_owned()).into());
        }
        Ok(Filter { reason: self.reason.clone(), matching, since, limit: self.limit })
    }

    fn is_everything(&self) -> bool {
        self.reason.is_none() && self.matching.is_none() && self.since.is_none()
    }
}

fn since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Usage> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let then = TimeDelta::from_std(ago).ok().and_then(|ago| now.checked_sub_signed(ago));
        return then.ok_or_else(|| Usage(format!("--since: `{text}` is too long ago")));
    }
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.map_err(|_| {
        Usage(format!("--since: `{text}` is not a time; write 2h, 3d or 2026-01-31T12:00:00Z"))
    })
}

pub(super) async fn run(wired: &Wired, command: DlqCommand) -> anyhow::Result<()> {
    let now = wired.lake.ambient().now();
    match command {
        DlqCommand::List { which, format } => {
            let found = look(wired, &which.filter(now)?).await?;
            print(&[rows(&found)?], format)
        }
        DlqCommand::Show { id } => show(wired, &id).await,
        DlqCommand::Replay { which, again, dry_run } => {
            let again = again.then_some(now);
            act(wired, &which.filter(now)?, Verb::Replay { again }, dry_run).await
        }
        DlqCommand::Purge { which, all, dry_run } => {
            if which.is_everything() && !all && !dry_run {
                let why = "choose the dead letters to purge: --reason, --match, --since, or --all";
                return Err(Usage(why.to_owned()).into());
            }
            act(wired, &which.filter(now)?, Verb::Purge, dry_run).await
        }
    }
}

/// What to do with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// `again`: what was ingested of their objects before this time is replaced.
    Replay {
        again: Option<DateTime<Utc>>,
    },
    Purge,
}

impl Verb {
    fn done(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replayed",
            Self::Purge => "purged",
        }
    }
}

/// The dead letters that the filter selects, with the errors of redriven messages completed.
async fn look(wired: &Wired, filter: &Filter) -> anyhow::Result<Vec<Entry>> {
    let Intake::Queue(queues) = &wired.intake else {
        let found = all_recorded(wired, filter).await?;
        return Ok(found.into_iter().flat_map(|(_, r)| r).map(|r| r.entry).collect());
    };
    let mut found = Vec::new();
    in_queue(wired, queues, filter, &Action::Look, |entry| found.push(entry)).await?;
    found.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    explain(wired, &mut found).await?;
    Ok(found)
}

async fn in_queue(
    wired: &Wired,
    queues: &Queues,
    filter: &Filter,
    action: &Action,
    mut found: impl FnMut(Entry) + Send,
) -> anyhow::Result<Counts> {
    let waiting = queues.dlq.describe().await?.messages();
    let what = match action {
        Action::Look => "reading dead letters",
        Action::Replay { .. } => "replaying dead letters",
        Action::Purge => "purging dead letters",
    };
    let worked = watched_with_progress(what, |progress: Progress| async move {
        let ambient = wired.lake.ambient();
        let report = move |counts: Counts| {
            progress.set(format!("{what}: {} of about {waiting} done", counts.done));
        };
        queued::work(&queues.dlq, filter, action, ambient, &mut found, report).await
    });
    let counts = worked.await?;
    let hidden = waiting.saturating_sub(counts.seen as u64);
    if filter.limit.is_none() && hidden > 0 && queues.settings.dlq.ends_with(".fifo") {
        say(&format!(
            "about {hidden} more are not shown: they do not match, or the FIFO queue holds them back. It delivers at most ten in-flight messages per group. Replay or purge these, then run again"
        ))?;
    }
    Ok(counts)
}

/// Adds the outcomes in the ledger to the errors of messages that the queue itself moved.
async fn explain(wired: &Wired, entries: &mut [Entry]) -> anyhow::Result<()> {
    let uris: Vec<String> = entries
        .iter()
        .filter(|entry| entry.reason == Reason::Redriven.as_str())
        .flat_map(|entry| entry.uris.iter().cloned())
        .collect();
    if uris.is_empty() {
        return Ok(());
    }
    let mut outcomes: HashMap<String, String> = HashMap::new();
    for pipeline in &wired.pipelines {
        let bronze = wired.lake.find(&pipeline.settings.bronze.table).await?;
        let ledger = pipeline.bronze.ledger();
        if wired.lake.find(ledger.table()).await?.is_none() {
            continue;
        }
        for (uri, words) in ledger.view(bronze.as_ref()).await?.newest(&uris).await? {
            let more = format!("{}: {words}", pipeline.settings.name);
            let all = outcomes.entry(uri).or_default();
            *all = if all.is_empty() { more } else { format!("{all}, {more}") };
        }
    }
    for entry in entries.iter_mut().filter(|entry| entry.reason == Reason::Redriven.as_str()) {
        for uri in &entry.uris {
            let known = outcomes.get(uri).map_or(
                "none (workers died or were stopped while they processed it)",
                String::as_str,
            );
            entry.error.push_str(&format!("; outcome of {uri} in the ledger: {known}"));
        }
    }
    Ok(())
}

async fn show(wired: &Wired, id: &str) -> anyhow::Result<()> {
    let found = look(wired, &Filter::default()).await?;
    let is_requested = |entry: &&Entry| entry.id == id || entry.uris.iter().any(|uri| uri == id);
    let mut any = false;
    for entry in found.iter().filter(is_requested) {
        any = true;
        let at = entry.at.map_or_else(|| "unknown".to_owned(), |at| at.to_rfc3339());
        print_line(&format!("id        {}\nsince     {at}", quiet(&entry.id)))?;
        print_line(&format!("reason    {}", quiet(&entry.reason)))?;
        print_line(&format!("pipeline  {}", quiet(entry.pipeline.as_deref().unwrap_or("-"))))?;
        for uri in &entry.uris {
            print_line(&format!("object    {}", quiet(uri)))?;
        }
        print_line(&format!("error     {}", quiet(&entry.error)))?;
        if !entry.body.is_empty() {
            print_line(&quiet(&queued::pretty(&entry.body)))?;
        }
    }
    if !any {
        let why = format!("there is no dead letter `{id}`; `silversmith dlq list` lists them");
        return Err(Usage(why).into());
    }
    Ok(())
}

async fn act(wired: &Wired, filter: &Filter, verb: Verb, dry_run: bool) -> anyhow::Result<()> {
    if dry_run {
        let found = look(wired, filter).await?;
        print(&[rows(&found)?], Format::Table)?;
        let count = counted(found.len() as u64, "dead letter");
        return say(&format!("{count} would be {}; nothing was done", verb.done()));
    }
    let Intake::Queue(queues) = &wired.intake else {
        return act_recorded(wired, filter, verb).await;
    };
    let action = match verb {
        Verb::Replay { again } => Action::Replay { to: queues.queue.clone(), again },
        Verb::Purge => Action::Purge,
    };
    let counts = in_queue(wired, queues, filter, &action, |_| {}).await?;
    say(&format!("{} {}", counted(counts.done as u64, "dead letter"), verb.done()))?;
    if counts.refused > 0 {
        anyhow::bail!(
            "a queue refused {}, which stay in the dead-letter queue",
            counted(counts.refused as u64, "dead letter")
        );
    }
    Ok(())
}

/// The objects that were not ingested, by pipeline.
async fn all_recorded<'a>(
    wired: &'a Wired,
    filter: &Filter,
) -> anyhow::Result<Vec<(&'a Pipeline, Vec<Recorded>)>> {
    let memory = wired.settings.memory().queries_of_a_command();
    let (mut all, mut left) = (Vec::new(), filter.limit.unwrap_or(usize::MAX));
    for pipeline in &wired.pipelines {
        let (ledger, name) = (pipeline.bronze.ledger(), &pipeline.settings.name);
        let mut found = recorded::failed(ledger, name, filter, memory).await?;
        found.truncate(left);
        left -= found.len();
        all.push((pipeline, found));
    }
    Ok(all)
}

async fn act_recorded(wired: &Wired, filter: &Filter, verb: Verb) -> anyhow::Result<()> {
    let mut done = 0;
    for (pipeline, found) in all_recorded(wired, filter).await? {
        let outcome = match verb {
            Verb::Replay { .. } => ObjectOutcome::Replayed,
            Verb::Purge => ObjectOutcome::Skipped,
        };
        let oldest = found.iter().map(|object| object.id.last_modified).min();
        if let (Verb::Replay { .. }, Some(oldest)) = (verb, oldest) {
            // First: once they are recorded as replayed, they are no longer listed as dead letters.
            pipeline.bronze.list_from(oldest).await?;
        }
        let now = wired.lake.ambient().now();
        recorded::record(pipeline.bronze.ledger(), &found, outcome, now).await?;
        done += found.len();
    }
    let next = match verb {
        Verb::Replay { .. } if done > 0 => ": the next listing ingests them",
        _ => "",
    };
    say(&format!("{} {}{next}", counted(done as u64, "dead letter"), verb.done()))
}

fn rows(entries: &[Entry]) -> anyhow::Result<RecordBatch> {
    let texts = |value: &dyn Fn(&Entry) -> Option<String>| -> ArrayRef {
        Arc::new(entries.iter().map(value).collect::<StringArray>())
    };
    let at = entries.iter().map(|entry| entry.at.map(|at| at.timestamp_micros()));
    let at = at.collect::<TimestampMicrosecondArray>().with_timezone("+00:00");
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("id", texts(&|e| Some(e.id.clone())), false),
        ("since", Arc::new(at) as ArrayRef, true),
        ("reason", texts(&|e| Some(e.reason.clone())), false),
        ("pipeline", texts(&|e| e.pipeline.clone()), true),
        ("object", texts(&|e| e.uris.first().cloned()), true),
        ("error", texts(&|e| Some(e.error.clone())), false),
    ])?)
}
