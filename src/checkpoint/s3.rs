//! Checkpoints on S3, by
//! [conditional writes](https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;

use super::{CheckpointError, CheckpointStore, Put, Version};
use crate::ambient::SharedAmbient;
use crate::aws::{Answer, described};
use crate::backoff::backoff;

/// See the module. The version of a value is its ETag.
#[derive(Debug, Clone)]
pub struct S3Checkpoints {
    client: Client,
    bucket: String,
    prefix: String,
    ambient: SharedAmbient,
}

/// Retries of a write that met another one in progress. Their pauses are 1.6 s at most: a lock lives on.
const RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl S3Checkpoints {
    /// Checkpoints below `s3://bucket/prefix`. `ambient` gives the pauses between attempts.
    pub fn new(client: Client, bucket: &str, prefix: &str, ambient: SharedAmbient) -> Self {
        let prefix = prefix.trim_matches('/').to_owned();
        Self { client, bucket: bucket.to_owned(), prefix, ambient }
    }

    fn key(&self, key: &str) -> String {
        match self.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    fn error(&self, key: &str, doing: &'static str, source: std::io::Error) -> CheckpointError {
        let key = format!("s3://{}/{}", self.bucket, self.key(key));
        CheckpointError::Io { key, doing, source }
    }
}

#[async_trait]
impl CheckpointStore for S3Checkpoints {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, CheckpointError> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(key));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if Answer::of(&error).code == "NoSuchKey" => return Ok(None),
            Err(error) => return Err(self.error(key, "read", described(error))),
        };
        let version = Version(answer.e_tag().unwrap_or_default().to_owned());
        let body = answer.body.collect().await;
        let body = body.map_err(|e| self.error(key, "read", std::io::Error::other(e)))?;
        Ok(Some((body.to_vec(), version)))
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        expected: Option<&Version>,
    ) -> Result<Put, CheckpointError> {
        let mut tries = 0;
        loop {
            let request = self.client.put_object().bucket(&self.bucket).key(self.key(key));
            let request = match expected {
                None => request.if_none_match("*"),
                Some(version) => request.if_match(&version.0),
            };
            let request = request.content_type("application/json");
            let error = match request.body(ByteStream::from(value.to_vec())).send().await {
                Ok(answer) => {
                    return Ok(Put::Stored(Version(answer.e_tag().unwrap_or_default().to_owned())));
                }
                Err(error) => error,
            };
            match Answer::of(&error).status {
                // 404: the value that was to be replaced is gone.
                412 | 404 if Answer::of(&error).code != "NoSuchBucket" => return Ok(Put::Conflict),
                // Another conditional write is in progress: neither has won yet.
                409 if tries < RETRIES => {
                    tries += 1;
                    let pause = backoff(FIRST_PAUSE, tries, LONGEST_PAUSE);
                    self.ambient.sleep(self.ambient.jitter(pause)).await;
                }
                _ => return Err(self.error(key, "written", described(error))),
            }
        }
    }
}
