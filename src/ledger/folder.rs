//! Rows of the ledger that stand for a folder, and not for one object of it: where the objects of a folder are one
//! delivery, whether it was committed, and what it waits for until then.

use chrono::DateTime;

use crate::source::ObjectId;

/// The version that stands for the delivery itself among those of its objects.
pub const WHOLE: &str = "delivery";
/// The version that stands for what a delivery waits for.
pub const WAITS_FOR: &str = "waits-for";
/// A condition on the rows of a ledger: objects, and not their folders.
pub const IS_OBJECT: &str = "source_version NOT IN ('delivery', 'waits-for')";

/// Whether an identity is that of an object, and not of a folder.
pub fn is_object(id: &ObjectId) -> bool {
    id.version != WHOLE && id.version != WAITS_FOR
}

/// The folder of a URI, with its `/` at the end.
pub fn folder_of(uri: &str) -> &str {
    uri.rfind('/').map_or("", |slash| &uri[..=slash])
}

/// How the ledger names a folder. Look-ups are by all of it, so the time is always the same.
pub fn id_of(folder: &str, version: &str) -> ObjectId {
    let uri = if folder.is_empty() { "./" } else { folder };
    let (uri, version) = (uri.to_owned(), version.to_owned());
    ObjectId { uri, version, last_modified: DateTime::UNIX_EPOCH }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_what_is_before_the_last_slash() {
        assert_eq!(folder_of("s3://zone/raw/1/a.csv"), "s3://zone/raw/1/");
        assert_eq!(folder_of("a.csv"), "");
        assert_eq!(id_of("", WHOLE).uri, "./");
        assert!(IS_OBJECT.contains(WHOLE) && IS_OBJECT.contains(WAITS_FOR));
    }
}
