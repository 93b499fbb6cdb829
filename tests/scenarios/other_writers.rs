//! Tables that another program made, or changed: refused by name before anything is written, or written as it says.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use iceberg::spec::{FormatVersion, NestedField, PrimitiveType, TableMetadataBuilder, Type};
use iceberg::{MetadataLocation, TableCreation};
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use silversmith::checkpoint::MemoryCheckpoints;
use silversmith::lake::catalog::{Catalog, MemoryCatalog, Proposal, Swap};
use silversmith::lake::{Change, Removed, Uncommitted};

use crate::support::lagging::LaggingCatalog;
use crate::support::warehouse::Warehouse;
use crate::support::{CUSTOMERS, World, unsaid};

const GOLD: &str =
    "[[pipeline.gold]]\ntable = \"gold.customers\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
const ROWS: &str = "id,name,updated\n1,a,1\n2,b,1\n";

/// A table as another program makes it, without rows.
async fn made(world: &World, name: &str, version: FormatVersion, properties: &[(&str, &str)]) {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let note = NestedField::optional(2, "note", Type::Primitive(PrimitiveType::String));
    let schema = iceberg::spec::Schema::builder()
        .with_fields([Arc::new(id), Arc::new(note)])
        .with_identifier_field_ids([1])
        .build()
        .unwrap();
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let creation = TableCreation::builder()
        .name(name.to_owned())
        .location(format!("memory:/theirs/{name}"))
        .schema(schema)
        .properties(properties.collect::<HashMap<_, _>>())
        .format_version(version)
        .build();
    let built = TableMetadataBuilder::from_table_creation(creation).unwrap().build().unwrap();
    let location = MetadataLocation::new_with_metadata(built.metadata.location(), &built.metadata);
    built.metadata.write_to(&world.files, &location).await.unwrap();
    let first = Proposal {
        metadata: Arc::new(built.metadata),
        metadata_location: location.to_string(),
        requirements: vec![],
        updates: vec![],
    };
    let created = world.catalog.create(&name.parse().unwrap(), &first).await.unwrap();
    assert_eq!(created, Swap::Swapped);
}

fn world(files: &Warehouse) -> World {
    let catalog = Arc::new(MemoryCatalog::new());
    let (raw, checkpoints) = (Arc::default(), Arc::new(MemoryCheckpoints::new()));
    World::on(&format!("{CUSTOMERS}{GOLD}"), catalog, files.files(), raw, checkpoints)
}

/// What the steps say: bronze, then silver, then gold; none where all went well.
async fn failure(world: &World) -> Option<String> {
    let pipeline = world.pipeline();
    if let Err(error) = pipeline.bronze.step().await {
        return Some(silversmith::error::chain(&error));
    }
    if let Err(error) = pipeline.silver.as_ref().unwrap().step().await {
        return Some(silversmith::error::chain(&error));
    }
    pipeline.gold[0].step().await.err().map(|error| silversmith::error::chain(&error))
}

#[tokio::test]
async fn what_silversmith_cannot_write_is_refused_by_name() {
    const ENCRYPTED: &[(&str, &str)] = &[("encryption.key-id", "key")];
    for (version, properties, words) in [
        (FormatVersion::V1, &[][..], "'format-version' = '2'"),
        (FormatVersion::V3, &[], "format version 3"),
        (FormatVersion::V2, ENCRYPTED, "is encrypted"),
    ] {
        for table in
            ["bronze.customers", "bronze.customers_objects", "silver.customers", "gold.customers"]
        {
            let files = Warehouse::default();
            let world = world(&files);
            made(&world, table, version, properties).await;
            world.put("a.csv", ROWS, 0);
            let failure = failure(&world).await.unwrap_or_default();
            assert!(failure.contains(words) && failure.contains(table), "{table}: {failure}");
            assert_eq!(world.table(table).await.snapshots().len(), 0, "{table}");
            assert_eq!(files.orphans(&*world.catalog).await, Vec::<String>::new(), "{table}");
        }
    }
}

