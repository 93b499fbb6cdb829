//! The catalog port.

use std::collections::HashMap;
use std::str::FromStr;

use futures::future::join_all;
use iceberg::spec::{
    FormatVersion, NestedField, Operation, PrimitiveType, Schema, Snapshot, Summary,
    TableMetadataBuilder, Type,
};
use iceberg::{MetadataLocation, TableCreation, TableRequirement};
use silversmith::lake::TableName;
use silversmith::lake::catalog::{Entry, Proposal, Swap};

use super::{Backing, backings};

#[tokio::test(flavor = "multi_thread")]
async fn every_catalog_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for backing in backings(&folder).await {
        println!("catalog: {}", backing.kind);
        a_table_is_created_once(&backing).await;
        a_swap_needs_the_current_token(&backing).await;
        of_concurrent_swaps_one_wins(&backing).await;
        of_concurrent_creations_one_wins(&backing).await;
        tables_are_listed(&backing).await;
    }
}

impl Backing {
    /// The first state of a table, at its location.
    async fn first(&self, table: &TableName) -> Proposal {
        let location = self.catalog.place(table).await.unwrap();
        assert_eq!(self.catalog.place(table).await.unwrap(), location, "repeating it is harmless");
        assert!(self.catalog.load(table).await.unwrap().is_none(), "placed, not created");
        let warehouse = format!("{}/{}/{}", self.warehouse, table.namespace(), table.table());
        let field = NestedField::optional(1, "n", Type::Primitive(PrimitiveType::Long));
        let creation = TableCreation::builder()
            .name(table.table().to_owned())
            .location(location.unwrap_or(warehouse))
            .schema(Schema::builder().with_fields([field.into()]).build().unwrap())
            .format_version(FormatVersion::V2)
            .build();
        let built = TableMetadataBuilder::from_table_creation(creation).unwrap().build().unwrap();
        let location =
            MetadataLocation::new_with_metadata(built.metadata.location(), &built.metadata);
        let first = Proposal {
            metadata: built.metadata.into(),
            metadata_location: location.to_string(),
            requirements: vec![TableRequirement::NotExist],
            updates: built.changes,
        };
        self.write(&first).await;
        first
    }

    /// A next state: one more snapshot.
    async fn next(&self, base: &Entry, snapshot: i64) -> Proposal {
        let metadata = match &base.metadata {
            Some(metadata) => metadata.clone(),
            None => {
                let location = &base.pointer.metadata_location;
                iceberg::spec::TableMetadata::read_from(&self.files, location).await.unwrap()
            }
        };
        let location = format!("{}/metadata/snap-{snapshot}.avro", metadata.location());
        let summary =
            Summary { operation: Operation::Append, additional_properties: HashMap::new() };
        let added = Snapshot::builder()
            .with_snapshot_id(snapshot)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(metadata.next_sequence_number())
            .with_timestamp_ms(metadata.last_updated_ms() + 1)
            .with_manifest_list(location)
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id())
            .build();
        let built = metadata
            .clone()
            .into_builder(Some(base.pointer.metadata_location.clone()))
            .set_branch_snapshot(added, "main")
            .unwrap()
            .build()
            .unwrap();
        let location = MetadataLocation::new_with_metadata(metadata.location(), &built.metadata);
        let next = Proposal {
            metadata_location: location.with_next_version().to_string(),
            requirements: vec![
                TableRequirement::UuidMatch { uuid: metadata.uuid() },
                TableRequirement::RefSnapshotIdMatch {
                    r#ref: "main".to_owned(),
                    snapshot_id: metadata.current_snapshot_id(),
                },
            ],
            metadata: built.metadata.into(),
            updates: built.changes,
        };
        self.write(&next).await;
        next
    }

    async fn write(&self, proposal: &Proposal) {
        if !self.catalog.writes_metadata() {
            let location = MetadataLocation::from_str(&proposal.metadata_location).unwrap();
            proposal.metadata.write_to(&self.files, &location).await.unwrap();
        }
    }

    async fn created(&self, name: &str) -> TableName {
        let table = self.table(name);
        let first = self.first(&table).await;
        assert_eq!(self.catalog.create(&table, &first).await.unwrap(), Swap::Swapped);
        table
    }

    async fn entry(&self, table: &TableName) -> Entry {
        self.catalog.load(table).await.unwrap().unwrap()
    }

    /// The snapshots that the table has.
    async fn snapshots(&self, table: &TableName) -> Vec<i64> {
        let loaded = self.lake().load(table).await.unwrap();
        loaded.snapshots().iter().map(|s| s.id.0).collect()
    }
}

