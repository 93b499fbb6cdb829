//! Gold: computed in full from tables of the lake, skipped when none of them has changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use silversmith::config;
use silversmith::gold::GoldReport;
use silversmith::lake::write::data::DataWriter;
use silversmith::lake::{Change, CommitOutcome};
use silversmith::telemetry::readiness::Health;
use silversmith::worker::{self, Merger, Refresher, Until};

use crate::support::{CUSTOMERS, LAKE, SOURCE, World, unsaid};

fn with_gold(sql: &str) -> String {
    format!("{CUSTOMERS}[[pipeline.gold]]\ntable = \"gold.by_city\"\nsql = \"{sql}\"\n")
}

#[tokio::test]
async fn gold_follows_silver_and_is_skipped_when_silver_has_not_changed() {
    let sql = "SELECT city, count(*) AS customers FROM silver GROUP BY city";
    let world = World::new(&with_gold(sql));
    let missing = "silver.customers".parse().unwrap();
    assert_eq!(world.gold().await, GoldReport::WaitsFor(missing));
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
}

/// Customers and orders, each a pipeline, a table of lands that another program writes, and gold over them.
fn shop(gold: &str) -> String {
    let orders = CUSTOMERS.replace("customers", "orders").replace("raw/**", "raw/orders");
    format!("{}{gold}{orders}", CUSTOMERS.replace("raw/**", "raw/customers"))
}

const BY_LAND: &str = r#"
[[pipeline.gold]]
table = "gold.busy"
sql = "SELECT name, spent FROM gold.by_land WHERE spent > 10"
[[pipeline.gold]]
table = "gold.by_land"
sql = """
SELECT l.name, sum(o.amount) AS spent
FROM silver.orders o JOIN silver c ON c.id = o.customer JOIN ref.lands l ON l.code = c.land
GROUP BY l.name"""
"#;

async fn merge(world: &World, pipeline: usize) -> Vec<(String, GoldReport)> {
    let pipeline = &world.wired.pipelines[pipeline];
    let ambient = world.lake().ambient();
    pipeline.bronze.step().await.unwrap();
    Merger::new(pipeline, ambient).merge_until_done().await.unwrap();
    let refreshed = Refresher::new(pipeline, ambient).refresh().await;
    refreshed.into_iter().map(|(table, report)| (table, report.unwrap())).collect()
}

async fn write_lands(world: &World, rows: &[(&str, &str)]) {
    let schema =
        Schema::new(["code", "name"].map(|name| Field::new(name, DataType::Utf8, true)).to_vec());
    let columns: [ArrayRef; 2] = [
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(code, _)| code))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, name)| name))),
    ];
    let (lake, schema) = (world.lake(), Arc::new(schema));
    let table = lake.find_or_create(&"ref.lands".parse().unwrap(), &schema, None).await.unwrap();
    let mut writer = DataWriter::new(lake, &table, table.schema()).unwrap();
    let rows = RecordBatch::try_new(table.schema().arrow().clone(), columns.to_vec()).unwrap();
    writer.write(&rows).await.unwrap();
    let change = Change::append(writer.close().await.unwrap(), unsaid());
    let outcome = lake.commit(&table, change).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

/// Gold joins silver of two pipelines and a table of another program, and follows each of them; gold on gold follows
/// in order, whatever the order in the file.
#[tokio::test]
async fn gold_joins_tables_of_the_lake_and_follows_each() {
    let world = World::new(&shop(BY_LAND));
    world.put("customers/1.csv", "id,land,updated\n1,it,2026-01-01\n2,no,2026-01-01\n", 0);
    world.put(
        "orders/1.csv",
        "id,customer,amount,updated\n7,1,5,2026-01-01\n8,2,20,2026-01-01\n",
        0,
    );
    let waits = |of: &str| GoldReport::WaitsFor(of.parse().unwrap());
    let named = |report: GoldReport, table: &str| (table.to_owned(), report);
    // In the order of their sources: by_land before busy.
    assert_eq!(
        merge(&world, 0).await,
        [named(waits("silver.orders"), "gold.by_land"), named(waits("gold.by_land"), "gold.busy")]
    );
    // The merge of orders refreshes gold of customers, once the lands are there, too.
    assert_eq!(merge(&world, 1).await[0].1, waits("ref.lands"));
    write_lands(&world, &[("it", "Italy")]).await;
    merge(&world, 1).await;
    let by_land = "SELECT name, spent FROM gold.by_land ORDER BY name";
    let busy = "SELECT name, spent FROM gold.busy ORDER BY name";
    assert_eq!(world.sql(by_land).await, ["Italy|5"]);
    assert_eq!(world.sql(busy).await, Vec::<String>::new());
    assert!(merge(&world, 0).await.iter().all(|(_, report)| *report == GoldReport::UpToDate));

    write_lands(&world, &[("no", "Norway")]).await;
    let refreshed = merge(&world, 0).await;
    assert!(refreshed.iter().all(|(_, report)| matches!(report, GoldReport::Refreshed { .. })));
    assert_eq!(world.sql(by_land).await, ["Italy|5", "Norway|20"]);
    assert_eq!(world.sql(busy).await, ["Norway|20"]);

    world.put("orders/2.csv", "id,customer,amount,updated\n7,1,50,2026-01-02\n", 1);
    merge(&world, 1).await;
    assert_eq!(world.sql(busy).await, ["Italy|50", "Norway|20"]);
    let gold = world.table("gold.by_land").await;
    let own = gold.current().unwrap().summary;
    for (prefix, table) in [
        ("silversmith.silver", "silver.customers"),
        ("silversmith.source.silver.orders", "silver.orders"),
        ("silversmith.source.ref.lands", "ref.lands"),
    ] {
        let tip = world.table(table).await.current().unwrap().id;
        assert_eq!(own[&format!("{prefix}-snapshot-id")], tip.to_string(), "{table}");
    }
}

