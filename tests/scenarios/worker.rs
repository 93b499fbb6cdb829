//! The worker: one pipeline's trouble does not hold up the others.

use std::time::Duration;

use silversmith::worker::{self, Until};

use crate::support::{CUSTOMERS, World};

const TWO: &str = r#"
[[pipeline]]
name = "broken"
source = "raw/broken/*.csv"
[pipeline.bronze]
table = "bronze.broken"
[pipeline.silver]
table = "silver.broken"
keys = ["id"]
select = "SELECT CAST(id AS bigint) AS id FROM bronze"
"#;

#[tokio::test]
async fn trouble_of_one_pipeline_does_not_hold_up_the_others() {
    let world = World::new(&format!("{TWO}{CUSTOMERS}").replace("raw/**/*.csv", "raw/*.csv"));
    world.put("broken/1.csv", "id\nx\n", 0);
    world.put("1.csv", "id,updated\n1,2026-01-01\n", 0);
    let grace = Duration::from_secs(1);
    let mut seen = Vec::new();
    let told = |round: &worker::Round| seen.push(round.pipeline.clone());
    let ended = worker::run(&world.wired, Until::Idle, grace, std::future::pending(), told).await;
    let error = silversmith::error::chain(&ended.unwrap_err());
    assert!(error.contains("pipeline broken, silver") && error.contains("'x'"), "{error}");
    assert_eq!(seen, ["customers"]);
    assert_eq!(world.sql("SELECT id FROM silver.customers").await, ["1"]);
    assert_eq!(world.sql("SELECT id FROM bronze.broken").await, ["x"], "bronze has the row");
}
