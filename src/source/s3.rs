//! S3 as a raw zone.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::types::{EncodingType, MultipartUpload};
use bytes::{Buf, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Listing, ObjectId, Opened, Page, RawObject, RawStore, ReadError, Requested, Reread};
use crate::ambient::SharedAmbient;
use crate::aws::{Answer, described};
use crate::backoff::backoff;
use crate::event::decode_key;
use crate::format::ReadAt;

/// Parts of a body that wait for the parser, at most: of a few KiB to a few MiB each, as they come.
const AHEAD: usize = 4;
/// How often a broken body is resumed without a byte gained in between.
const RESUMES: u32 = 5;
/// The pause before that, doubled each time.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// See the module. URIs are `s3://bucket/key`.
#[derive(Debug, Clone)]
pub struct S3Store {
    pub(super) client: Client,
    ambient: SharedAmbient,
}

impl S3Store {
    /// A store of all buckets that the client may read.
    pub fn new(client: Client, ambient: SharedAmbient) -> Self {
        Self { client, ambient }
    }

    /// One GET: of the version in `at`, or, if `current`, of the current one.
    async fn get(
        &self,
        at: &At,
        current: bool,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError, aws_sdk_s3::config::http::HttpResponse>>
    {
        let mut request = self.client.get_object().bucket(&at.bucket).key(&at.key);
        if !current {
            // A version id names the version for good; an ETag is compared with the current one.
            match (&at.version_id, &at.etag) {
                (Some(id), _) => request = request.version_id(id),
                (None, Some(etag)) => request = request.if_match(format!("\"{etag}\"")),
                (None, None) => {}
            }
        }
        request.send().await
    }

    /// A range of the bytes of one version.
    async fn range(&self, at: &At, range: &str) -> Result<GetObjectOutput, ReadError> {
        let mut request = self.client.get_object().bucket(&at.bucket).key(&at.key);
        if let Some(id) = &at.version_id {
            request = request.version_id(id);
        }
        if let Some(etag) = &at.etag {
            request = request.if_match(format!("\"{etag}\""));
        }
        let answer = request.range(range).send().await;
        let uri = at.uri();
        answer.map_err(|error| meaning(&uri, error).unwrap_or(ReadError::Changed(uri)))
    }

    fn opened(&self, at: At, answer: GetObjectOutput) -> Result<Opened, ReadError> {
        let uri = at.uri();
        let etag = answer.e_tag().unwrap_or_default().trim_matches('"').to_owned();
        let modified = answer.last_modified().and_then(time).ok_or_else(|| ReadError::Store {
            uri: uri.clone(),
            source: std::io::Error::other("S3 answered without Last-Modified"),
        })?;
        let size = answer.content_length().unwrap_or(0).max(0) as u64;
        let version_id = answer.version_id().filter(|id| *id != "null").map(str::to_owned);
        let at = At { etag: Some(etag.clone()), version_id: version_id.clone(), ..at };
        let (sender, parts) = mpsc::channel(AHEAD);
        let ranges = Ranges { store: self.clone(), at: at.clone(), runtime: Handle::current() };
        let fetch = Fetch { store: self.clone(), at, size, sender };
        tokio::spawn(fetch.run(answer));
        let id = ObjectId { uri, version: etag, last_modified: modified };
        let object = RawObject { id, size, version_id };
        let input = Box::new(Body { parts, part: Bytes::new() });
        Ok(Opened { object, input, at: Arc::new(ranges) })
    }
}

/// An object version on S3.
#[derive(Debug, Clone)]
struct At {
    bucket: String,
    key: String,
    etag: Option<String>,
    version_id: Option<String>,
}

impl At {
    fn of(requested: &Requested) -> Result<Self, ReadError> {
        match requested {
            Requested::ByEvent(object) => Ok(Self {
                bucket: object.bucket.clone(),
                key: object.key.clone(),
                etag: object.etag.clone(),
                version_id: object.version_id.clone(),
            }),
            Requested::Listed(object) | Requested::Again(Reread { object, .. }) => {
                let (bucket, key) = bucket_and_key(&object.id.uri)?;
                Ok(Self {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                    etag: Some(object.id.version.clone()),
                    version_id: object.version_id.clone(),
                })
            }
        }
    }