/// The schema grows by merges, and other programs go on identifying rows by the same fields.
#[tokio::test]
async fn identifier_fields_stay() {
    let files = Warehouse::default();
    let world = world(&files);
    made(&world, "silver.customers", FormatVersion::V2, &[]).await;
    world.put("a.csv", ROWS, 0);
    assert_eq!(failure(&world).await, None);
    let entry = world.catalog.load(&"silver.customers".parse().unwrap()).await.unwrap().unwrap();
    let location = entry.pointer.metadata_location;
    let metadata = iceberg::spec::TableMetadata::read_from(&world.files, &location).await.unwrap();
    let schema = metadata.current_schema();
    assert!(schema.field_by_name("updated").is_some());
    assert_eq!(schema.identifier_field_ids().collect::<Vec<_>>(), [1]);
    assert_eq!(
        world.sql("SELECT id, note FROM silver.customers ORDER BY id").await,
        ["1|null", "2|null"]
    );
}

/// The codecs of the live files' columns, by file.
async fn codecs(world: &World, table: &str) -> Vec<Compression> {
    let loaded = world.table(table).await;
    let mut codecs = vec![];
    for file in world.lake().files_of(&loaded, None, &[]).await.unwrap() {
        let bytes = world.files.new_input(file.path()).unwrap().read().await.unwrap();
        let reader = SerializedFileReader::new(bytes).unwrap();
        codecs.push(reader.metadata().row_group(0).column(0).compression());
    }
    codecs
}

#[tokio::test]
async fn the_tables_own_write_properties_count() {
    let world = World::new(CUSTOMERS);
    world.ingest("a.csv", ROWS, 0).await;
    world.silver().await;
    for table in ["bronze.customers", "silver.customers"] {
        world.set_property(table, "write.parquet.compression-codec", "gzip").await;
        world.set_property(table, "write.target-file-size-bytes", "1").await;
    }
    // Three batches of the reader, and a file for each.
    let rows: Vec<String> = (10..20_010).map(|id| format!("{id},n{id},2\n")).collect();
    world.ingest("b.csv", &format!("id,name,updated\n{}", rows.concat()), 1).await;
    world.silver().await;
    for table in ["bronze.customers", "silver.customers"] {
        let codecs = codecs(&world, table).await;
        let gzip = codecs.iter().filter(|codec| matches!(codec, Compression::GZIP(_))).count();
        assert!(gzip >= 2, "{table}: {codecs:?}");
        assert_eq!(codecs.len(), gzip + 1, "{table}: the first file stays");
    }
    assert_eq!(
        world.sql("SELECT count(*), count(DISTINCT name) FROM silver.customers").await,
        ["20002|20002"]
    );

    world.set_property("bronze.customers", "write.parquet.compression-codec", "lzo").await;
    world.put("c.csv", ROWS, 2);
    let refused = failure(&world).await.unwrap();
    assert!(refused.contains("bronze.customers wants files compressed by lzo"), "{refused}");
}

/// Rows without a key column would never match, and each merge would insert them again.
#[tokio::test]
async fn a_target_without_a_key_is_refused() {
    let world = World::new(CUSTOMERS);
    world.ingest("a.csv", ROWS, 0).await;
    let other = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true)]));
    let name = "silver.customers".parse().unwrap();
    let lake = world.lake();
    let empty = lake.find_or_create(&name, &other, None).await.unwrap();
    let change = Change::overwrite(Uncommitted::nothing(lake), Removed::All, unsaid());
    drop(lake.commit(&empty, change).await.unwrap());
    let refused = failure(&world).await.unwrap();
    assert!(refused.contains("silver.customers: it has rows and no column `id`"), "{refused}");
    assert_eq!(world.table("silver.customers").await.snapshots().len(), 1);
}

