//! Table files on this machine, and in memory.

use std::sync::Arc;

use iceberg::io::{FileIO, FileIOBuilder, LocalFsStorageFactory};

/// The files of this machine.
pub fn local_files() -> FileIO {
    FileIOBuilder::new(Arc::new(LocalFsStorageFactory)).build()
}

/// Files in memory, gone with the last clone: for tests and simulations.
pub fn memory_files() -> FileIO {
    FileIO::new_with_memory()
}
