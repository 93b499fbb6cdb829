//! The objects that a batch requests of a folder, as they are now.

use super::decide::Folder;
use super::work::{Part, Work};
use crate::bronze::{BronzeError, ObjectEnd, OnMissing};
use crate::error::chain;
use crate::ledger::ObjectOutcome;
use crate::reason::Reason;
use crate::source::{RawObject, ReadError};

impl Work<'_> {
    /// The objects that are requested of a folder, as they are now: an event may name an older version. One that is
    /// gone ends here.
    pub(super) async fn here(
        &mut self,
        folder: &Folder,
        part: &Part,
    ) -> Result<Vec<(usize, RawObject)>, BronzeError> {
        let mut here = Vec::new();
        for index in part.objects.iter().chain(&part.markers) {
            let Some(requested) = self.batch.get(*index) else { continue };
            let uri = requested.uri();
            match folder.markers.get(&uri).or_else(|| folder.objects.get(&uri)) {
                Some(object) => here.push((*index, object.clone())),
                None => self.missing(*index).await?,
            }
        }
        Ok(here)
    }

    /// An object that was requested and is not there: its message was redelivered after it was deleted, or it was never
    /// ingested.
    pub(super) async fn missing(&mut self, index: usize) -> Result<(), BronzeError> {
        let Some(requested) = self.batch.get(index) else { return Ok(()) };
        let id = requested.presumed(self.bronze.lake.ambient().now());
        let bronze = self.bronze.lake.find(&self.bronze.settings.table).await?;
        let view = self.bronze.ledger.view(bronze.as_ref()).await?;
        if !view.ingested_once(std::slice::from_ref(&id)).await?.is_empty() {
            self.end(index, ObjectEnd::Known);
            return Ok(());
        }
        let outcome = match self.bronze.settings.on_missing {
            OnMissing::DeadLetter => ObjectOutcome::Missing,
            OnMissing::Skip => ObjectOutcome::Skipped,
        };
        let (reason, error) = (Reason::Missing, chain(&ReadError::Missing(id.uri.clone())));
        let object = RawObject { id, size: requested.size(), version_id: None };
        self.record(&object, outcome, Some((Some(reason), error.clone())), None);
        self.end(index, ObjectEnd::Failed { outcome, reason, error });
        Ok(())
    }
}
