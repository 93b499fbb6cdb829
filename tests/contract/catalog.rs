//! The catalog port.

use std::sync::Arc;

use futures::future::join_all;
use silversmith::lake::TableName;
use silversmith::lake::catalog::{Catalog, Swap};

use super::catalogs;

#[tokio::test]
async fn every_catalog_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, catalog) in catalogs(&folder).await {
        println!("catalog: {kind}");
        a_table_is_created_once(&catalog).await;
        a_swap_needs_the_current_token(&catalog).await;
        of_concurrent_swaps_one_wins(&catalog).await;
        tables_are_listed(&catalog).await;
    }
}

async fn a_table_is_created_once(catalog: &Arc<dyn Catalog>) {
    let table = TableName::new("a", "created");
    assert_eq!(catalog.pointer(&table).await.unwrap(), None);
    assert_eq!(catalog.create(&table, "one").await.unwrap(), Swap::Swapped);
    assert_eq!(catalog.create(&table, "two").await.unwrap(), Swap::Refused);
    let pointer = catalog.pointer(&table).await.unwrap().unwrap();
    assert_eq!(pointer.metadata_location, "one");
    assert_eq!(catalog.pointer(&table).await.unwrap().unwrap(), pointer);
}

async fn a_swap_needs_the_current_token(catalog: &Arc<dyn Catalog>) {
    let table = TableName::new("a", "swapped");
    catalog.create(&table, "one").await.unwrap();
    let base = catalog.pointer(&table).await.unwrap().unwrap();
    assert_eq!(catalog.swap(&table, &base, "two").await.unwrap(), Swap::Swapped);
    assert_eq!(catalog.swap(&table, &base, "three").await.unwrap(), Swap::Refused);
    let now = catalog.pointer(&table).await.unwrap().unwrap();
    assert_eq!(now.metadata_location, "two");
    assert_ne!(now.token, base.token);
    assert_eq!(catalog.swap(&table, &now, "three").await.unwrap(), Swap::Swapped);
    let missing = TableName::new("a", "missing");
    assert_eq!(catalog.swap(&missing, &now, "four").await.unwrap(), Swap::Refused);
}

async fn of_concurrent_swaps_one_wins(catalog: &Arc<dyn Catalog>) {
    let table = TableName::new("a", "raced");
    catalog.create(&table, "base").await.unwrap();
    let base = catalog.pointer(&table).await.unwrap().unwrap();
    let locations: Vec<String> = (0..8).map(|n| format!("location-{n}")).collect();
    let swaps = locations.iter().map(|location| catalog.swap(&table, &base, location));
    let answers: Vec<Swap> = join_all(swaps).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<usize> = (0..8).filter(|n| answers[*n] == Swap::Swapped).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    let now = catalog.pointer(&table).await.unwrap().unwrap();
    assert_eq!(now.metadata_location, locations[winners[0]]);
}

async fn tables_are_listed(catalog: &Arc<dyn Catalog>) {
    let names: Vec<String> =
        catalog.tables().await.unwrap().iter().map(TableName::to_string).collect();
    assert_eq!(names, ["a.created", "a.raced", "a.swapped"]);
}
