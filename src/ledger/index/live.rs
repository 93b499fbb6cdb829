//! The live files of the objects table, brought up to date by what its snapshots added. Nothing but an append is
//! followed: after a compaction, a removal of rows or a roll-back they are listed anew.

use std::collections::HashMap;

use super::Files;
use crate::lake::LakeError;
use crate::lake::position::{Position, Standing, standing};
use crate::lake::read::diff::{Did, Since};
use crate::lake::read::scan::FileTask;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The state of the objects table that was listed.
    through: Option<Position>,
    /// By path.
    files: HashMap<String, FileTask>,
}

impl Live {
    /// The state of the objects table that these files are of.
    pub(super) fn through(&self) -> Option<&Position> {
        self.through.as_ref()
    }

    /// The files.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileTask> {
        self.files.values()
    }

    /// Whether a file is one of them.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Brings the list up to a state of the objects table.
    pub(super) async fn catch_up(&mut self, files: &Files<'_>) -> Result<(), LakeError> {
        let Some(tip) = files.objects.current() else {
            *self = Self::default();
            return Ok(());
        };
        let tip = Position::of(files.objects, &tip);
        // A view that is older than the list asks it all the same: what it knows more is in bronze, too.
        let is_ahead = |through| standing(files.objects, through) == Standing::Ahead;
        if self.through.as_ref() == Some(&tip) || self.through.as_ref().is_some_and(is_ahead) {
            return Ok(());
        }
        match self.appended(files).await? {
            Some(added) => self.files.extend(added.into_iter().map(by_path)),
            None => {
                let all = files.lake.files_of(files.objects, None, &[]).await?;
                self.files = all.into_iter().map(by_path).collect();
            }
        }
        self.through = Some(tip);
        Ok(())
    }

    /// The files that appends have added since; none where something else was done.
    async fn appended(&self, files: &Files<'_>) -> Result<Option<Vec<FileTask>>, LakeError> {
        let Files { lake, objects, .. } = files;
        let Some(through) = &self.through else { return Ok(None) };
        let snapshots = match lake.since(objects, Some(through)).await {
            Ok(Since::Snapshots(snapshots)) => snapshots,
            Ok(Since::Superset(_)) | Err(LakeError::RolledBack { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if snapshots.iter().any(|snapshot| Did::parse(&snapshot.operation) != Did::Append) {
            return Ok(None);
        }
        let mut added = Vec::new();
        for snapshot in &snapshots {
            added.extend(lake.step(objects, snapshot).await?.added);
        }
        Ok(Some(added))
    }
}

fn by_path(file: FileTask) -> (String, FileTask) {
    (file.path().to_owned(), file)
}
