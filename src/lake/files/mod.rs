//! The files of tables: where they are kept, read, written and deleted.

mod local;
mod s3;

pub use local::{local_files, memory_files};
pub(in crate::lake) use s3::PART_BYTES;
pub use s3::s3_files;
