//! Whether the bytes of a delivery's objects are those that its manifest says.

use std::io::Read;

use futures::{StreamExt, stream};
use md5::Md5;
use sha2::Sha256;

use super::decide::Refusal;
use super::delivery::Objection;
use super::look::{objection, read_error};
use super::manifest::Checksum;
use crate::bronze::{Bronze, BronzeError};
use crate::reason::Reason;
use crate::source::{RawObject, ReadError};

/// Bytes read at a time.
const BUFFER: usize = 64 * 1024;

impl Bronze {
    /// Reads objects to their end, only for their hashes: the first objection to one of them.
    pub(super) async fn check_sums(
        &self,
        manifest: &str,
        sums: &[(RawObject, Checksum)],
    ) -> Result<Option<Objection>, BronzeError> {
        let reads: Vec<_> = sums.iter().map(|(object, sum)| self.has_sum(object, sum)).collect();
        let reads = stream::iter(reads).buffered(self.settings.read_concurrency.max(1));
        let results: Vec<Result<bool, ReadError>> = reads.collect().await;
        for ((object, sum), result) in sums.iter().zip(results) {
            match result {
                Ok(true) => {}
                Ok(false) => {
                    let uri = &object.id.uri;
                    let error = format!("the {} of {uri} is not what {manifest} says", sum.name());
                    let reason = Reason::WrongChecksum;
                    return Ok(Some(Objection::Refused(Refusal { reason, error })));
                }
                Err(error) => return objection(error).map(Some),
            }
        }
        Ok(None)
    }

    async fn has_sum(&self, object: &RawObject, sum: &Checksum) -> Result<bool, ReadError> {
        let opened = self.open_listed(object).await?;
        let sum = sum.clone();
        let read = tokio::task::spawn_blocking(move || sum.is_of(opened.input)).await;
        let is_same = read.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        let is_same = is_same.map_err(|error| read_error(object, error))?;
        self.source.verify(object).await.map(|()| is_same)
    }
}

impl Checksum {
    fn name(&self) -> &'static str {
        match self {
            Self::Md5(_) => "MD5",
            Self::Sha256(_) => "SHA-256",
        }
    }

    /// Whether it is the hash of these bytes.
    fn is_of(&self, input: impl Read) -> std::io::Result<bool> {
        match self {
            Self::Md5(sum) => {
                let mut digest = <Md5 as md5::Digest>::new();
                each(input, |bytes| md5::Digest::update(&mut digest, bytes))?;
                let digest = md5::Digest::finalize(digest);
                Ok(AsRef::<[u8]>::as_ref(&digest) == sum.as_slice())
            }
            Self::Sha256(sum) => {
                let mut digest = <Sha256 as sha2::Digest>::new();
                each(input, |bytes| sha2::Digest::update(&mut digest, bytes))?;
                let digest = sha2::Digest::finalize(digest);
                Ok(AsRef::<[u8]>::as_ref(&digest) == sum.as_slice())
            }
        }
    }
}

fn each(mut input: impl Read, mut seen: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => seen(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_all_bytes() {
        let md5 = Checksum::Md5([
            0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0, 0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1,
            0x7f, 0x72,
        ]);
        assert!(md5.is_of(&b"abc"[..]).unwrap());
        assert!(!md5.is_of(&b"abd"[..]).unwrap());
        let large = vec![7; BUFFER + 1];
        let digest = <Sha256 as sha2::Digest>::digest(&large);
        assert!(Checksum::Sha256(digest.into()).is_of(&large[..]).unwrap());
        assert!(!Checksum::Sha256(digest.into()).is_of(&large[1..]).unwrap());
    }
}
