//! Which tables silversmith may write. Pure.
//!
//! Another program may have made the table that a pipeline names. What silversmith cannot write right is refused
//! by name before anything is written; it can still be read.

use iceberg::spec::{FormatVersion, TableMetadata};

use super::{LakeError, Table};

/// Table property: the key that encrypts the table's files (Iceberg's documentation, "Encryption").
const ENCRYPTION_KEY: &str = "encryption.key-id";

impl Table {
    /// Checks what the table is; [`Lake::check_writable`](super::Lake::check_writable) also checks where it is.
    pub(super) fn check_writable(&self) -> Result<(), LakeError> {
        match obstacle(self.metadata(), &self.name().to_string()) {
            None => Ok(()),
            Some(why) => Err(LakeError::NotWritable { table: self.name().clone(), why }),
        }
    }
}

/// What stands against writing a table.
fn obstacle(metadata: &TableMetadata, name: &str) -> Option<String> {
    match metadata.format_version() {
        // Its snapshots have no sequence numbers, which positions are made of.
        FormatVersion::V1 => {
            return Some(format!(
                "has Iceberg format version 1, and silversmith writes version 2; upgrade it first, in Spark: ALTER TABLE {name} SET TBLPROPERTIES ('format-version' = '2')"
            ));
        }
        FormatVersion::V2 => {}
        FormatVersion::V3 => {
            return Some(
                "has Iceberg format version 3, which silversmith cannot write; name another table in the configuration: silversmith creates it with version 2".to_owned(),
            );
        }
    }
    metadata.properties().contains_key(ENCRYPTION_KEY).then(|| {
        format!(
            "is encrypted (property {ENCRYPTION_KEY}), which silversmith cannot write; name another table in the configuration"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use iceberg::TableCreation;
    use iceberg::spec::{Schema, TableMetadataBuilder};

    use super::*;

    fn table(version: FormatVersion, properties: &[(&str, &str)]) -> TableMetadata {
        let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let creation = TableCreation::builder()
            .name("orders".to_owned())
            .location("memory:/orders".to_owned())
            .schema(Schema::builder().build().unwrap())
            .properties(properties.collect::<HashMap<_, _>>())
            .format_version(version)
            .build();
        TableMetadataBuilder::from_table_creation(creation).unwrap().build().unwrap().metadata
    }

    #[test]
    fn what_cannot_be_written_is_named_with_what_to_do() {
        assert_eq!(obstacle(&table(FormatVersion::V2, &[("a", "b")]), "x.y"), None);
        let v1 = obstacle(&table(FormatVersion::V1, &[]), "x.y").unwrap();
        assert!(v1.contains("ALTER TABLE x.y SET TBLPROPERTIES ('format-version' = '2')"), "{v1}");
        let v3 = obstacle(&table(FormatVersion::V3, &[]), "x.y").unwrap();
        assert!(v3.contains("format version 3"), "{v3}");
        let key = [(ENCRYPTION_KEY, "keyA")];
        let encrypted = obstacle(&table(FormatVersion::V2, &key), "x.y").unwrap();
        assert!(encrypted.contains("is encrypted"), "{encrypted}");
    }
}
