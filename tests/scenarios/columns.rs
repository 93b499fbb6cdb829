//! A column is its header: values stay under it, wherever it stands in the next file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use crate::support::{CUSTOMERS, World};

/// The rows of bronze, their cells in the order of these headers.
async fn by_header(world: &World, headers: &[&str]) -> Vec<String> {
    let table = world.table("bronze.customers").await;
    let fields = table.schema().arrow().fields();
    let columns: Vec<String> = headers
        .iter()
        .map(|header| {
            let documented = format!("CSV column `{header}`");
            let is_it = |f: &&Arc<Field>| match f.metadata().get("doc") {
                Some(doc) => *doc == documented,
                None => f.name() == header,
            };
            let found: Vec<_> = fields.iter().filter(is_it).collect();
            assert_eq!(found.len(), 1, "{header}: {found:?}");
            found[0].name().clone()
        })
        .collect();
    let columns = columns.join(", ");
    world.sql(&format!("SELECT {columns} FROM bronze.customers ORDER BY id")).await
}

/// Headers that are alike once they are plain names, and the same headers in another order.
#[tokio::test]
async fn headers_never_change_columns() {
    for (first, second) in [
        ("姓,名", "名,姓"),
        ("Größe,Grüße", "Grüße,Größe"),
        ("Customer ID,Customer-ID", "Customer-ID,Customer ID"),
        ("Preis (€),Preis ($)", "Preis ($),Preis (€)"),
    ] {
        let world = World::new(CUSTOMERS);
        world.put("1.csv", &format!("id,{first},updated\n1,a,b,2026-01-01\n"), 0);
        world.put("2.csv", &format!("id,{second},updated\n2,d,c,2026-01-01\n"), 1);
        world.bronze().await;
        world.put("3.csv", &format!("updated,{second},id\n2026-01-01,f,e,3\n"), 2);
        world.bronze().await;
        let headers: Vec<&str> = ["id"].into_iter().chain(first.split(',')).collect();
        assert_eq!(by_header(&world, &headers).await, ["1|a|b", "2|c|d", "3|e|f"], "{first}");
    }
}

/// A file that has only one of two such headers fills only that column.
#[tokio::test]
async fn a_header_alone_is_still_itself() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,Preis (€),Preis ($),updated\n1,100,110,2026-01-01\n", 0);
    world.bronze().await;
    world.put("2.csv", "id,Preis ($),updated\n2,220,2026-01-01\n", 1);
    world.put("3.csv", "\u{feff} ID ,preis ($),Updated\n3,330,2026-01-01\n", 2);
    world.bronze().await;
    let rows = by_header(&world, &["id", "Preis (€)", "Preis ($)"]).await;
    assert_eq!(rows, ["1|100|110", "2|null|220", "3|null|330"]);
}

/// Tables of the first version numbered such columns; their documentation says which is which.
#[tokio::test]
async fn a_table_of_before_is_read_by_its_documentation() {
    let world = World::new(CUSTOMERS);
    let number = |name: &str, doc: &str| {
        let metadata = [("doc".to_owned(), format!("CSV column `{doc}`"))].into();
        Field::new(name, DataType::Int64, true).with_metadata(metadata)
    };
    let before = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        number("preis____", "Preis (€)"),
        number("preis_____2", "Preis ($)"),
    ]);
    let name = "bronze.customers".parse().unwrap();
    world.lake().find_or_create(&name, &Arc::new(before), None).await.unwrap();
    world.put("1.csv", "id,Preis ($),Preis (€),updated\n1,110,100,2026-01-01\n", 0);
    world.bronze().await;
    let rows = world.sql("SELECT id, preis____, preis_____2 FROM bronze.customers").await;
    assert_eq!(rows, ["1|100|110"]);
}

#[tokio::test]
async fn a_header_is_mapped_by_hand() {
    let mapped = "[pipeline.csv.columns]\namount = { type = \"decimal(9,2)\", from = \"Betrag (€)\" }\n\
                  id = { from = \"Nr.\" }\n";
    let world = World::new(&format!("{CUSTOMERS}{mapped}"));
    world.put("1.csv", "Nr.,Betrag (€),updated\n1,1.50,2026-01-01\n", 0);
    world.bronze().await;
    let rows = world.sql("SELECT id, amount FROM bronze.customers").await;
    assert_eq!(rows, ["1|1.50"]);
}

/// Folders as Hive writes them are columns, and a file's own column goes before one of its path.
#[tokio::test]
async fn folders_of_the_path_are_columns() {
    let settings = "[pipeline.csv]\npath_columns = true\n";
    let world = World::new(&format!("{CUSTOMERS}{settings}"));
    let rows = "id,month,updated\n1,7,2026-01-01\nlonely\n";
    world.put("year=2024/month=01/1.csv", rows, 0);
    world.put("year=2025/2.csv", "id,updated\n2,2026-01-01\n", 1);
    world.bronze().await;
    let rows =
        world.sql("SELECT id, year, month FROM bronze.customers ORDER BY _source_uri, _source_row");
    assert_eq!(rows.await, ["1|2024|7", "lonely|2024|null", "2|2025|null"]);
    // The key may be in the path.
    let keys = CUSTOMERS.replace("[\"id\"]", "[\"id\", \"region\"]");
    let world = World::new(&format!("{keys}{settings}"));
    world.put("region=00/1.csv", "id,updated\n1,2026-01-01\n", 0);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.inserted, 1);
    assert_eq!(world.sql("SELECT id, region FROM silver.customers").await, ["1|00"]);
}
