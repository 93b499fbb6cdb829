//! The files of tables on S3, through the one S3 client.
//!
//! Metadata and manifests never change under their name, and every commit reads those of the commit
//! before: they are kept in memory, up to a bound.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use backon::{ExponentialBuilder, Retryable};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::ambient::{SharedAmbient, pauses};
use crate::aws::{Answer, described};

/// Bytes of a part; a smaller file is written by one request.
pub(in crate::lake) const PART_BYTES: usize = 8 * 1024 * 1024;
/// Concurrent deletes.
const DELETES: usize = 8;

/// Table files on S3. `cache_bytes` bounds the metadata that is kept in memory.
pub fn s3_files(client: Client, cache_bytes: u64, ambient: &SharedAmbient) -> FileIO {
    let cache = Cache::builder()
        .max_capacity(cache_bytes)
        .weigher(|key: &String, value: &Bytes| {
            (key.len() + value.len()).try_into().unwrap_or(u32::MAX)
        })
        .build();
    let connected = Some(Connected { client, cache, ambient: ambient.clone() });
    FileIOBuilder::new(Arc::new(S3Files { connected })).build()
}

#[derive(Debug, Clone)]
struct Connected {
    client: Client,
    cache: Cache<String, Bytes>,
    ambient: SharedAmbient,
}

/// The iceberg crate requires serializable storages; a deserialized one has no connection.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct S3Files {
    #[serde(skip)]
    connected: Option<Connected>,
}

/// A file's location.
#[derive(Debug, Clone)]
struct Location {
    bucket: String,
    key: String,
}

impl Location {
    fn of(path: &str) -> Result<Self> {
        let rest = path.strip_prefix("s3://").or_else(|| path.strip_prefix("s3a://"));
        let split = rest.and_then(|rest| rest.split_once('/'));
        let (bucket, key) = split.ok_or_else(|| {
            Error::new(ErrorKind::DataInvalid, format!("{path} is not of the form s3://bucket/key; if the catalog keeps tables in a folder, set it as lake.warehouse"))
        })?;
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

fn failed<E>(
    doing: &str,
    path: &str,
    error: SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    Error::new(ErrorKind::Unexpected, format!("{doing} {path}")).with_source(described(error))
}

/// Whether a file never changes under its name and is small.
fn kept(path: &str) -> bool {
    path.ends_with(".avro") || path.ends_with(".metadata.json")
}

impl S3Files {
    fn connected(&self) -> Result<&Connected> {
        let message = "this storage was deserialized and is not connected to S3";
        self.connected.as_ref().ok_or_else(|| Error::new(ErrorKind::Unexpected, message))
    }

    async fn length(&self, path: &str) -> Result<Option<u64>> {
        let connected = self.connected()?;
        if let Some(bytes) = connected.cache.get(path) {
            return Ok(Some(bytes.len() as u64));
        }
        let at = Location::of(path)?;
        let request = connected.client.head_object().bucket(at.bucket).key(at.key);
        match request.send().await {
            Ok(answer) => Ok(Some(answer.content_length().unwrap_or(0).max(0) as u64)),
            Err(error) if Answer::of(&error).status == 404 => Ok(None),
            Err(error) => Err(failed("looking at", path, error)),
        }
    }
}

impl Connected {
    async fn get(&self, path: &str, range: Option<Range<u64>>) -> Result<Bytes> {
        let at = Location::of(path)?;
        let once = || async {
            let request = self.client.get_object().bucket(&at.bucket).key(&at.key);
            let range = range.as_ref().map(|r| format!("bytes={}-{}", r.start, r.end - 1));
            let answer = request.set_range(range).send().await;
            // The client has retried refusals, where that makes sense.
            let answer = answer.map_err(|error| (failed("reading", path, error), false))?;
            let body = answer.body.collect().await.map_err(|error| {
                let broken = Error::new(ErrorKind::Unexpected, format!("reading {path}"));
                (broken.with_source(error), true)
            })?;
            Ok(body.into_bytes())
        };
        let policy = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100));
        let got = once.retry(policy).sleep(pauses(&self.ambient));
        let got = got.when(|(_, broken): &(Error, bool)| *broken).await;
        got.map_err(|(error, _)| error)
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        let at = Location::of(path)?;
        let request = self.client.put_object().bucket(at.bucket).key(at.key);
        let sent = request.body(ByteStream::from(bytes.clone())).send().await;
        sent.map_err(|error| failed("writing", path, error))?;
        if kept(path) {
            self.cache.insert(path.to_owned(), bytes);
        }
        Ok(())
    }
}

