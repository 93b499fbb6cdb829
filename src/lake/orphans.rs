//! Orphans: files in a table's folder that nothing names. They are left by processes that ended between writing a
//! file and committing it, and by programs that expire snapshots without their files.
//!
//! What is named is found first, then the folder is listed; and what is named is found again, should the table have
//! moved on meanwhile. A file is an orphan if it is old, if it is of a kind that tables have, and if it is named by
//! none of these: a snapshot, whatever branch or tag holds it; the log of metadata files; statistics; a property of
//! any table of the catalog, such as a batch that is committed and not published. Where one of them cannot be read,
//! nothing is an orphan.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{SnapshotRef, TableMetadata};
use sha2::{Digest, Sha256};

use super::error::Doing;
use super::expire::may_delete;
use super::files::{FileListing, Listed, ListingError};
use super::{DELETES, Lake, LakeError, Table, TableName};

/// The folders of a table in which it keeps files: metadata first, which says whose they are.
const FOLDERS: [&str; 2] = [METADATA_FOLDER, "data"];
const METADATA_FOLDER: &str = "metadata";
/// The ending of metadata files.
const METADATA: &str = ".metadata.json";
/// The endings of files that may be orphans.
const ENDINGS: [&str; 3] = [".parquet", ".avro", METADATA];
/// Orphans of one run at most: the next run finds the others.
const MOST: usize = 100_000;
/// Snapshots and manifests read at a time.
const READS: usize = 8;

/// A file that nothing names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its location.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// The orphans of a table.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Orphans(pub Vec<Orphan>);

impl Orphans {
    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|orphan| orphan.bytes).sum()
    }
}

/// Hashes of the locations that are named: they take less memory than the locations.
#[derive(Default)]
struct Named(HashSet<[u8; 16]>);

impl Named {
    fn add(&mut self, path: &str) {
        self.0.insert(print(path));
    }

    fn holds(&self, path: &str) -> bool {
        self.0.contains(&print(path))
    }
}

fn print(path: &str) -> [u8; 16] {
    let digest = Sha256::digest(normal(path).as_bytes());
    let mut print = [0; 16];
    print.copy_from_slice(&digest[..16]);
    print
}

/// A location as it is compared: engines write the same one with other schemes.
pub(super) fn normal(path: &str) -> String {
    let local = path.strip_prefix("file:");
    let path = local.map_or(path, |rest| rest.strip_prefix("//").unwrap_or(rest));
    let s3 = ["s3a://", "s3n://"].iter().find_map(|scheme| path.strip_prefix(scheme));
    s3.map_or_else(|| path.to_owned(), |rest| format!("s3://{rest}"))
}

