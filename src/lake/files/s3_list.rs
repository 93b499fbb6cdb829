//! Listing table files on S3.

use std::io;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::Object;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::list::{FileListing, Listed, ListingError};
use crate::aws::described;

/// The files of S3.
pub fn s3_listing(client: Client) -> Arc<dyn FileListing> {
    Arc::new(S3Listing { client })
}

#[derive(Debug)]
struct S3Listing {
    client: Client,
}

impl FileListing for S3Listing {
    fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed, ListingError>> {
        let split = folder.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let Some((bucket, prefix)) = split else {
            let source = io::Error::other("it is not of the form s3://bucket/prefix");
            let error = ListingError { folder: folder.to_owned(), source };
            return futures::stream::once(async move { Err(error) }).boxed();
        };
        let prefix = format!("{prefix}/");
        let request = self.client.list_objects_v2().bucket(bucket).prefix(&prefix);
        let pages = request.into_paginator().send();
        let folder = folder.to_owned();
        let pages = futures::stream::unfold(pages, |mut pages| async move {
            pages.next().await.map(|page| (page, pages))
        });
        let files = pages.map(move |page| {
            let files: Vec<Result<Listed, ListingError>> = match page {
                Ok(page) => {
                    let objects = page.contents.unwrap_or_default().into_iter();
                    objects.filter_map(|object| listed(&folder, &prefix, &object)).map(Ok).collect()
                }
                Err(error) => {
                    let source = io::Error::other(described(error));
                    vec![Err(ListingError { folder: folder.clone(), source })]
                }
            };
            futures::stream::iter(files)
        });
        files.flatten().boxed()
    }
}

/// An object as a file; none where it is no file, or its time is missing: then it counts as new.
fn listed(folder: &str, prefix: &str, object: &Object) -> Option<Listed> {
    let below = object.key()?.strip_prefix(prefix).filter(|below| !below.is_empty())?;
    let modified = object.last_modified()?;
    let modified: DateTime<Utc> =
        DateTime::from_timestamp(modified.secs(), modified.subsec_nanos())?;
    Some(Listed {
        path: format!("{folder}/{below}"),
        bytes: object.size().unwrap_or(0).max(0) as u64,
        modified,
    })
}
