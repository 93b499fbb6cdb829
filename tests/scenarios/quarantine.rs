//! Quarantine: rows that a rule refuses are found there once, with the reason, and are merged when they pass.

use std::time::Duration;

use globset::{Glob, GlobSet};
use silversmith::merge::{Counts, MergeError};
use silversmith::silver::SilverError;
use silversmith::upkeep::{Limits, Work};

use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

const SILVER: &str = "SELECT id, amount FROM silver.customers ORDER BY id";
const DECLARED: &str = "[pipeline.csv.columns]\nid = \"long\"\namount = \"string\"\n";

fn expect(name: &str, sql: &str, on_fail: &str) -> String {
    let all = format!("name = \"{name}\"\nsql = \"{sql}\"\non_fail = \"{on_fail}\"\n");
    format!("[[pipeline.silver.expect]]\n{all}")
}

/// Amounts of at least so much.
fn at_least(amount: i32) -> String {
    let enough = expect("enough", &format!("amount >= {amount}"), "quarantine");
    format!("{CUSTOMERS}{enough}[pipeline.csv.columns]\nid = \"long\"\namount = \"int\"\n")
}

async fn ingest(world: &World, name: &str, rows: &str, minute: u32) {
    world.put(name, &format!("id,amount,updated\n{rows}"), minute);
    world.bronze().await;
}

