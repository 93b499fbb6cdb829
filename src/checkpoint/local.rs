//! Checkpoints in a folder: conditional writes by a file lock and a rename.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{CheckpointError, CheckpointStore, Put, Version};

/// See the module. The version of a value is the hash of its bytes.
#[derive(Debug)]
pub struct LocalCheckpoints {
    folder: PathBuf,
}

impl LocalCheckpoints {
    /// Checkpoints below `folder`, which the first write creates.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn read(&self, key: &str) -> std::io::Result<Option<(Vec<u8>, Version)>> {
        match fs::read(self.folder.join(key)) {
            Ok(bytes) => {
                let version = version(&bytes);
                Ok(Some((bytes, version)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, key: &str, value: &[u8], expected: Option<&Version>) -> std::io::Result<Put> {
        let path = self.folder.join(key);
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent)?;
        // Held until the file is closed: at the end of this function, or by the system when the process dies.
        let lock = File::create(parent.join(".lock"))?;
        lock.lock()?;
        let current = self.read(key)?.map(|(_, version)| version);
        if current.as_ref() != expected {
            return Ok(Put::Conflict);
        }
        let draft = path.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        Ok(Put::Stored(version(value)))
    }
}

fn version(bytes: &[u8]) -> Version {
    Version(format!("{:x}", Sha256::digest(bytes)))
}

#[async_trait]
impl CheckpointStore for LocalCheckpoints {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, CheckpointError> {
        self.read(key).map_err(|source| CheckpointError::Io {
            key: key.to_owned(),
            doing: "read",
            source,
        })
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        expected: Option<&Version>,
    ) -> Result<Put, CheckpointError> {
        self.write(key, value, expected).map_err(|source| CheckpointError::Io {
            key: key.to_owned(),
            doing: "written",
            source,
        })
    }
}
