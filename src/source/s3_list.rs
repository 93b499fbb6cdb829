//! Listing S3: prefixes are listed side by side, page by page.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use futures::stream::{self, BoxStream, StreamExt};

use super::s3::{S3Store, bucket_and_key, time};
use super::{Listing, ObjectId, Page, RawObject, Reached, ReadError};
use crate::aws::described;
use crate::event::decode_key;

/// Prefixes listed at a time.
const AT_ONCE: usize = 16;
/// Folders are opened, level by level, until there are this many prefixes.
const PREFIXES: usize = 32;
/// Levels that are opened for that.
const LEVELS: usize = 3;
/// A folder with more sub-folders than this is listed as one prefix: names are kept in memory (I7).
const MAX_FOLDERS: usize = 10_000;
/// So is one with more keys of its own than this: a page of them.
const MAX_KEYS: usize = 1_000;

impl S3Store {
    pub(super) fn list_prefixes<'a>(
        &'a self,
        listing: &'a Listing,
    ) -> BoxStream<'a, Result<Page, ReadError>> {
        if listing.shallow {
            return self.pages_of_folder(&listing.root);
        }
        let found = stream::once(async move { self.prefixes(&listing.root).await });
        found
            .flat_map(move |found| match found {
                Err(error) => stream::iter([Err(error)]).boxed(),
                Ok((bucket, direct, prefixes)) => {
                    let direct = stream::iter(direct.into_iter().map(Ok));
                    let reached = &listing.reached;
                    let pages = prefixes.into_iter().map(move |prefix| {
                        self.pages(bucket.clone(), prefix.clone(), reached.get(&prefix).cloned())
                    });
                    direct.chain(stream::iter(pages).flatten_unordered(AT_ONCE)).boxed()
                }
            })
            .boxed()
    }

    /// The prefixes below a root, and the objects of the folders that were opened to find them.
    async fn prefixes(&self, root: &str) -> Result<(String, Vec<Page>, Vec<String>), ReadError> {
        let (bucket, prefix) = bucket_and_key(root)?;
        let (mut direct, mut done) = (Vec::new(), Vec::new());
        let mut open = vec![prefix.to_owned()];
        for _ in 0..LEVELS {
            if open.is_empty() || open.len() + done.len() >= PREFIXES {
                break;
            }
            let mut below = Vec::new();
            for folder in std::mem::take(&mut open) {
                match self.folder(bucket, &folder).await? {
                    // Too much to be kept: a prefix of its own.
                    None => done.push(folder),
                    Some((page, folders)) => {
                        direct.push(page);
                        below.extend(folders);
                    }
                }
            }
            open = below;
        }
        done.append(&mut open);
        Ok((bucket.to_owned(), direct, done))
    }

    /// The keys and the sub-folders of a folder; none when there are too many to be kept.
    async fn folder(
        &self,
        bucket: &str,
        folder: &str,
    ) -> Result<Option<(Page, Vec<String>)>, ReadError> {
        let mut page = Page { objects: vec![], reached: None };
        let mut folders = Vec::new();
        let mut token = None;
        loop {
            let request = self.client.list_objects_v2().bucket(bucket).prefix(folder);
            let request = request.encoding_type(EncodingType::Url).delimiter("/");
            let answer = request.set_continuation_token(token).send().await;
            let answer = answer.map_err(|error| failed(bucket, folder, described(error)))?;
            page.objects.extend(objects(bucket, &answer));
            let below = answer.common_prefixes().iter().filter_map(|p| p.prefix());
            folders.extend(below.filter_map(|prefix| plain(&answer, prefix)));
            if answer.is_truncated() != Some(true) {
                return Ok(Some((page, folders)));
            }
            if folders.len() > MAX_FOLDERS || page.objects.len() >= MAX_KEYS {
                return Ok(None);
            }
            token = answer.next_continuation_token().map(str::to_owned);
        }
    }

    /// The pages of one folder, without those below it.
    fn pages_of_folder<'a>(&'a self, root: &'a str) -> BoxStream<'a, Result<Page, ReadError>> {
        // None: the folder is at its end.
        stream::try_unfold(Some(None::<String>), move |next| async move {
            let Some(token) = next else { return Ok(None) };
            let (bucket, folder) = bucket_and_key(root)?;
            let request = self.client.list_objects_v2().bucket(bucket).prefix(folder);
            let request = request.encoding_type(EncodingType::Url).delimiter("/");
            let answer = request.set_continuation_token(token).send().await;
            let answer = answer.map_err(|error| failed(bucket, folder, described(error)))?;
            let page = Page { objects: objects(bucket, &answer).collect(), reached: None };
            let more = match answer.is_truncated() {
                Some(true) => answer.next_continuation_token().map(str::to_owned),
                _ => None,
            };
            Ok(Some((page, more.map(Some))))
        })
        .boxed()
    }

    /// The pages of one prefix, after what was reached before.
    fn pages<'a>(
        &'a self,
        bucket: String,
        prefix: String,
        reached: Option<Reached>,
    ) -> BoxStream<'a, Result<Page, ReadError>> {
        let after = match reached {
            Some(Reached::End) => return stream::empty().boxed(),
            Some(Reached::Key(key)) => Some(key),
            None => None,
        };
        // None: the prefix is at its end.
        stream::try_unfold(Some((after, None::<String>)), move |next| {
            let (bucket, prefix) = (bucket.clone(), prefix.clone());
            async move {
                let Some((after, token)) = next else { return Ok(None) };
                let request = self.client.list_objects_v2().bucket(&bucket).prefix(&prefix);
                let request = request.set_start_after(after).set_continuation_token(token);
                let answer = request.encoding_type(EncodingType::Url).send().await;
                let answer = answer.map_err(|error| failed(&bucket, &prefix, described(error)))?;
                let objects: Vec<RawObject> = objects(&bucket, &answer).collect();
                let more = match answer.is_truncated() {
                    Some(true) => answer.next_continuation_token().map(str::to_owned),
                    _ => None,
                };
                let last = answer
                    .contents()
                    .last()
                    .and_then(|o| o.key())
                    .and_then(|key| plain(&answer, key));
                let reached = match (&more, last) {
                    (None, _) => Some((prefix, Reached::End)),
                    (Some(_), Some(key)) => Some((prefix, Reached::Key(key))),
                    (Some(_), None) => None,
                };
                let page = Page { objects, reached };
                Ok(Some((page, more.map(|token| (None, Some(token))))))
            }
        })
        .boxed()
    }
}

/// A key as it is: not every store can encode it.
fn plain(answer: &ListObjectsV2Output, key: &str) -> Option<String> {
    match answer.encoding_type() {
        Some(EncodingType::Url) => decode_key(key),
        _ => Some(key.to_owned()),
    }
}

fn failed(bucket: &str, prefix: &str, source: std::io::Error) -> ReadError {
    ReadError::Store { uri: format!("s3://{bucket}/{prefix}"), source }
}

/// The objects of an answer; folder markers are none.
fn objects<'a>(
    bucket: &'a str,
    answer: &'a ListObjectsV2Output,
) -> impl Iterator<Item = RawObject> + 'a {
    answer.contents().iter().filter_map(move |object| {
        let key = plain(answer, object.key()?).filter(|key| !key.ends_with('/'))?;
        let id = ObjectId {
            uri: format!("s3://{bucket}/{key}"),
            version: object.e_tag()?.trim_matches('"').to_owned(),
            last_modified: time(object.last_modified()?)?,
        };
        let size = object.size().unwrap_or(0).max(0) as u64;
        Some(RawObject { id, size, version_id: None })
    })
}