/// A pipeline without silver may have gold over bronze, or over tables of other pipelines.
#[tokio::test(start_paused = true)]
async fn a_worker_refreshes_gold_over_bronze() {
    let text = r#"
[[pipeline]]
name = "clicks"
source = "raw/**/*.csv"
[pipeline.bronze]
table = "bronze.clicks"
[[pipeline.gold]]
table = "gold.clicks"
sql = "SELECT count(*) AS n FROM bronze.clicks"
"#;
    let world = World::new(text);
    let ambient = world.lake().ambient();
    for (number, expected) in [(1, "2"), (2, "4")] {
        world.put(&format!("{number}.csv"), "page\na\nb\n", number);
        let health = Health::new(ambient.clone());
        let (grace, never) = (Duration::from_secs(1), std::future::pending());
        worker::run(&world.wired, &health, Until::Idle, grace, never, |_| {}).await.unwrap();
        assert_eq!(world.sql("SELECT n FROM gold.clicks").await, [expected]);
    }
}

#[test]
fn gold_that_cannot_be_followed_is_a_configuration_error() {
    for (gold, why) in [
        (
            &[("gold.a", "SELECT * FROM gold.b"), ("gold.b", "SELECT * FROM gold.a")][..],
            "gold table gold.a is computed from gold.b, which is computed from itself",
        ),
        (&[("gold.a", "SELECT * FROM gold.a")], "gold table gold.a is computed from itself"),
        (&[("gold.a", "SELECT * FROM orders")], "there is no table `orders`: write `silver` or"),
        (&[("gold.a", "CREATE TABLE x AS SELECT 1")], "write one SELECT"),
    ] {
        let gold: String = gold
            .iter()
            .map(|(table, sql)| {
                format!("[[pipeline.gold]]\ntable = \"{table}\"\nsql = \"{sql}\"\n")
            })
            .collect();
        let text = format!("{LAKE}{SOURCE}{CUSTOMERS}{gold}");
        let problems = config::parse(&text, Path::new("/base")).unwrap_err();
        let said = format!("{problems:?}");
        assert!(said.contains(why), "{said}");
    }
}

/// Columns may be named by their table and its namespace, and two tables may have one name.
#[tokio::test]
async fn gold_tells_tables_of_one_name_apart_by_their_namespaces() {
    let sql = "SELECT silver.customers.id, count(*) AS versions FROM bronze.customers \
               JOIN silver.customers ON bronze.customers.id = silver.customers.id GROUP BY 1";
    let world = World::new(&with_gold(sql));
    world.put("1.csv", "id,city,updated\n1,Rome,2026-01-01\n1,Oslo,2026-01-02\n", 0);
    world.bronze().await;
    world.silver().await;
    world.gold().await;
    assert_eq!(world.sql("SELECT id, versions FROM gold.by_city").await, ["1|2"]);
}

/// One that cannot be computed holds up neither what it follows nor the others.
#[tokio::test(start_paused = true)]
async fn gold_that_fails_holds_up_nothing_else() {
    let gold = "[[pipeline.gold]]\ntable = \"gold.broken\"\nsql = \"SELECT nothing FROM silver\"\n\
                [[pipeline.gold]]\ntable = \"gold.sound\"\nsql = \"SELECT count(*) AS n FROM silver\"\n";
    let world = World::new(&format!("{CUSTOMERS}{gold}"));
    let ambient = world.lake().ambient();
    for number in 1..3 {
        world.put(&format!("{number}.csv"), &format!("id,updated\n{number},2026-01-01\n"), number);
        let (health, mut seen) = (Health::new(ambient.clone()), 0);
        let (grace, never) = (Duration::from_secs(1), std::future::pending());
        let count = |round: &worker::Round| seen += round.bronze.ingested;
        let ended = worker::run(&world.wired, &health, Until::Idle, grace, never, count).await;
        assert!(matches!(ended, Err(worker::WorkerError::Gold { .. })), "{ended:?}");
        assert_eq!(seen, 1, "the round is reported");
        assert_eq!(world.sql("SELECT n FROM gold.sound").await, [number.to_string()]);
    }
}
