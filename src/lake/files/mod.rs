//! The files of tables: where they are kept, read, written and deleted.

mod s3;

pub use s3::s3_files;
