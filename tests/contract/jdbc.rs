//! The JDBC catalog beside other clients of its database.

use silversmith::lake::catalog::JdbcCatalog;
use sqlx::any::AnyPoolOptions;

/// A catalog whose tables exist is opened while another client writes: nothing is created, so nothing waits.
#[tokio::test]
async fn a_catalog_is_opened_beside_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("catalog.db").display());
    JdbcCatalog::connect(&url, "lake").await.unwrap();
    let pool = AnyPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let mut writer = pool.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *writer).await.unwrap();
    JdbcCatalog::connect(&url, "lake").await.unwrap();
}
