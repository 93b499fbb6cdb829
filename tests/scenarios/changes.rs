//! What changed in a table between two snapshots: exact in both modes, with files that were only written again passed
//! over.

use std::collections::HashMap;

use silversmith::lake::SnapshotId;
use silversmith::sql::keys::TableKeys;
use silversmith::sql::session::session_with_keys;
use silversmith::sql::statement;
use silversmith::upkeep::Work;

use crate::support::{CUSTOMERS, World, lines};

const MODES: [&str; 2] = ["copy-on-write", "merge-on-read"];

/// The rows of a query in a session that knows the key of silver.
async fn asked(world: &World, sql: &str) -> Vec<String> {
    let keys = HashMap::from([("silver.customers".parse().unwrap(), vec!["id".to_owned()])]);
    let context = session_with_keys(64 * 1024 * 1024, TableKeys(keys)).unwrap();
    let frame = statement::query(world.lake(), &context, sql).await.unwrap();
    lines(&frame.collect().await.unwrap())
}

async fn changes(
    world: &World,
    table: &str,
    from: Option<SnapshotId>,
    to: Option<SnapshotId>,
) -> Vec<String> {
    let id = |id: Option<SnapshotId>| id.map_or("NULL".to_owned(), |id| id.to_string());
    let (from, to) = (id(from), id(to));
    let sql = format!(
        "SELECT id, name, _change_type FROM changes('{table}', {from}, {to}) ORDER BY id, _change_type DESC"
    );
    asked(world, &sql).await
}

async fn tip(world: &World, table: &str) -> Option<SnapshotId> {
    world.table(table).await.current().map(|snapshot| snapshot.id)
}

/// Customers 1 to 4; then 2 is changed, 3 deleted, and 5 new.
async fn two_merges(mode: &str) -> (World, [Option<SnapshotId>; 2]) {
    let pipeline = format!("{CUSTOMERS}mode = \"{mode}\"\ndelete_when = \"op = 'D'\"\n");
    let world = World::new(&pipeline);
    let first =
        "id,name,op,updated\n1,a,,2026-01-01\n2,b,,2026-01-01\n3,c,,2026-01-01\n4,d,,2026-01-01\n";
    let second = "id,name,op,updated\n2,B,,2026-01-02\n3,,D,2026-01-02\n5,e,,2026-01-01\n";
    let mut tips = [None; 2];
    for (number, text) in [first, second].iter().enumerate() {
        world.put(&format!("{number}.csv"), text, number as u32);
        world.bronze().await;
        world.silver().await;
        tips[number] = tip(&world, "silver.customers").await;
    }
    (world, tips)
}

#[tokio::test]
async fn changes_of_silver_are_its_rows_before_and_after() {
    for mode in MODES {
        let (world, [first, second]) = two_merges(mode).await;
        let silver = "silver.customers";
        assert_eq!(
            changes(&world, silver, first, second).await,
            ["2|b|update_before", "2|B|update_after", "3|c|delete", "5|e|insert"],
            "{mode}"
        );
        assert_eq!(
            changes(&world, silver, None, first).await,
            ["1|a|insert", "2|b|insert", "3|c|insert", "4|d|insert"]
        );
        // From the beginning: what is there now.
        assert_eq!(
            changes(&world, silver, None, None).await,
            ["1|a|insert", "2|B|insert", "4|d|insert", "5|e|insert"]
        );
        assert_eq!(changes(&world, silver, second, None).await, Vec::<String>::new());
    }
}

/// Compaction writes rows again, at other places, and changes none.
#[tokio::test]
async fn what_was_only_written_again_is_no_change() {
    for mode in MODES {
        let (world, [first, second]) = two_merges(mode).await;
        let (silver, bronze) = ("silver.customers", "bronze.customers");
        let (all, of_bronze) =
            (changes(&world, silver, first, second).await, tip(&world, bronze).await);
        let work = Work { compact: true, expire: false, orphans: None, dry_run: false };
        world.upkeep(work).await;
        assert_ne!(tip(&world, bronze).await, of_bronze, "it was compacted");
        assert_eq!(changes(&world, silver, first, None).await, all, "{mode}");
        assert_eq!(changes(&world, silver, second, None).await, Vec::<String>::new(), "{mode}");
        assert_eq!(changes(&world, bronze, of_bronze, None).await, Vec::<String>::new(), "{mode}");
    }
}

/// A table without a known key has rows that come and go; rows that are alike are counted.
#[tokio::test]
async fn rows_without_a_key_are_inserted_or_deleted() {
    let world = World::new(CUSTOMERS);
    let rows = |count: usize| format!("id,name,updated\n{}", "1,a,2026-01-01\n".repeat(count));
    world.put("1.csv", &rows(1), 0);
    world.bronze().await;
    let first = tip(&world, "bronze.customers").await;
    world.put("2.csv", &rows(2), 1);
    world.bronze().await;
    // They differ in where they come from.
    assert_eq!(changes(&world, "bronze.customers", first, None).await, ["1|a|insert"; 2]);
    let alike = "SELECT count(*) FROM changes('bronze.customers')";
    assert_eq!(asked(&world, alike).await, ["3"]);

    let gold = format!(
        "{CUSTOMERS}[[pipeline.gold]]\ntable = \"gold.names\"\n\
         sql = \"SELECT CAST(1 AS BIGINT) AS id, name FROM silver\"\n"
    );
    let world = world.reconfigured(&gold);
    let mut tips = Vec::new();
    for (number, names) in [["x", "x"], ["x", "y"]].iter().enumerate() {
        let text = format!(
            "id,name,updated\n1,{},2026-02-0{day}\n2,{},2026-02-0{day}\n",
            names[0],
            names[1],
            day = number + 1
        );
        world.put(&format!("g{number}.csv"), &text, 2 + number as u32);
        world.bronze().await;
        world.silver().await;
        world.gold().await;
        tips.push(tip(&world, "gold.names").await);
    }
    let of_gold = changes(&world, "gold.names", tips[0], tips[1]).await;
    assert_eq!(of_gold, ["1|y|insert", "1|x|delete"], "one x of two is gone");
}

/// A column that came in between is null in the rows of before, and makes no row another one.
#[tokio::test]
async fn a_new_column_is_no_change_of_the_rows_that_lack_it() {
    for mode in MODES {
        let (world, [_, second]) = two_merges(mode).await;
        world.put("3.csv", "id,name,op,updated,city\n1,a,,2026-01-03,Rome\n", 3);
        world.bronze().await;
        world.silver().await;
        let sql = format!(
            "SELECT id, city, _change_type FROM changes('silver.customers', {}) ORDER BY 3 DESC",
            second.unwrap()
        );
        assert_eq!(asked(&world, &sql).await, ["1|null|update_before", "1|Rome|update_after"]);
    }
}
