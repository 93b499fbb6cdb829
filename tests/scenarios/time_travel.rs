//! Time travel: versions are really pinned; metadata tables.

use silversmith::lake::SnapshotId;
use silversmith::sql::session::session;
use silversmith::sql::statement;

use crate::support::{CUSTOMERS, World};

async fn two_versions() -> (World, SnapshotId, SnapshotId) {
    let world = World::new(CUSTOMERS);
    for (number, name) in [(1, "old"), (2, "new")] {
        world.put(
            &format!("{number}.csv"),
            &format!("id,name,updated\n1,{name},2026-01-0{number}\n"),
            number,
        );
        world.ambient.advance(std::time::Duration::from_secs(60));
        world.bronze().await;
        world.silver().await;
    }
    let line = world.table("silver.customers").await.snapshots();
    (world, line[0].id, line[1].id)
}

#[tokio::test]
async fn an_old_version_really_differs_from_the_new_one() {
    let (world, old, new) = two_versions().await;
    let at = |id: SnapshotId| format!("SELECT name FROM silver.customers VERSION AS OF {id}");
    assert_eq!(world.sql(&at(old)).await, ["old"]);
    assert_eq!(world.sql(&at(new)).await, ["new"]);
    let both = format!(
        "SELECT a.name, b.name FROM silver.customers VERSION AS OF {old} a JOIN silver.customers b ON a.id = b.id"
    );
    assert_eq!(world.sql(&both).await, ["old|new"]);
    let between = world.table("silver.customers").await.snapshots()[0].at;
    let by_time = format!(
        "SELECT name FROM silver.customers TIMESTAMP AS OF '{}'",
        between.format("%Y-%m-%d %H:%M:%S%.3f")
    );
    assert_eq!(world.sql(&by_time).await, ["old"]);
}

#[tokio::test]
async fn an_unknown_version_is_an_error() {
    let (world, ..) = two_versions().await;
    let context = session(64 * 1024 * 1024).unwrap();
    for sql in [
        "SELECT * FROM silver.customers VERSION AS OF 1",
        "SELECT * FROM silver.customers TIMESTAMP AS OF '1999-01-01'",
        "SELECT * FROM silver.nothing",
        "WITH x AS (SELECT 1) SELECT * FROM x VERSION AS OF 1",
    ] {
        assert!(statement::query(world.lake(), &context, sql).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn metadata_tables_show_the_history() {
    let (world, old, new) = two_versions().await;
    let history = world.sql("SELECT snapshot_id, is_current_ancestor FROM silver.customers.history ORDER BY made_current_at").await;
    assert_eq!(history, [format!("{old}|true"), format!("{new}|true")]);
    let snapshots = world.sql("SELECT operation, added_rows, removed_rows, total_rows FROM silver.customers.snapshots ORDER BY sequence_number").await;
    assert_eq!(snapshots, ["append|1|0|1", "overwrite|1|1|1"]);
    assert_eq!(world.sql("SELECT sum(rows), count(*) FROM silver.customers.files").await, ["1|1"]);
    let then = format!("SELECT file_path FROM silver.customers.files VERSION AS OF {old}");
    assert_ne!(
        world.sql(&then).await,
        world.sql("SELECT file_path FROM silver.customers.files").await
    );
}
