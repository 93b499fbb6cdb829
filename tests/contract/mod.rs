//! Contract suites: each port's promises, kept by the fake and by every real backend.

mod catalog;
mod checkpoints;
mod commit;
mod files;
mod lock;
mod queue;
mod raw_store;

use std::sync::Arc;

use silversmith::lake::catalog::{Catalog, JdbcCatalog, MemoryCatalog};

/// The URL of the Postgres that `tests/run` starts. A test that needs it fails without it.
pub fn postgres_url() -> String {
    #[allow(clippy::disallowed_methods, reason = "the test suite's own setting")]
    std::env::var("SILVERSMITH_TEST_POSTGRES")
        .expect("SILVERSMITH_TEST_POSTGRES is not set: run the suite by `bash tests/run`")
}

/// Every kind of catalog, fresh: under a name that nobody else uses.
pub async fn catalogs(folder: &tempfile::TempDir) -> Vec<(&'static str, Arc<dyn Catalog>)> {
    #[allow(clippy::disallowed_methods, reason = "a name that no other run uses")]
    let name = format!("lake_{}", uuid::Uuid::new_v4().simple());
    let sqlite = format!("sqlite:{}", folder.path().join("catalog.db").display());
    vec![
        ("memory", Arc::new(MemoryCatalog::new())),
        ("sqlite", Arc::new(JdbcCatalog::connect(&sqlite, &name).await.unwrap())),
        ("postgres", Arc::new(JdbcCatalog::connect(&postgres_url(), &name).await.unwrap())),
    ]
}