#[tokio::test]
async fn a_target_with_a_column_of_another_type_is_refused() {
    let world = World::new(CUSTOMERS);
    world.ingest("a.csv", ROWS, 0).await;
    let other = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
    let name = "silver.customers".parse().unwrap();
    world.lake().find_or_create(&name, &other, None).await.unwrap();
    let refused = failure(&world).await.unwrap();
    let words = "silver.customers: column `id` is string, which cannot become long";
    assert!(refused.contains(words), "{refused}");
    assert_eq!(world.table("silver.customers").await.snapshots().len(), 0);
}

/// A refresh of gold replaces all rows: never those of another program.
#[tokio::test]
async fn gold_that_another_program_filled_is_refused() {
    let world = World::new(&format!("{CUSTOMERS}{GOLD}"));
    world.ingest("a.csv", ROWS, 0).await;
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let lake = world.lake();
    let theirs =
        lake.find_or_create(&"gold.customers".parse().unwrap(), &schema, None).await.unwrap();
    let change = Change::append(Uncommitted::nothing(lake), unsaid());
    drop(lake.commit(&theirs, change).await.unwrap());
    let refused = failure(&world).await.unwrap();
    assert!(
        refused.contains("gold table gold.customers has rows that silversmith did not write"),
        "{refused}"
    );
}

/// A sum beyond the greatest long does not become null.
#[tokio::test]
async fn a_value_that_no_type_of_iceberg_holds_is_an_error() {
    let gold = GOLD.replace("count(*) AS n", "CAST(18446744073709551615 AS BIGINT UNSIGNED) AS n");
    let world = World::new(&format!("{CUSTOMERS}{gold}"));
    world.put("a.csv", ROWS, 0);
    let refused = failure(&world).await.unwrap();
    assert!(
        refused.contains("gold.customers: a value of column `n` does not fit its type long"),
        "{refused}"
    );
}

/// A catalog that reads from replicas may show bronze from before what silver has merged: that is no rollback.
#[tokio::test]
async fn a_replica_that_lags_is_waited_for() {
    let catalog = Arc::new(LaggingCatalog::new(Arc::new(MemoryCatalog::new())));
    let raw = Arc::default();
    let files = silversmith::lake::memory_files();
    let world =
        World::on(CUSTOMERS, catalog.clone(), files, raw, Arc::new(MemoryCheckpoints::new()));
    world.ingest("a.csv", ROWS, 0).await;
    let bronze = "bronze.customers".parse().unwrap();
    let older = catalog.load(&bronze).await.unwrap().unwrap();
    world.ingest("b.csv", "id,name,updated\n1,new,2\n", 1).await;
    world.silver().await;
    catalog.show(&bronze, older, 6);
    world.silver().await;
    assert_eq!(catalog.left(), 0, "the older state was shown");
    world.put("c.csv", "id,name,updated\n1,newest,3\n", 2);
    catalog.show_again(6);
    assert_eq!(world.bronze().await.ingested, 1);
    world.silver().await;
    assert_eq!(
        world.sql("SELECT id, name FROM silver.customers ORDER BY id").await,
        ["1|newest", "2|b"]
    );
}

/// And one that was set back is still found out.
#[tokio::test]
async fn a_table_that_was_set_back_is_not_waited_for_for_ever() {
    let catalog = Arc::new(LaggingCatalog::new(Arc::new(MemoryCatalog::new())));
    let files = silversmith::lake::memory_files();
    let world = World::on(
        CUSTOMERS,
        catalog.clone(),
        files,
        Arc::default(),
        Arc::new(MemoryCheckpoints::new()),
    );
    world.ingest("a.csv", ROWS, 0).await;
    let bronze = "bronze.customers".parse().unwrap();
    let older = catalog.load(&bronze).await.unwrap().unwrap();
    world.ingest("b.csv", "id,name,updated\n1,new,2\n", 1).await;
    world.silver().await;
    catalog.show(&bronze, older, usize::MAX);
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err().to_string();
    assert!(error.contains("bronze.customers was rolled back or replaced"), "{error}");
}
