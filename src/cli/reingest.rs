//! `objects --reingest`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::exit::Usage;
use super::output::say;
use super::progress::watched_with_progress;
use crate::pipeline::Pipeline;
use crate::worker::report::{bronze_line, counted};

pub(super) async fn run(
    pipelines: &[&Pipeline],
    patterns: &[String],
    dry_run: bool,
) -> anyhow::Result<()> {
    let which = globs(patterns)?;
    let (mut listed, mut read, mut left) = (0, 0, 0);
    for pipeline in pipelines {
        let (name, root) = (&pipeline.settings.name, pipeline.settings.bronze.root.as_str());
        if dry_run {
            listed += pipeline.bronze.count_again(root, &which).await?;
            continue;
        }
        let report = watched_with_progress(&format!("reading again for {name}"), |progress| {
            let set = move |so_far: &_| progress.set(bronze_line(name, so_far));
            pipeline.bronze.read_again(root, &which, set)
        })
        .await?;
        if report.listed > 0 {
            say(&bronze_line(name, &report))?;
        }
        listed += report.listed;
        read += report.ingested;
        left += report.failed + report.postponed;
    }
    if listed == 0 {
        let why = format!("no object of a pipeline matches {}", patterns.join(", "));
        return Err(Usage(why).into());
    }
    if dry_run {
        let count = counted(listed as u64, "object");
        return say(&format!("{count} would be read again; nothing was done"));
    }
    if left > 0 {
        anyhow::bail!(
            "{} could not be read again, and keep what they gave before; `silversmith objects --attempts --match GLOB` shows why",
            counted(left as u64, "object")
        );
    }
    let count = counted(read as u64, "object");
    say(&format!("{count} read again; the next merge brings silver up to them"))
}

fn globs(patterns: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|e| Usage(format!("--reingest: {e}")))?);
    }
    Ok(set.build().map_err(|e| Usage(format!("--reingest: {e}")))?)
}
