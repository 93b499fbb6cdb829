//! Row deletes as other engines commit them: position deletes and equality deletes (Iceberg spec, "Delete Formats").

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use iceberg::metadata_columns::{
    RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS,
};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, ManifestContentType,
    ManifestEntry, ManifestFile, ManifestList, ManifestListWriter, ManifestWriterBuilder,
    Operation, Snapshot, Summary, TableMetadata,
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use silversmith::ambient::Ambient;
use silversmith::lake::{TableName, TableSchema};

use super::World;

/// How position deletes say which data file they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The manifest names the one file (`referenced_data_file`).
    File,
    /// Only the rows name files.
    Rows,
}

impl World {
    /// Another engine deletes rows of a data file by their positions.
    pub async fn delete_positions(&self, table: &str, file: &str, positions: &[i64], scope: Scope) {
        let field = |name, kind, id: i32| with_id(Field::new(name, kind, false), id);
        let schema = Arc::new(Schema::new(vec![
            field("file_path", DataType::Utf8, RESERVED_FIELD_ID_DELETE_FILE_PATH),
            field("pos", DataType::Int64, RESERVED_FIELD_ID_DELETE_FILE_POS),
        ]));
        let paths = Arc::new(StringArray::from(vec![file; positions.len()]));
        let positions = Arc::new(Int64Array::from(positions.to_vec()));
        let mut deletes = self.delete_file(table, schema, vec![paths, positions]).await;
        deletes.content(DataContentType::PositionDeletes);
        deletes.referenced_data_file((scope == Scope::File).then(|| file.to_owned()));
        self.commit_deletes(table, deletes.build().unwrap()).await;
    }

    /// Another engine deletes all rows that equal one of these in their columns.
    pub async fn delete_equal(&self, table: &str, columns: &[(&str, ArrayRef)]) {
        let of_table = self.table(table).await;
        let ids: Vec<i32> = columns.iter().map(|(c, _)| id_of(of_table.schema(), c)).collect();
        let fields = columns.iter().zip(&ids).map(|((name, values), id)| {
            with_id(Field::new(*name, values.data_type().clone(), true), *id)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let values = columns.iter().map(|(_, values)| values.clone()).collect();
        let mut deletes = self.delete_file(table, schema, values).await;
        deletes.content(DataContentType::EqualityDeletes).equality_ids(Some(ids));
        self.commit_deletes(table, deletes.build().unwrap()).await;
    }

    /// The live entries of a table's delete manifests, as their files' paths.
    pub async fn delete_files(&self, table: &str) -> Vec<String> {
        let mut live = Vec::new();
        for manifest in self.manifests(&self.metadata(table).await).await {
            if manifest.content == ManifestContentType::Deletes {
                let loaded = manifest.load_manifest(&self.files).await.unwrap();
                let alive = |entry: &&Arc<ManifestEntry>| entry.is_alive();
                let entries = loaded.entries().iter().filter(alive);
                live.extend(entries.map(|entry| entry.file_path().to_owned()));
            }
        }
        live
    }

    async fn metadata(&self, table: &str) -> TableMetadata {
        let table: TableName = table.parse().unwrap();
        let entry = self.catalog.load(&table).await.unwrap().unwrap();
        TableMetadata::read_from(&self.files, &entry.pointer.metadata_location).await.unwrap()
    }

    async fn manifests(&self, metadata: &TableMetadata) -> Vec<ManifestFile> {
        let list = metadata.current_snapshot().unwrap().manifest_list();
        let list = self.files.new_input(list).unwrap().read().await.unwrap();
        let list = ManifestList::parse_with_version(&list, FormatVersion::V2).unwrap();
        list.consume_entries().into_iter().collect()
    }

    /// A written delete file, its content still to be said.
    async fn delete_file(
        &self,
        table: &str,
        schema: SchemaRef,
        columns: Vec<ArrayRef>,
    ) -> DataFileBuilder {
        let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let location = self.metadata(table).await.location().to_owned();
        let path = format!("{location}/data/{}-deletes.parquet", self.ambient.uuid());
        let mut file = DataFileBuilder::default();
        file.file_path(path.clone())
            .file_format(DataFileFormat::Parquet)
            .record_count(rows.num_rows() as u64)
            .file_size_in_bytes(bytes.len() as u64);
        self.files.new_output(&path).unwrap().write(bytes.into()).await.unwrap();
        file
    }

    /// One snapshot that adds a delete file.
    async fn commit_deletes(&self, table: &str, deletes: DataFile) {
        let metadata = self.metadata(table).await;
        let (id, location) = (self.ambient.snapshot_id(), metadata.location());
        let path = |name: &str| format!("{location}/metadata/{name}-{}.avro", self.ambient.uuid());
        let output = self.files.new_output(path("deletes")).unwrap();
        let (schema, spec) = (metadata.current_schema(), metadata.default_partition_spec());
        let builder =
            ManifestWriterBuilder::new(output, Some(id), schema.clone(), spec.as_ref().clone());
        let (summary, mut manifest) = (summary(&metadata, &deletes), builder.build_v2_deletes());
        manifest.add_file(deletes, -1).unwrap();
        let mut manifests = vec![manifest.write_manifest_file().await.unwrap()];
        manifests.extend(self.manifests(&metadata).await);

        let (list, parent) = (path("snap"), metadata.current_snapshot_id());
        let writer = self.files.new_output(&list).unwrap().writer().await.unwrap();
        let sequence = metadata.next_sequence_number();
        let mut written = ManifestListWriter::v2(writer, id, parent, sequence);
        written.add_manifests(manifests.into_iter()).unwrap();
        written.close().await.unwrap();
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(metadata.last_updated_ms() + 1)
            .with_manifest_list(list)
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id())
            .build();
        self.change_metadata(table, |builder, _| {
            builder.set_branch_snapshot(snapshot.clone(), "main").unwrap()
        })
        .await;
    }
}

fn with_id(field: Field, id: i32) -> Field {
    field.with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]))
}

fn id_of(schema: &TableSchema, column: &str) -> i32 {
    let field = schema.arrow().field_with_name(column).unwrap();
    field.metadata()[PARQUET_FIELD_ID_META_KEY].parse().unwrap()
}

/// The totals go on, as the spec wants them.
fn summary(metadata: &TableMetadata, deletes: &DataFile) -> Summary {
    let before = metadata.current_snapshot().unwrap().summary().additional_properties.clone();
    let totals = before.into_iter().filter(|(key, _)| key.starts_with("total-"));
    let mut properties: HashMap<String, String> = totals.collect();
    let mut add = |what: &str, count: u64| {
        let total = properties.entry(format!("total-{what}")).or_insert_with(|| "0".to_owned());
        *total = (total.parse::<u64>().unwrap() + count).to_string();
        properties.insert(format!("added-{what}"), count.to_string());
    };
    add("delete-files", 1);
    match deletes.content_type() {
        DataContentType::PositionDeletes => add("position-deletes", deletes.record_count()),
        _ => add("equality-deletes", deletes.record_count()),
    }
    Summary { operation: Operation::Delete, additional_properties: properties }
}
