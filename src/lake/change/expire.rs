//! Taking snapshots out, and nothing else.

use super::{Prepared, proposal, without};
use crate::lake::error::Doing;
use crate::lake::write::uncommitted::Written;
use crate::lake::{Lake, LakeError, SnapshotId, Table};

const DOING: &str = "making its new metadata";

/// The metadata without the `expired` snapshots. It makes no snapshot: the id is one that no table has, and the
/// commit is found by its metadata file.
pub(in crate::lake) async fn prepare(
    lake: &Lake,
    table: &Table,
    expired: &[i64],
) -> Result<Prepared, LakeError> {
    lake.check_writable(table)?;
    let location = lake.next_metadata_location(table)?;
    let old = Some(table.metadata_location().to_owned());
    let builder = table.metadata().clone().into_builder(old);
    let built = without(builder, table.metadata(), expired).build().doing(table.name(), DOING)?;
    let proposal = proposal(table, built, location.to_string());
    let mut wrote = Written::nothing(lake);
    wrote.push(proposal.metadata_location.clone());
    lake.write_metadata(table.name(), &proposal).await?;
    Ok(Prepared { snapshot: SnapshotId(lake.ambient.snapshot_id()), proposal, wrote })
}
