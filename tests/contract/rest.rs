//! What a REST catalog does beyond the contract: tokens that expire, answers that get lost.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use silversmith::lake::catalog::{Login, RestCatalog, RestSettings};
use silversmith::lake::{Change, CommitOutcome, CommitProperties, Uncommitted};
use silversmith::telemetry::metrics::Layer;

use super::backings::{clock, oauth2};
use super::{Backing, backings, rest_url};

async fn control(path: &str, body: Option<serde_json::Value>) {
    let request = reqwest::Client::new().post(format!("{}/control/{path}", rest_url()));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap().error_for_status().unwrap();
}

async fn named(kind: &str) -> Backing {
    let folder = tempfile::tempdir().unwrap();
    backings(&folder).await.into_iter().find(|b| b.kind == kind).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_expire_and_answers_get_lost() {
    let backing = named("rest, oauth2").await;
    backing.catalog.tables().await.unwrap();
    control("expire", None).await;
    backing.catalog.tables().await.unwrap();

    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let lake = backing.lake();
    for (number, when) in ["before", "after", "before", "after"].into_iter().enumerate() {
        let name = backing.table(&format!("fault_{number}"));
        let base = lake.find_or_create(&name, &schema, None).await.unwrap();
        let own = [("silversmith.test".to_owned(), when.to_owned())].into();
        let own = CommitProperties::of_both(Layer::Ledger, own);
        let change = Change::append(Uncommitted::nothing(&lake), own);
        let status = if number < 2 { 503 } else { 500 };
        let fault = serde_json::json!({"when": when, "status": status, "table": name.table()});
        control("faults", Some(fault)).await;
        let CommitOutcome::Committed { table, .. } = lake.commit(&base, change).await.unwrap()
        else {
            panic!("there is no other writer")
        };
        assert_eq!(table.snapshots().len(), 1, "{when}: it is there once");
        assert_eq!(table.property("silversmith.test"), Some(when));
    }
}

#[tokio::test]
async fn a_wrong_login_says_what_to_check() {
    let Login::OAuth2 { server, client_id, scope, .. } = oauth2() else { unreachable!() };
    let client_secret = silversmith::lake::catalog::Secret::new("wr0ng");
    let wrong = |login| RestSettings {
        uri: format!("{}/secured", rest_url()),
        warehouse: None,
        login,
        places_tables: false,
    };
    let login = Login::OAuth2 { server, client_id, client_secret, scope };
    let refused = RestCatalog::connect(wrong(login), &clock()).await.unwrap_err().to_string();
    assert!(refused.contains("SILVERSMITH_REST_CREDENTIAL"), "{refused}");
    assert!(!refused.contains("wr0ng"), "{refused}");
    let refused = RestCatalog::connect(wrong(Login::None), &clock()).await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
}
