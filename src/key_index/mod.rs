//! Key → file and position, in sorted runs on this machine's disk: what a look-up costs follows the keys, not the rows.
//!
//! An index is a cache of a table. Files of a table never change, so what it says of a file stays right; which files are
//! live, and which of their rows, it does not say: its caller knows. It may be deleted at any time, and it is never
//! believed over the table: entries of files that are not live are skipped, and dropped when their run is merged.
//!
//! Files of the folder:
//! - [`entry`]: 44 bytes a row, and why the hash of its key is believed
//! - [`run`]: immutable sorted files; [`sort`] makes one of any rows, `tiers.rs` one of many
//! - [`header`]: what an index is for; [`folder`]: the index of a table, opened under a lock
//!
//! It reads and writes the disk: away from the threads of the runtime.

pub mod entry;
mod error;
pub mod folder;
pub mod header;
pub mod run;
pub mod sort;
mod tiers;

pub use error::{AFTER_FAILURE, KeyIndexError};