async fn a_table_is_created_once(backing: &Backing) {
    let table = backing.table("created");
    let first = backing.first(&table).await;
    let other = backing.first(&table).await;
    assert_eq!(backing.catalog.create(&table, &first).await.unwrap(), Swap::Swapped);
    let entry = backing.entry(&table).await;
    assert_eq!(backing.catalog.create(&table, &other).await.unwrap(), Swap::Refused);
    assert_eq!(backing.entry(&table).await.pointer, entry.pointer, "two reads, one token");
    if !backing.catalog.writes_metadata() {
        assert_eq!(entry.pointer.metadata_location, first.metadata_location);
    }
}

async fn a_swap_needs_the_current_token(backing: &Backing) {
    let table = backing.created("swapped").await;
    let base = backing.entry(&table).await;
    let (two, three) = (backing.next(&base, 2).await, backing.next(&base, 3).await);
    let swap = async |base: &Entry, next: &Proposal| {
        backing.catalog.swap(&table, &base.pointer, next).await.unwrap()
    };
    assert_eq!(swap(&base, &two).await, Swap::Swapped);
    assert_eq!(swap(&base, &three).await, Swap::Refused);
    assert_eq!(swap(&base, &two).await, Swap::Refused, "it succeeds at most once");
    let now = backing.entry(&table).await;
    assert_ne!(now.pointer.token, base.pointer.token);
    assert_eq!(backing.snapshots(&table).await, [2]);
    let three = backing.next(&now, 3).await;
    assert_eq!(swap(&now, &three).await, Swap::Swapped);
    assert_eq!(backing.snapshots(&table).await, [2, 3]);
    let missing = backing.table("missing");
    let refused = backing.catalog.swap(&missing, &now.pointer, &three).await.unwrap();
    assert_eq!(refused, Swap::Refused);
}

async fn of_concurrent_swaps_one_wins(backing: &Backing) {
    let table = backing.created("raced").await;
    let base = backing.entry(&table).await;
    let proposals = join_all((10..18).map(|id| backing.next(&base, id))).await;
    let swaps = proposals.iter().map(|next| backing.catalog.swap(&table, &base.pointer, next));
    let answers: Vec<Swap> = join_all(swaps).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<i64> =
        (10..18).filter(|id| answers[*id as usize - 10] == Swap::Swapped).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    assert_eq!(backing.snapshots(&table).await, winners);
}

async fn of_concurrent_creations_one_wins(backing: &Backing) {
    let table = backing.table("made");
    let mut firsts = Vec::new();
    for _ in 0..4 {
        firsts.push(backing.first(&table).await);
    }
    let creations = firsts.iter().map(|first| backing.catalog.create(&table, first));
    let answers: Vec<Swap> = join_all(creations).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|a| **a == Swap::Swapped).count(), 1, "{answers:?}");
}

async fn tables_are_listed(backing: &Backing) {
    let all = backing.catalog.tables().await.unwrap();
    assert!(all.is_sorted());
    let names: Vec<&str> = all
        .iter()
        .filter(|table| table.namespace() == backing.namespace)
        .map(TableName::table)
        .collect();
    assert_eq!(names, ["created", "made", "raced", "swapped"]);
}
