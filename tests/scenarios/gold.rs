//! Gold: computed in full, skipped when silver has not changed.

use silversmith::gold::GoldReport;

use crate::support::{CUSTOMERS, World};

fn with_gold(sql: &str) -> String {
    format!("{CUSTOMERS}[[pipeline.gold]]\ntable = \"gold.by_city\"\nsql = \"{sql}\"\n")
}

#[tokio::test]
async fn gold_follows_silver_and_is_skipped_when_silver_has_not_changed() {
    let sql = "SELECT city, count(*) AS customers FROM silver GROUP BY city";
    let world = World::new(&with_gold(sql));
    assert_eq!(world.gold().await, GoldReport::UpToDate, "there is no silver yet");
    world.put(
        "1.csv",
        "id,city,updated\n1,Rome,2026-01-01\n2,Rome,2026-01-01\n3,Oslo,2026-01-01\n",
        0,
    );
    world.bronze().await;
    world.silver().await;
    assert!(matches!(world.gold().await, GoldReport::Refreshed { rows: 2, .. }));
    let rows = "SELECT * FROM gold.by_city ORDER BY city";
    assert_eq!(world.sql(rows).await, ["Oslo|1", "Rome|2"]);
    assert_eq!(world.gold().await, GoldReport::UpToDate);

    world.put("2.csv", "id,city,updated\n2,Oslo,2026-01-02\n", 1);
    world.bronze().await;
    world.silver().await;
    world.gold().await;
    assert_eq!(world.sql(rows).await, ["Oslo|2", "Rome|1"]);
    assert_eq!(world.table("gold.by_city").await.current().unwrap().operation, "overwrite");

    let other = world.reconfigured(&with_gold(
        "SELECT city, max(id) AS newest, count(*) AS customers FROM silver GROUP BY city",
    ));
    assert!(matches!(other.gold().await, GoldReport::Refreshed { .. }), "other SQL, other table");
    assert_eq!(other.sql(rows).await, ["Oslo|3|2", "Rome|1|1"]);
}

#[tokio::test]
async fn gold_may_be_empty_and_may_only_read() {
    let world = World::new(&with_gold("SELECT city FROM silver WHERE false"));
    world.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n", 0);
    world.bronze().await;
    world.silver().await;
    assert!(matches!(world.gold().await, GoldReport::Refreshed { rows: 0, .. }));
    assert_eq!(world.sql("SELECT * FROM gold.by_city").await, Vec::<String>::new());

    let world = world.reconfigured(&with_gold("CREATE TABLE x AS SELECT 1"));
    assert!(world.pipeline().gold[0].step(None).await.is_err());
}
