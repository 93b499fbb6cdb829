//! The objects that a snapshot of the objects table says were not ingested.

use futures::TryStreamExt;

use super::outcome::ObjectOutcome;
use super::rows::{self, ObjectRow};
use crate::lake::{Lake, LakeError, Snapshot, Table};

/// The rows of rejected and missing objects in the files that a snapshot added, in the order of the
/// files.
///
/// # Errors
/// An outcome or a reason that this version does not know: what it says cannot be announced then.
pub async fn rejections(
    lake: &Lake,
    objects: &Table,
    snapshot: &Snapshot,
) -> Result<Vec<ObjectRow>, LakeError> {
    let fields = rows::schema();
    let columns: Vec<String> = fields.fields().iter().map(|field| field.name().clone()).collect();
    let mut found = Vec::new();
    for file in lake.step(objects, snapshot).await?.added {
        let mut batches = lake.read_file(objects, objects.schema(), &file, &columns)?;
        while let Some(batch) = batches.try_next().await? {
            found.extend(rows::read(objects.name(), &batch)?.into_iter().filter(is_rejection));
        }
    }
    Ok(found)
}

fn is_rejection(row: &ObjectRow) -> bool {
    matches!(row.outcome, ObjectOutcome::Rejected | ObjectOutcome::Missing)
}
