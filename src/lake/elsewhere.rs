//! A lake in a folder that was copied or moved: its metadata names the files by absolute paths, which are the original's.

use std::path::Path;

use super::{Lake, LakeError, Table};

impl Lake {
    /// Checks that silversmith may write a table of this lake: that it knows how, and that the table is in it.
    ///
    /// # Errors
    /// [`LakeError::NotWritable`].
    pub fn check_writable(&self, table: &Table) -> Result<(), LakeError> {
        table.check_writable()?;
        self.check_place(table)
    }

    /// Checks where a table is. Iceberg metadata holds absolute paths: the files of a lake that was copied or moved are
    /// still the original's, and a write would change it.
    pub(super) fn check_place(&self, table: &Table) -> Result<(), LakeError> {
        let (location, warehouse) = (table.location(), &*self.warehouse);
        if !is_elsewhere(location, warehouse) {
            return Ok(());
        }
        let why = format!(
            "has its files in {location}, outside of the warehouse {warehouse}: the lake was copied or moved, and writing to it would change the original. Work on the original, move it back, or name its folder in `lake.warehouse`"
        );
        Err(LakeError::NotWritable { table: table.name().clone(), why })
    }
}

/// Whether a table in a folder is not below a warehouse in a folder, by whatever path.
fn is_elsewhere(location: &str, warehouse: &str) -> bool {
    let (Some(location), Some(warehouse)) = (folder(location), folder(warehouse)) else {
        return false;
    };
    if location.starts_with(warehouse) {
        return false;
    }
    let real =
        location.canonicalize().and_then(|location| Ok((location, warehouse.canonicalize()?)));
    !real.is_ok_and(|(location, warehouse)| location.starts_with(warehouse))
}

fn folder(location: &str) -> Option<&Path> {
    let path = location.strip_prefix("file:").unwrap_or(location);
    let path = path.strip_prefix("//").unwrap_or(path);
    path.starts_with('/').then(|| Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_whatever_path() {
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("lake"), root.path().join("link"));
        std::fs::create_dir_all(real.join("a")).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let (real, link) = (real.display().to_string(), link.display().to_string());
        for location in [format!("{real}/a"), format!("file:{link}/a"), format!("file://{real}/b")]
        {
            assert!(!is_elsewhere(&location, &real), "{location}");
        }
        assert!(!is_elsewhere(&format!("{real}/a"), &link));
        for location in [format!("{real}2/a"), "/other/a".to_owned()] {
            assert!(is_elsewhere(&location, &real), "{location}");
        }
        assert!(!is_elsewhere("s3://lake/a", &real), "no folder");
        assert!(!is_elsewhere("/other/a", "s3://lake"), "another warehouse");
    }
}
