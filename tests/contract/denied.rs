//! Catalogs that deny what is not there, as AWS may. No emulator does, so their answers are made up here.

use silversmith::lake::TableName;
use silversmith::lake::catalog::{Catalog, GlueCatalog, S3TablesCatalog};

use super::backings::service_at;
use crate::support::answering::Answering;

const ARN: &str = "arn:aws:s3tables:eu-west-1:123456789012:bucket/lake";
const DENIED: &str = r#"{"__type": "AccessDeniedException", "message": "no"}"#;
const NOT_FOUND: &str = r#"{"__type": "NotFoundException", "message": "none"}"#;

/// What is loaded from a table bucket that denies the table and answers its list like this.
async fn on_s3_tables(list: (u16, &'static str)) -> Result<bool, String> {
    let script = move |_: usize, asked: &str| {
        if asked.contains("metadata-location") { (403, DENIED) } else { list }
    };
    let answering = Answering::with(script).await;
    let catalog = S3TablesCatalog::new(service_at(&answering.url, "S3Tables").await, ARN);
    let loaded = catalog.load(&TableName::new("bronze", "orders")).await;
    let requests = answering.requests();
    assert!(requests[1].contains("namespace=bronze&prefix=orders"), "{requests:?}");
    loaded.map(|entry| entry.is_some()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn s3_tables_may_deny_a_table_that_is_not_there() {
    assert_eq!(on_s3_tables((200, r#"{"tables": []}"#)).await, Ok(false));
    assert_eq!(on_s3_tables((200, r#"{"tables": [{"name": "orders_objects"}]}"#)).await, Ok(false));
    assert_eq!(on_s3_tables((404, NOT_FOUND)).await, Ok(false), "the namespace is yet to be made");

    // It is there, or that cannot be seen: then the denial stands.
    let error = on_s3_tables((200, r#"{"tables": [{"name": "orders"}]}"#)).await.unwrap_err();
    assert!(error.contains("AccessDeniedException"), "{error}");
    let error = on_s3_tables((403, DENIED)).await.unwrap_err();
    assert!(error.contains("load a table"), "{error}");
}

const BY_LAKE_FORMATION: &str = r#"{"__type": "AccessDeniedException",
    "Message": "Insufficient Lake Formation permission(s) on orders"}"#;

/// What is loaded from a Glue catalog that denies the table and answers the list of its database like this.
async fn on_glue(list: (u16, &'static str)) -> Result<bool, String> {
    let script = move |_: usize, asked: &str| {
        if asked.ends_with("AWSGlue.GetTable") { (400, BY_LAKE_FORMATION) } else { list }
    };
    let answering = Answering::with(script).await;
    let catalog = GlueCatalog::new(service_at(&answering.url, "Glue").await, "");
    let loaded = catalog.load(&TableName::new("bronze", "orders")).await;
    loaded.map(|entry| entry.is_some()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn lake_formation_may_deny_a_table_that_is_not_there() {
    assert_eq!(on_glue((200, r#"{"TableList": []}"#)).await, Ok(false));
    let none = r#"{"__type": "EntityNotFoundException", "Message": "Database bronze not found."}"#;
    assert_eq!(on_glue((400, none)).await, Ok(false));

    let there = r#"{"TableList": [{"Name": "orders"}]}"#;
    let error = on_glue((200, there)).await.unwrap_err();
    assert!(error.contains("grant the role CREATE_TABLE and DESCRIBE"), "{error}");
    assert!(on_glue((400, BY_LAKE_FORMATION)).await.is_err());
}
