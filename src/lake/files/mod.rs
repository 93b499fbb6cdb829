//! The files of tables: where they are kept, read, written, listed and deleted.

mod list;
mod local;
mod local_list;
mod s3;
mod s3_list;

pub use list::{FileListing, Listed, ListingError};
pub use local::{local_files, memory_files};
pub use local_list::local_listing;
pub(in crate::lake) use s3::PART_BYTES;
pub use s3::s3_files;
pub use s3_list::s3_listing;