#[typetag::serde]
impl StorageFactory for S3Files {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for S3Files {
    async fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.length(path).await?.is_some())
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let size = self
            .length(path)
            .await?
            .ok_or_else(|| Error::new(ErrorKind::DataInvalid, format!("{path} does not exist")))?;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let connected = self.connected()?;
        if let Some(bytes) = connected.cache.get(path) {
            return Ok(bytes);
        }
        let bytes = connected.get(path, None).await?;
        if kept(path) {
            connected.cache.insert(path.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader { connected: self.connected()?.clone(), path: path.to_owned() }))
    }

    async fn write(&self, path: &str, bs: Bytes) -> Result<()> {
        self.connected()?.put(path, bs).await
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(Writer {
            connected: self.connected()?.clone(),
            path: path.to_owned(),
            at: Location::of(path)?,
            buffer: BytesMut::new(),
            upload: None,
        }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let connected = self.connected()?;
        connected.cache.invalidate(path);
        let at = Location::of(path)?;
        let request = connected.client.delete_object().bucket(at.bucket).key(at.key);
        request.send().await.map_err(|error| failed("deleting", path, error))?;
        Ok(())
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let connected = self.connected()?;
        let at = Location::of(&format!("{}/", path.trim_end_matches('/')))?;
        let request = connected.client.list_objects_v2().bucket(&at.bucket).prefix(&at.key);
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("listing", path, error))?;
            for key in page.contents().iter().filter_map(|object| object.key()) {
                self.delete(&format!("s3://{}/{key}", at.bucket)).await?;
            }
        }
        Ok(())
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> Result<()> {
        let deletes = paths.map(|path| async move { self.delete(&path).await });
        let mut deletes = deletes.buffer_unordered(DELETES);
        while let Some(deleted) = deletes.next().await {
            deleted?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

#[derive(Debug)]
struct Reader {
    connected: Connected,
    path: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(bytes) = self.connected.cache.get(&self.path) {
            let (start, end) = (range.start as usize, range.end as usize);
            if end <= bytes.len() {
                return Ok(bytes.slice(start..end));
            }
        }
        self.connected.get(&self.path, Some(range)).await
    }
}

/// Writes by one request, or part by part where there is more: the file does not exist before `close`.
#[derive(Debug)]
struct Writer {
    connected: Connected,
    path: String,
    at: Location,
    buffer: BytesMut,
    upload: Option<Upload>,
}

#[derive(Debug)]
struct Upload {
    id: String,
    parts: Vec<CompletedPart>,
}

impl Writer {
    async fn part(&mut self) -> Result<()> {
        let (client, at) = (&self.connected.client, &self.at);
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let begin = client.create_multipart_upload().bucket(&at.bucket).key(&at.key);
                // Each part is sent with its checksum, and the whole is completed by them.
                let begun = begin.checksum_algorithm(ChecksumAlgorithm::Crc32).send().await;
                let begun = begun.map_err(|error| failed("writing", &self.path, error))?;
                let id = begun.upload_id().unwrap_or_default().to_owned();
                self.upload.insert(Upload { id, parts: vec![] })
            }
        };
        let number = upload.parts.len() as i32 + 1;
        let bytes = self.buffer.split().freeze();
        let request = client.upload_part().bucket(&at.bucket).key(&at.key);
        let request = request.upload_id(&upload.id).part_number(number);
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32);
        let sent = request.body(ByteStream::from(bytes)).send().await;
        let sent = sent.map_err(|error| failed("writing", &self.path, error))?;
        let part = CompletedPart::builder().part_number(number);
        let part = part
            .set_e_tag(sent.e_tag().map(str::to_owned))
            .set_checksum_crc32(sent.checksum_crc32().map(str::to_owned));
        upload.parts.push(part.build());
        Ok(())
    }
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bs: Bytes) -> Result<()> {
        self.buffer.extend_from_slice(&bs);
        if self.buffer.len() >= PART_BYTES {
            self.part().await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if self.upload.is_none() {
            let bytes = std::mem::take(&mut self.buffer).freeze();
            return self.connected.put(&self.path, bytes).await;
        }
        if !self.buffer.is_empty() {
            self.part().await?;
        }
        let Some(upload) = &self.upload else { return Ok(()) };
        let parts = CompletedMultipartUpload::builder().set_parts(Some(upload.parts.clone()));
        let request = self.connected.client.complete_multipart_upload();
        let request = request.bucket(&self.at.bucket).key(&self.at.key).upload_id(&upload.id);
        let sent = request.multipart_upload(parts.build()).send().await;
        sent.map_err(|error| failed("writing", &self.path, error))?;
        self.upload = None;
        Ok(())
    }
}

impl Drop for Writer {
    /// Aborts an unfinished upload: its parts would cost money until a lifecycle rule removes them.
    fn drop(&mut self) {
        let (Some(upload), Ok(runtime)) =
            (self.upload.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let request = self.connected.client.abort_multipart_upload().upload_id(upload.id);
        let request = request.bucket(&self.at.bucket).key(&self.at.key);
        let path = self.path.clone();
        runtime.spawn(async move {
            if let Err(error) = request.send().await {
                tracing::debug!(path, error = %described(error), "parts of an unused file were left behind");
            }
        });
    }
}