#[tokio::test]
async fn each_rule_says_why_and_keeps_the_row() {
    let select = "select = \"SELECT id, CAST(amount AS int) AS amount, updated FROM bronze\"\n";
    let deletes = "delete_when = \"op = 'D'\"\n";
    let positive = expect("positive", "amount >= 0 AND country <> 'XX'", "quarantine");
    let world = World::new(&format!("{CUSTOMERS}{select}{deletes}{positive}{DECLARED}"));
    let rows =
        "1,10,NL,U,1\nx,1,NL,U,1\n2,abc,NL,U,1\n3,-1,NL,U,1\n4,1,XX,U,1\n5,1,NL,D,\n6,,,U,1\n";
    world.put("1.csv", &format!("id,amount,country,op,updated\n{rows}"), 0);
    world.bronze().await;
    let counts = world.silver().await.counts;
    let Counts { inserted, misfits, failed, unordered, unmet, warned, .. } = counts;
    assert_eq!((inserted, misfits, failed, unordered, unmet, warned), (2, 1, 1, 1, 2, 0));
    assert_eq!(world.sql(SILVER).await, ["1|10", "6|null"], "what is unknown is not refused");
    let refused =
        "SELECT rule, reason, key, _source_row FROM silver.customers_quarantine ORDER BY 4";
    let not_so = "not so: amount >= 0 AND country <> 'XX'";
    assert_eq!(
        world.sql(refused).await,
        [
            "rescued|a cell of its key or of order_by does not fit its type|{\"id\":null}|2".to_owned(),
            "sql|Arrow error: Cast error: Cannot cast string 'abc' to value of Int32 type|{\"id\":2}|3"
                .to_owned(),
            format!("positive|{not_so}|{{\"id\":3}}|4"),
            format!("positive|{not_so}|{{\"id\":4}}|5"),
            "delete-without-order|it deletes its key, and order_by is null|{\"id\":5}|6".to_owned(),
        ]
    );
    let bronze = world.table("bronze.customers").await.current().unwrap().id;
    let sql = "SELECT _source_uri, _event_time, bronze_snapshot, quarantined_at, bronze_row
        FROM silver.customers_quarantine WHERE _source_row = 2";
    let row = &world.sql(sql).await[0];
    let start = format!("raw/1.csv|2026-01-31T11:00:00Z|{bronze}|2026-01-31T12:00:00");
    assert!(row.starts_with(&start), "{row}");
    let json: serde_json::Value = serde_json::from_str(row.rsplit('|').next().unwrap()).unwrap();
    assert_eq!((&json["amount"], &json["_rescued"]), (&"1".into(), &r#"{"id":"x"}"#.into()));
    assert_eq!(world.silver().await.snapshots.len(), 0);
    assert_eq!(world.quarantine().await.len(), 5);
}

/// An expectation on which a row fails is not met; the row's other columns are as good as before.
#[tokio::test]
async fn an_expectation_that_fails_on_a_row_is_not_met() {
    let warn = expect("a number", "CAST(amount AS int) > 5", "warn");
    let small = expect("small", "CAST(amount AS int) < 100", "quarantine");
    let world = World::new(&format!("{CUSTOMERS}{warn}{small}{DECLARED}"));
    ingest(&world, "1.csv", "1,10,1\n2,abc,1\n3,1,1\n4,200,1\n", 0).await;
    let counts = world.silver().await.counts;
    assert_eq!((counts.inserted, counts.unmet, counts.warned, counts.failed), (2, 2, 2, 0));
    assert_eq!(world.sql(SILVER).await, ["1|10", "3|1"]);
    assert_eq!(world.quarantine().await, ["small|raw/1.csv|2", "small|raw/1.csv|4"]);
    let silver = world.table("silver.customers").await.current().unwrap();
    let said = ["silversmith.rows-quarantined", "silversmith.rows-warned"];
    assert_eq!(said.map(|key| silver.summary[key].as_str()), ["2", "2"]);
}

#[tokio::test]
async fn an_expectation_may_hold_up_the_merge() {
    let strict = format!("{CUSTOMERS}{}", expect("enough", "amount >= 5", "fail"));
    let world = World::new(&strict);
    ingest(&world, "1.csv", "1,10,1\n", 0).await;
    world.silver().await;
    ingest(&world, "2.csv", "2,20,1\n3,3,1\n4,4,1\nx,1,1\n", 1).await;
    let stopped = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    assert!(matches!(stopped, SilverError::Merge(MergeError::Unmet { rows: 2, .. })), "{stopped}");
    insta::assert_snapshot!(stopped, @r#"silver table silver.customers: 2 of the rows to merge do not meet the expectation `enough`, the first is raw/2.csv row 2; nothing was merged. Correct the rows or the rule, or set its on_fail to "quarantine" or "warn""#);
    assert_eq!(world.sql(SILVER).await, ["1|10"]);
    assert_eq!(world.quarantine().await, Vec::<String>::new());
    let world = world.reconfigured(&at_least(5));
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|10", "2|20"]);
    assert_eq!(world.quarantine().await.len(), 3);
}

/// A refused row that is newer neither hides an older one, nor deletes it, nor revives one that was deleted.
#[tokio::test]
async fn to_silver_a_refused_row_is_not_there() {
    let world = World::new(&at_least(0));
    ingest(&world, "1.csv", "1,10,1\n2,20,5\n", 0).await;
    world.silver().await;
    ingest(&world, "2.csv", "1,-1,9\n2,-1,9\n3,-1,9\n", 1).await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|10", "2|20"]);
    // Older than the refused row, and newer than what silver has; older than both.
    ingest(&world, "3.csv", "1,11,3\n2,19,3\n", 2).await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|11", "2|20"]);
    // Under the rules of now it is what its order says: the newest.
    let world = world.reconfigured(&at_least(-1));
    let report = world.pipeline().silver.as_ref().unwrap().replay(None).await.unwrap();
    assert_eq!((report.tried, report.merged), (3, 3));
    assert_eq!(world.sql(SILVER).await, ["1|-1", "2|-1", "3|-1"]);
    assert_eq!(world.quarantine().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_replay_merges_what_passes_and_keeps_the_rest() {
    let world = World::new(&at_least(10));
    ingest(&world, "1.csv", "1,10,1\n1,7,2\n2,3,1\n3,1,1\nx,50,1\n", 0).await;
    ingest(&world, "2.csv", "4,2,1\n4,8,2\n", 1).await;
    world.silver().await;
    let before = world.quarantine().await;
    assert_eq!(before.len(), 6);
    let silver = world.pipeline().silver.clone().unwrap();
    let report = silver.replay(None).await.unwrap();
    assert_eq!((report.tried, report.merged, report.snapshots.len()), (6, 0, 0));
    assert_eq!(world.quarantine().await, before, "nothing passes");

    let world = world.reconfigured(&at_least(3));
    let silver = world.pipeline().silver.clone().unwrap();
    assert_eq!(silver.replay(Some("rescued")).await.unwrap().merged, 0);
    let report = silver.replay(Some("enough")).await.unwrap();
    assert_eq!((report.tried, report.merged, report.snapshots.len()), (5, 3, 1));
    assert_eq!(world.sql(SILVER).await, ["1|7", "2|3", "4|8"]);
    let left = ["enough|raw/1.csv|4", "rescued|raw/1.csv|5", "enough|raw/2.csv|1"];
    assert_eq!(world.quarantine().await, left);
    let again = silver.replay(None).await.unwrap();
    assert_eq!((again.tried, again.merged, again.snapshots.len()), (3, 0, 0));
    assert_eq!(world.silver().await.snapshots.len(), 0, "the position stays");

    assert_eq!(silver.purge(Some("enough"), true).await.unwrap(), 2);
    assert_eq!(world.quarantine().await, left, "it was only counted");
    assert_eq!(silver.purge(Some("enough"), false).await.unwrap(), 2);
    assert_eq!(world.quarantine().await, ["rescued|raw/1.csv|5"]);
    silver.rebuild().await.unwrap();
    assert_eq!(world.quarantine().await, left, "the rows are in bronze");
}

/// What a file gives under another type takes the place of what it gave before, in quarantine, too.
#[tokio::test]
async fn a_file_that_is_read_again_leaves_quarantine() {
    let world = World::new(&format!("{CUSTOMERS}[pipeline.csv.columns]\nid = \"long\"\n"));
    ingest(&world, "1.csv", "1,10,1\nx2,3,1\n", 0).await;
    ingest(&world, "2.csv", "y3,4,1\n", 1).await;
    world.silver().await;
    assert_eq!(world.quarantine().await, ["rescued|raw/1.csv|2", "rescued|raw/2.csv|1"]);
    let world = world.reconfigured(&format!(
        "{CUSTOMERS}[pipeline.csv]\nnull_values = [\"\", \"x2\"]\n[pipeline.csv.columns]\nid = \"long\"\n"
    ));
    world.ambient.advance(Duration::from_secs(1));
    let first = GlobSet::builder().add(Glob::new("raw/1.csv").unwrap()).build().unwrap();
    world.pipeline().bronze.read_again("raw/", &first, |_| {}).await.unwrap();
    world.silver().await;
    assert_eq!(world.quarantine().await, ["rescued|raw/2.csv|1"]);
    assert_eq!(world.sql(SILVER).await, ["1|10"]);
}

/// Rows that are merged again, and rows that are ingested again after bronze was set back, are there once.
#[tokio::test]
async fn a_row_that_comes_again_is_there_once() {
    let world = World::new(&at_least(5));
    ingest(&world, "1.csv", "1,10,1\n2,2,1\n", 0).await;
    world.silver().await;
    let first = world.table("bronze.customers").await.current().unwrap().id;
    ingest(&world, "2.csv", "3,3,1\n4,40,1\n", 1).await;
    world.silver().await;
    let refused = ["enough|raw/1.csv|2", "enough|raw/2.csv|1"];
    assert_eq!(world.quarantine().await, refused);
    let commits = world.table("silver.customers_quarantine").await.snapshots().len();
    world.rewind(None).await;
    world.silver().await;
    assert_eq!(world.quarantine().await, refused);
    let now = world.table("silver.customers_quarantine").await.snapshots().len();
    assert_eq!(now, commits, "nothing changed");

    world.roll_back("bronze.customers", first).await;
    let ambient: silversmith::ambient::SharedAmbient = world.ambient.clone();
    silversmith::worker::Merger::new(world.pipeline(), &ambient).accept_rollback().await.unwrap();
    world.bronze().await;
    world.silver().await;
    assert_eq!(world.sql(SILVER).await, ["1|10", "4|40"]);
    assert_eq!(world.quarantine().await, refused);
}

#[tokio::test]
async fn upkeep_changes_no_row_of_quarantine() {
    let world = World::new(&at_least(5));
    for file in 0..6 {
        ingest(&world, &format!("{file}.csv"), &format!("{file},{file},1\n"), file).await;
        world.silver().await;
    }
    let refused = world.quarantine().await;
    assert_eq!(refused.len(), 5);
    let target = world
        .pipeline()
        .targets()
        .into_iter()
        .find(|target| target.table.to_string() == "silver.customers_quarantine");
    let work = Work { compact: true, expire: true, orphans: None, dry_run: false };
    let upkeep = world.wired.upkeep();
    let limits = Limits { least_files: 2, ..Limits::COMMAND };
    upkeep.table(&target.unwrap(), work, limits, |_| {}).await.unwrap();
    assert_eq!(world.quarantine().await, refused);
    let table = world.table("silver.customers_quarantine").await;
    assert_eq!(table.current().unwrap().operation, "replace");
    assert_eq!(table.rows(), Some(5));
    let report = world.pipeline().silver.as_ref().unwrap().replay(None).await.unwrap();
    assert_eq!((report.tried, report.merged), (5, 0));
}

/// A version that is refused is not in the history of its key; when it passes, it comes in like any late row.
#[tokio::test]
async fn a_replayed_version_is_slotted_into_the_history() {
    let with = |amount: i32| {
        at_least(amount).replace(CUSTOMERS, &format!("{CUSTOMERS}history = \"scd2\"\n"))
    };
    let world = World::new(&with(10));
    ingest(&world, "1.csv", "1,10,1\n", 0).await;
    ingest(&world, "2.csv", "1,5,2\n", 1).await;
    ingest(&world, "3.csv", "1,30,3\n", 2).await;
    world.silver().await;
    let chain = "SELECT amount, valid_from, valid_to, is_current FROM silver.customers ORDER BY 2";
    assert_eq!(world.sql(chain).await, ["10|1|3|false", "30|3|null|true"]);
    let world = world.reconfigured(&with(5));
    let report = world.pipeline().silver.as_ref().unwrap().replay(None).await.unwrap();
    assert_eq!((report.tried, report.merged), (1, 1));
    assert_eq!(world.sql(chain).await, ["10|1|2|false", "5|2|3|false", "30|3|null|true"]);
    assert_eq!(world.quarantine().await, Vec::<String>::new());
}

/// Compaction rewrites quarantine while a replay commits to silver: the replay goes on with the files that there are.
#[tokio::test]
async fn a_replay_that_a_compaction_overtakes_goes_on() {
    let compact = Work { compact: true, expire: false, orphans: None, dry_run: false };
    let rivals = Rivals::new(
        &at_least(3),
        "silver.customers",
        &[Fate::Overtaken],
        move |rival: std::sync::Arc<World>, _| async move { drop(rival.upkeep(compact).await) },
    );
    let strict = rivals.rival.reconfigured(&at_least(10));
    for (number, rows) in ["1,10,1\n2,5,1\n3,1,1\n", "4,6,1\n5,2,1\n"].iter().enumerate() {
        ingest(&strict, &format!("{number}.csv"), rows, number as u32).await;
        strict.silver().await;
    }
    assert_eq!(strict.file_count("silver.customers_quarantine").await, 2);
    let report = rivals.world.pipeline().silver.as_ref().unwrap().replay(None).await.unwrap();
    assert_eq!(rivals.acted(), 1);
    assert_eq!(strict.file_count("silver.customers_quarantine").await, 1, "it was compacted");
    assert_eq!((report.merged, report.snapshots.len()), (2, 1), "{report:?}");
    assert_eq!(strict.sql(SILVER).await, ["1|10", "2|5", "4|6"]);
    assert_eq!(strict.quarantine().await, ["enough|raw/0.csv|3", "enough|raw/1.csv|2"]);
}
