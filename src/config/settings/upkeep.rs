//! `[lake.upkeep]`: what keeps tables fast and small.

use std::time::Duration;

use super::resolver::{Resolver, duration, one_of};
use super::{KeepSnapshots, UpkeepSettings};
use crate::config::file::UpkeepSection;

/// The word that turns a thing off.
const NEVER: &str = "never";
/// How old orphans are by default, and at least: a batch that is still being written must not be taken for one.
const ORPHANS: Duration = Duration::from_secs(3 * 86_400);
/// See [`ORPHANS`].
const LEAST_ORPHANS: Duration = Duration::from_secs(86_400);

pub(super) fn upkeep(resolver: &mut Resolver, section: &UpkeepSection) -> UpkeepSettings {
    let snapshots = resolver.parsed(
        "lake.upkeep.keep_snapshots",
        section.keep_snapshots.as_deref(),
        KeepSnapshots::AsTheTableSays,
        |text| match text {
            NEVER => Ok(KeepSnapshots::Always),
            text => duration(text).map(KeepSnapshots::For),
        },
    );
    let compact = resolver.parsed(
        "lake.upkeep.compact",
        section.compact.as_deref(),
        true,
        one_of(&[("auto", true), (NEVER, false)]),
    );
    let orphans = resolver.parsed(
        "lake.upkeep.orphans_older_than",
        section.orphans_older_than.as_deref(),
        Some(ORPHANS),
        |text| match text {
            NEVER => Ok(None),
            text => old_enough(text).map(Some),
        },
    );
    UpkeepSettings { snapshots, compact, orphans }
}

/// An age at which no process is still writing a file.
pub(crate) fn old_enough(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    if age < LEAST_ORPHANS {
        return Err(format!(
            "`{text}` is too short: a file that is younger than a day may belong to a batch that is still being written"
        ));
    }
    Ok(age)
}
