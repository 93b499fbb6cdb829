//! Data files that a table names and that are gone.

use std::collections::BTreeSet;

use futures::TryStreamExt;

use super::error::Doing;
use super::orphans::is_table_bucket;
use super::{Lake, LakeError, Table};

/// The most files of a table that are checked: a longer listing would take minutes.
const MOST: usize = 100_000;

impl Lake {
    /// The data files of the table's current snapshot that do not exist. `None`: there are too many to look, or its
    /// files cannot be listed.
    pub async fn missing(&self, table: &Table) -> Result<Option<Vec<String>>, LakeError> {
        let listing = self.listing.get().filter(|_| !is_table_bucket(table.location()));
        let Some(listing) = listing else { return Ok(None) };
        let files = self.files_of(table, None, &[]).await?;
        if files.len() > MOST {
            return Ok(None);
        }
        let mut missing: BTreeSet<&str> = files.iter().map(|file| file.path()).collect();
        if missing.is_empty() {
            return Ok(Some(vec![]));
        }
        let mut listed = listing.list(&format!("{}/data", table.location()));
        while let Some(file) = listed.try_next().await? {
            missing.remove(file.path.as_str());
        }
        // Other programs put files elsewhere, or name them in another way.
        let mut gone = Vec::new();
        for path in missing {
            let exists = self.files.exists(path).await.doing(table.name(), "looking for a file")?;
            if !exists {
                gone.push(path.to_owned());
            }
        }
        Ok(Some(gone))
    }
}
