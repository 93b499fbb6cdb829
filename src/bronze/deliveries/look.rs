//! A folder, and its manifest, as they are now.

use std::collections::HashSet;
use std::io::Read;

use futures::TryStreamExt;

use super::decide::{Folder, Refusal};
use super::delivery::Objection;
use super::manifest::{MOST_BYTES, Manifest};
use super::{Deliveries, Marker, WHOLE, folder_of, id_of};
use crate::bronze::{Bronze, BronzeError};
use crate::ledger::ObjectOutcome;
use crate::source::{Listing, ObjectId, Opened, RawObject, ReadError, Requested};

impl Bronze {
    /// Of the folders of these objects, those whose delivery waits: nothing is to be done about them before something
    /// new comes. A backfill looks at all of them again.
    pub(in crate::bronze) async fn open_folders(
        &self,
        waiting: &[&ObjectId],
        backfills: bool,
    ) -> Result<HashSet<String>, BronzeError> {
        if self.settings.deliveries.is_none() || backfills || waiting.is_empty() {
            return Ok(HashSet::new());
        }
        let folders: HashSet<&str> = waiting.iter().map(|id| folder_of(&id.uri)).collect();
        let ids = folders.iter().map(|folder| id_of(folder, WHOLE)).collect();
        let bronze = self.lake.find(&self.settings.table).await?;
        let known = self.ledger.known(bronze.as_ref(), &ids).await?;
        let waits = |folder: &&str| {
            let state = known.get(&id_of(folder, WHOLE)).map(|attempt| attempt.outcome);
            state == Some(ObjectOutcome::Waiting)
        };
        Ok(folders.into_iter().filter(waits).map(str::to_owned).collect())
    }

    /// Lists a folder. Its objects are kept as far as memory is for them, and those `wanted` in any case.
    pub(super) async fn look(
        &self,
        deliveries: &Deliveries,
        uri: &str,
        wanted: &HashSet<String>,
    ) -> Result<Folder, BronzeError> {
        let mut folder = Folder { uri: uri.to_owned(), ..Folder::default() };
        let listing = Listing { root: uri.to_owned(), shallow: true, ..Listing::default() };
        let mut pages = self.source.list(&listing);
        while let Some(page) = pages.try_next().await? {
            for object in page.objects {
                let is_here = folder_of(&object.id.uri) == uri;
                let uri = object.id.uri.clone();
                if is_here && deliveries.is_marker(&uri) {
                    if folder.markers.len() < deliveries.most_objects || wanted.contains(&uri) {
                        folder.markers.insert(uri, object);
                    }
                } else if is_here && self.settings.is_data(&uri) {
                    folder.count += 1;
                    let is_kept = folder.objects.len() < deliveries.most_objects;
                    if is_kept || wanted.contains(&uri) {
                        folder.objects.insert(uri, object);
                    }
                }
            }
        }
        Ok(folder)
    }

    /// Reads the manifest of a folder.
    pub(super) async fn manifest(
        &self,
        marker: &Marker,
        object: &RawObject,
        folder: &str,
        most: usize,
    ) -> Result<Result<Manifest, Objection>, BronzeError> {
        let refused = |why: &str| Ok(Err(Objection::Refused(Refusal::bad_manifest(marker, why))));
        if object.size > MOST_BYTES {
            let why = format!("it has {} bytes, and the limit is {MOST_BYTES}", object.size);
            return refused(&why);
        }
        let bytes = match self.bytes_of(object).await {
            Ok(bytes) => bytes,
            Err(error) => return objection(error).map(Err),
        };
        let (folder, settings) = (folder.to_owned(), self.settings.clone());
        let parse = move || Manifest::parse(&bytes, &folder, most, |uri| settings.is_data(uri));
        match tokio::task::spawn_blocking(parse).await {
            Ok(Ok(manifest)) => Ok(Ok(manifest)),
            Ok(Err(why)) => refused(&why),
            Err(panic) => refused(&format!("silversmith failed while reading it: {panic}")),
        }
    }

    async fn bytes_of(&self, object: &RawObject) -> Result<Vec<u8>, ReadError> {
        let opened = self.open_listed(object).await?;
        let read = move || {
            let mut bytes = Vec::new();
            opened.input.take(MOST_BYTES).read_to_end(&mut bytes).map(|_| bytes)
        };
        let read = tokio::task::spawn_blocking(read).await;
        let bytes = read.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        let bytes = bytes.map_err(|error| read_error(object, error))?;
        self.source.verify(object).await.map(|()| bytes)
    }

    /// Opens an object in the version that was listed, and in no other.
    pub(super) async fn open_listed(&self, object: &RawObject) -> Result<Opened, ReadError> {
        let opened = self.source.open(&Requested::Listed(object.clone())).await?;
        match opened.object.id == object.id {
            true => Ok(opened),
            false => Err(ReadError::Changed(object.id.uri.clone())),
        }
    }
}

/// What an error of reading an object's bytes is.
pub(super) fn read_error(object: &RawObject, error: std::io::Error) -> ReadError {
    let uri = object.id.uri.clone();
    error.downcast::<ReadError>().unwrap_or_else(|source| ReadError::Store { uri, source })
}

/// What a failure to read an object of a delivery means for it.
pub(super) fn objection(error: ReadError) -> Result<Objection, BronzeError> {
    match error {
        ReadError::Missing(_) | ReadError::Changed(_) => Ok(Objection::Moved),
        ReadError::Unreadable { .. } => Ok(Objection::unreadable(crate::error::chain(&error))),
        ReadError::Store { .. } => Err(error.into()),
    }
}
