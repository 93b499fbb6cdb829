//! The JDBC catalog beside other clients of its database.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use silversmith::ambient::SystemAmbient;
use silversmith::lake::TableName;
use silversmith::lake::catalog::{Catalog, JdbcCatalog, WithDeadline};
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

/// Callers that began a request and then do something else keep no connection from the others: SQLite has one.
#[tokio::test]
async fn a_caller_that_waits_elsewhere_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("catalog.db").display());
    let jdbc = Arc::new(JdbcCatalog::connect(&url, "lake").await.unwrap());
    let limit = Duration::from_secs(60);
    let catalog = WithDeadline::new(jdbc, limit, Arc::new(SystemAmbient));
    let name = TableName::new("bronze", "orders");
    let mut suspended: Vec<_> = (0..3).map(|_| catalog.load(&name)).collect();
    for request in &mut suspended {
        assert!(request.now_or_never().is_none());
    }
    assert!(catalog.load(&name).await.unwrap().is_none());
    for request in suspended {
        assert!(request.await.unwrap().is_none());
    }
}