    fn uri(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

/// `s3://bucket/key` → bucket, key.
pub(super) fn bucket_and_key(uri: &str) -> Result<(&str, &str), ReadError> {
    uri.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).ok_or_else(|| {
        let why = std::io::Error::other("it is not of the form s3://bucket/key");
        ReadError::Store { uri: uri.to_owned(), source: why }
    })
}

/// S3 has whole seconds, in headers and in listings.
pub(super) fn time(time: &aws_sdk_s3::primitives::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), 0)
}

/// What an error of S3 means for an object; none when only this version of it does not exist any more.
fn meaning<E>(
    uri: &str,
    error: SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Option<ReadError>
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let answer = Answer::of(&error);
    let uri = uri.to_owned();
    Some(match (answer.status, answer.code.as_str()) {
        (412, _) => return None,
        (404, "NoSuchBucket") => ReadError::Store { uri, source: described(error) },
        // 405: the version that was asked for is a delete marker.
        (404 | 405, _) => ReadError::Missing(uri),
        // Denied, archived, encrypted with a key that silversmith may not use: this object alone.
        (400 | 403, code) if !code.is_empty() && !CREDENTIALS.contains(&code) => {
            ReadError::Unreadable { uri, why: described(error).to_string() }
        }
        _ => ReadError::Store { uri, source: described(error) },
    })
}

/// Refusals of silversmith's credentials or clock, which say nothing about the object.
const CREDENTIALS: [&str; 6] = [
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "RequestTimeout",
];

/// Fetches a body to its end, and resumes it where a connection broke.
struct Fetch {
    store: S3Store,
    at: At,
    size: u64,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Fetch {
    async fn run(self, answer: GetObjectOutput) {
        let mut body = answer.body;
        let (mut got, mut broken) = (0_u64, 0);
        loop {
            let error = match body.next().await {
                Some(Ok(part)) => {
                    got += part.len() as u64;
                    broken = 0;
                    // A closed channel: the parser has stopped reading.
                    if self.sender.send(Ok(part)).await.is_err() {
                        return;
                    }
                    continue;
                }
                None if got >= self.size => return,
                None => std::io::Error::other("the connection was closed early"),
                Some(Err(error)) => std::io::Error::other(error),
            };
            if broken >= RESUMES {
                return self.fail(ReadError::Store { uri: self.at.uri(), source: error }).await;
            }
            tracing::debug!(uri = self.at.uri(), got, %error, "resuming a broken body");
            broken += 1;
            let ambient = &self.store.ambient;
            ambient.sleep(ambient.jitter(backoff(PAUSE, broken, LONGEST))).await;
            match self.rest(got).await {
                Ok(rest) => body = rest.body,
                Err(ReadError::Store { .. }) => {}
                Err(error) => return self.fail(error).await,
            }
        }
    }

    /// The bytes from `got` on, of the same version.
    async fn rest(&self, got: u64) -> Result<GetObjectOutput, ReadError> {
        self.store.range(&self.at, &format!("bytes={got}-")).await
    }

    async fn fail(&self, error: ReadError) {
        // The parser may have stopped reading.
        drop(self.sender.send(Err(std::io::Error::other(error))).await);
    }
}

/// An object version at any offset, for a thread that may block.
#[derive(Debug)]
struct Ranges {
    store: S3Store,
    at: At,
    runtime: Handle,
}

impl Ranges {
    /// Some bytes. What broke off is resumed, with as many attempts as a body has.
    async fn fetch(&self, offset: u64, length: usize) -> Result<Bytes, ReadError> {
        let (mut bytes, mut broken) = (BytesMut::with_capacity(length), 0);
        let end = offset + length as u64;
        loop {
            let range = format!("bytes={}-{}", offset + bytes.len() as u64, end.saturating_sub(1));
            let before = bytes.len();
            let error = match self.store.range(&self.at, &range).await {
                Ok(answer) => collect(answer, &mut bytes, length).await,
                Err(ReadError::Store { source, .. }) => Some(source),
                Err(error) => return Err(error),
            };
            let Some(error) = error else { return Ok(bytes.freeze()) };
            broken = if bytes.len() > before { 1 } else { broken + 1 };
            if broken > RESUMES {
                return Err(ReadError::Store { uri: self.at.uri(), source: error });
            }
            tracing::debug!(uri = self.at.uri(), range, %error, "resuming a broken range");
            let ambient = &self.store.ambient;
            ambient.sleep(ambient.jitter(backoff(PAUSE, broken, LONGEST))).await;
        }
    }
}

/// Adds a body to what was read, up to a length; and why it ended before that.
async fn collect(
    mut answer: GetObjectOutput,
    bytes: &mut BytesMut,
    length: usize,
) -> Option<std::io::Error> {
    while bytes.len() < length {
        match answer.body.next().await {
            Some(Ok(part)) => {
                bytes.extend_from_slice(&part[..part.len().min(length - bytes.len())])
            }
            Some(Err(error)) => return Some(std::io::Error::other(error)),
            None => return Some(std::io::Error::other("the connection was closed early")),
        }
    }
    None
}

impl ReadAt for Ranges {
    fn read_at(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        match length {
            0 => Ok(Bytes::new()),
            _ => {
                let fetched = self.runtime.block_on(Box::pin(self.fetch(offset, length)));
                fetched.map_err(std::io::Error::other)
            }
        }
    }
}

/// A body as blocking input, for the thread that parses.
struct Body {
    parts: mpsc::Receiver<std::io::Result<Bytes>>,
    part: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.part = part?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.part.len());
        self.part.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[async_trait]
impl RawStore for S3Store {
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxStream<'a, Result<Page, ReadError>> {
        self.list_prefixes(listing)
    }

