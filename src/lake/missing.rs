//! Data files that a table names and that are gone.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};

use super::error::Doing;
use super::orphans::{is_table_bucket, normal};
use super::{Lake, LakeError, Table};

/// The most files of a table that are checked: a longer listing would take minutes.
const MOST: usize = 100_000;
/// Files that are looked for at a time.
const LOOKS: usize = 16;

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
        let mut missing: BTreeMap<String, &str> =
            files.iter().map(|file| (normal(file.path()), file.path())).collect();
        if missing.is_empty() {
            return Ok(Some(vec![]));
        }
        let mut listed = listing.list(&format!("{}/data", table.location()));
        while let Some(file) = listed.try_next().await? {
            missing.remove(&normal(&file.path));
        }
        // Other programs put files elsewhere.
        let gone = self.gone(table, missing.into_values().collect()).await?;
        Ok(Some(gone.into_iter().map(str::to_owned).collect()))
    }

    /// Those of these files that do not exist, by a request for each.
    pub async fn gone<'a>(
        &self,
        table: &Table,
        paths: Vec<&'a str>,
    ) -> Result<Vec<&'a str>, LakeError> {
        let look = |path| async move { (path, self.files.exists(path).await) };
        let looks: Vec<_> = paths.into_iter().map(look).collect();
        let mut looks = futures::stream::iter(looks).buffered(LOOKS);
        let mut gone = Vec::new();
        while let Some((path, exists)) = looks.next().await {
            if !exists.doing(table.name(), "looking for a file")? {
                gone.push(path);
            }
        }
        Ok(gone)
    }
}