impl Lake {
    /// The files in a table's folder that nothing names and that are older than `age`.
    ///
    /// # Errors
    /// Whatever could not be read; [`LakeError::KeepsAll`] where the table says that its files may be shared, or where
    /// another table's files are among them.
    pub async fn orphans(&self, name: &TableName, age: Duration) -> Result<Orphans, LakeError> {
        let listing = self.listing(name)?;
        let before = self.load(name).await?;
        self.check_place(&before)?;
        self.check_folder(&before).await?;
        let mut named = Named::default();
        self.name(&before, &mut named).await?;
        let oldest_kept = self.ambient.now() - age;
        let (mut found, mut metadata) = (Vec::new(), Vec::new());
        for folder in FOLDERS {
            let mut files = listing.list(&format!("{}/{folder}", before.location()));
            // What metadata says must be known of all of it.
            while (found.len() < MOST || folder == METADATA_FOLDER)
                && let Some(file) = files.try_next().await?
            {
                let Listed { path, bytes, modified } = file;
                let is_ours = ENDINGS.iter().any(|ending| path.ends_with(ending));
                if !is_ours || named.holds(&path) {
                    continue;
                }
                let is_old = modified < oldest_kept;
                if path.ends_with(METADATA) {
                    metadata.push((path.clone(), is_old));
                }
                if is_old && found.len() < MOST {
                    found.push(Orphan { path, bytes });
                }
            }
        }
        let after = self.load(name).await?;
        self.name(&after, &mut named).await?;
        found.retain(|orphan| !named.holds(&orphan.path));
        metadata.retain(|(path, _)| !named.holds(path));
        self.check_origin(&after, metadata).await?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Orphans(found))
    }

    /// Deletes orphans, just found.
    pub async fn delete_orphans(
        &self,
        name: &TableName,
        orphans: &Orphans,
    ) -> Result<(), LakeError> {
        let mut deletes = futures::stream::iter(orphans.0.clone())
            .map(|orphan| async move { self.files.delete(&orphan.path).await })
            .buffer_unordered(DELETES);
        while let Some(deleted) = deletes.next().await {
            deleted.doing(name, "deleting an orphan")?;
        }
        Ok(())
    }

    /// Whether a folder in which a new table would be has the snapshots of another one.
    pub(super) async fn is_taken(&self, location: &str) -> Result<bool, LakeError> {
        let Some(listing) = self.listing.get() else { return Ok(false) };
        let mut files = listing.list(&format!("{location}/metadata"));
        while let Some(file) = files.try_next().await? {
            if file.path.ends_with(".avro") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn listing(&self, name: &TableName) -> Result<&dyn FileListing, LakeError> {
        self.listing.get().map(AsRef::as_ref).ok_or_else(|| {
            let source = std::io::Error::other("this lake has no listing of its files");
            ListingError { folder: name.to_string(), source }.into()
        })
    }

    /// Refuses where a folder is not this table's alone.
    async fn check_folder(&self, table: &Table) -> Result<(), LakeError> {
        let keeps = |why: String| Err(LakeError::KeepsAll { table: table.name().clone(), why });
        if !may_delete(table.metadata()) {
            return keeps("its property gc.enabled is false".to_owned());
        }
        if is_table_bucket(table.location()) {
            return keeps("a table bucket cannot be listed; AWS deletes its files".to_owned());
        }
        let folder = |location: &str| format!("{}/", normal(location).trim_end_matches('/'));
        let own = folder(table.location());
        for name in self.tables().await.doing(table.name(), "list")? {
            if name == *table.name() {
                continue;
            }
            let Some(other) = self.find(&name).await? else { continue };
            let others = folder(other.location());
            if own.starts_with(&others) || others.starts_with(&own) {
                return keeps(format!("table {name} is in the same folder, {others}"));
            }
        }
        Ok(())
    }

    /// Refuses where unnamed metadata files, and whether each is old, say that the folder is not this table's alone:
    /// those of another table, however young, or old ones of a later state, as in a copied or restored catalog.
    async fn check_origin(
        &self,
        table: &Table,
        unnamed: Vec<(String, bool)>,
    ) -> Result<(), LakeError> {
        let name = table.name();
        let mut read = futures::stream::iter(unnamed)
            .map(|(path, is_old)| async move {
                let read = TableMetadata::read_from(&self.files, &path).await;
                (path, is_old, read)
            })
            .buffer_unordered(READS);
        while let Some((path, is_old, read)) = read.next().await {
            let metadata = match read {
                Ok(metadata) => metadata,
                // A file that was cut off says nothing; a young one may have gone since.
                Err(error) if error.kind() == iceberg::ErrorKind::DataInvalid => continue,
                Err(_) if !is_old => continue,
                Err(error) => return Err(error).doing(name, "reading an orphan"),
            };
            // A commit that is under way, and was listed before the table was loaded, is one ahead at most.
            let under_way = i64::from(!is_old);
            let why = if metadata.uuid() != table.metadata().uuid() {
                format!("its folder holds the metadata of another table, {path}")
            } else if metadata.last_sequence_number() > table.last_sequence().0 + under_way {
                format!("its folder holds a later state than the catalog, {path}")
            } else {
                continue;
            };
            return Err(LakeError::KeepsAll { table: name.clone(), why });
        }
        Ok(())
    }

    /// Adds all that names files which may be in a table's folder.
    async fn name(&self, table: &Table, named: &mut Named) -> Result<(), LakeError> {
        let metadata = table.metadata();
        named.add(table.metadata_location());
        metadata.metadata_log().iter().for_each(|entry| named.add(&entry.metadata_file));
        metadata.statistics_iter().for_each(|file| named.add(&file.statistics_path));
        metadata.partition_statistics_iter().for_each(|file| named.add(&file.statistics_path));
        self.name_by_snapshots(table, named).await?;
        for name in self.tables().await.doing(table.name(), "list")? {
            let Some(other) = self.find(&name).await? else { continue };
            name_by_properties(other.metadata(), named);
        }
        Ok(())
    }

    async fn name_by_snapshots(&self, table: &Table, named: &mut Named) -> Result<(), LakeError> {
        // Those that are named already, of the state before, name nothing new.
        let new = |snapshot: &&SnapshotRef| !named.holds(snapshot.manifest_list());
        let snapshots: Vec<SnapshotRef> =
            table.metadata().snapshots().filter(new).cloned().collect();
        snapshots.iter().for_each(|snapshot| named.add(snapshot.manifest_list()));
        let mut lists = futures::stream::iter(snapshots)
            .map(|snapshot| async move { self.manifests_of(table, &snapshot).await })
            .buffer_unordered(READS);
        let mut manifests = Vec::new();
        while let Some(list) = lists.try_next().await? {
            for manifest in list {
                if !named.holds(&manifest.manifest_path) {
                    named.add(&manifest.manifest_path);
                    manifests.push(manifest);
                }
            }
        }
        let mut manifests = futures::stream::iter(manifests)
            .map(|manifest| async move { self.stored_manifest(table, &manifest).await })
            .buffer_unordered(READS);
        while let Some(manifest) = manifests.try_next().await? {
            let alive = manifest.entries().iter().filter(|entry| entry.is_alive());
            alive.for_each(|entry| named.add(entry.file_path()));
        }
        Ok(())
    }
}

/// Whether a location is in one of the buckets that S3 Tables keeps for its tables
/// ([access management](https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-tables-objects.html)).
pub(super) fn is_table_bucket(location: &str) -> bool {
    let bucket = location.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    bucket.is_some_and(|bucket| bucket.ends_with("--table-s3"))
}

/// Everything in the properties of a table and of its snapshots that may be a location, alone or within JSON.
fn name_by_properties(metadata: &TableMetadata, named: &mut Named) {
    let of_snapshots =
        metadata.snapshots().flat_map(|s| s.summary().additional_properties.values());
    for text in metadata.properties().values().chain(of_snapshots) {
        text.split('"').filter(|part| part.contains('/')).for_each(|part| named.add(part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_the_same_under_any_scheme() {
        for (one, other) in [
            ("s3a://b/t/x.avro", "s3://b/t/x.avro"),
            ("file:///t/x.avro", "/t/x.avro"),
            ("file:/t/x.avro", "/t/x.avro"),
        ] {
            assert_eq!(normal(one), normal(other), "{one}");
        }
        assert_ne!(normal("s3://b/t/x.avro"), normal("/b/t/x.avro"));
    }

    #[test]
    fn table_buckets_are_known_by_their_names() {
        assert!(is_table_bucket("s3://63a8e430-6e0b-46f5-k833abtwr6s8--table-s3"));
        assert!(is_table_bucket("s3://63a8e430-6e0b-46f5-k833abtwr6s8--table-s3/t"));
        assert!(!is_table_bucket("s3://lake/warehouse--table-s3"));
        assert!(!is_table_bucket("/lake--table-s3"));
    }
}