    async fn oldest_incomplete(
        &self,
        root: &str,
        is_match: &(dyn for<'u> Fn(&'u str) -> bool + Sync),
    ) -> Result<Option<DateTime<Utc>>, ReadError> {
        let (bucket, prefix) = bucket_and_key(root)?;
        let pages = self.client.list_multipart_uploads().bucket(bucket).prefix(prefix);
        let mut pages = pages.encoding_type(EncodingType::Url);
        let mut oldest: Option<DateTime<Utc>> = None;
        loop {
            let page = pages.clone().send().await.map_err(|error| ReadError::Store {
                uri: root.to_owned(),
                source: std::io::Error::other(format!(
                    "ListMultipartUploads: {}",
                    described(error)
                )),
            })?;
            // Not every store can encode them.
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            let plain = |key: &str| if encoded { decode_key(key) } else { Some(key.to_owned()) };
            let is_chosen = |upload: &&MultipartUpload| {
                let key = upload.key().and_then(plain);
                key.is_some_and(|key| is_match(&format!("s3://{bucket}/{key}")))
            };
            let uploads = page.uploads().iter().filter(is_chosen);
            let initiated = uploads.filter_map(|upload| upload.initiated().and_then(time));
            oldest = initiated.chain(oldest).min();
            if page.is_truncated() != Some(true) {
                return Ok(oldest);
            }
            pages = pages
                .set_key_marker(page.next_key_marker().and_then(plain))
                .set_upload_id_marker(page.next_upload_id_marker().map(str::to_owned));
        }
    }

    async fn pending(&self) -> Result<Vec<String>, ReadError> {
        Ok(vec![])
    }

    async fn open(&self, requested: &Requested) -> Result<Opened, ReadError> {
        let at = At::of(requested)?;
        let uri = at.uri();
        let error = match self.get(&at, false).await {
            Ok(answer) => return self.opened(at, answer),
            Err(error) => error,
        };
        match meaning(&uri, error) {
            Some(error) => Err(error),
            // Overwritten since: the current version is read, under its own identity.
            None => match self.get(&at, true).await {
                Ok(answer) => self.opened(at, answer),
                Err(error) => Err(meaning(&uri, error).unwrap_or(ReadError::Changed(uri))),
            },
        }
    }

    /// Every byte came from a request for that version.
    async fn verify(&self, _object: &RawObject) -> Result<(), ReadError> {
        Ok(())
    }
}
