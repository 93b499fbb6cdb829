//! Two writers merge at once (I4): between the plan of one and its commit, the other commits.

use silversmith::gold::{COMPUTED, GoldReport, Look};
use silversmith::lake::position::Position;

use crate::support::faulty::Fate;
use crate::support::rivals::Rivals;
use crate::support::{CUSTOMERS, World};

const SILVER: &str = "SELECT * FROM silver.customers ORDER BY id";
const GOLD: &str = "SELECT * FROM gold.by_city ORDER BY city";

/// Name, content, minute.
type File = (&'static str, &'static str, u32);

const FIRST: File = ("1.csv", "id,city,op,updated\n1,Rome,U,1\n2,Rome,U,1\n3,Oslo,U,1\n", 1);
const SECOND: File = ("2.csv", "id,city,op,updated\n1,Oslo,U,2\n2,,D,2\n4,Bern,U,2\n", 2);
const THIRD: File = ("3.csv", "id,city,op,updated\n2,Late,U,1\n3,,D,3\n5,Rome,U,3\n", 3);

/// Customers that `op = 'D'` deletes, and how many there are in each city.
fn pipeline() -> String {
    let sql = "SELECT city, count(*) AS customers FROM silver GROUP BY city";
    let gold = format!("[[pipeline.gold]]\ntable = \"gold.by_city\"\nsql = \"{sql}\"\n");
    format!("{CUSTOMERS}delete_when = \"op = 'D'\"\n{gold}")
}

async fn ingest(world: &World, (name, content, minute): File) {
    world.ingest(name, content, minute).await;
}

/// Silver and gold of the same files where there is one writer.
async fn alone(files: &[File]) -> (Vec<String>, Vec<String>) {
    let world = World::new(&pipeline());
    for file in files {
        ingest(&world, *file).await;
        world.silver().await;
    }
    world.gold().await;
    (world.sql(SILVER).await, world.sql(GOLD).await)
}

/// Silver, its position and its files are as one writer would have made them of `files`.
async fn ends_as_if_alone(rivals: &Rivals, files: &[File], case: &str) {
    let world = &rivals.world;
    let bronze = world.table("bronze.customers").await;
    let silver = world.table("silver.customers").await;
    let tip = Position::of(&bronze, &bronze.current().unwrap());
    assert_eq!(silver.position(silversmith::silver::MERGED).unwrap(), Some(tip), "{case}");
    assert!(world.positions("silver.customers").await.is_sorted(), "{case}");
    assert_eq!(world.sql(SILVER).await, alone(files).await.0, "{case}");
    assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{case}");
}

async fn does(rival: &World, deed: &str) {
    match deed {
        "the rival merges the same" => {}
        "the rival merges more" => ingest(rival, THIRD).await,
        "the rival merges, and leaves something to merge" => {
            rival.silver().await;
            return ingest(rival, THIRD).await;
        }
        deed => panic!("{deed}"),
    }
    rival.silver().await;
}

#[tokio::test]
async fn an_overtaken_merge_is_planned_again_from_the_position_of_the_rival() {
    for (deed, files) in [
        ("the rival merges the same", [FIRST, SECOND].as_slice()),
        ("the rival merges more", &[FIRST, SECOND, THIRD]),
        ("the rival merges, and leaves something to merge", &[FIRST, SECOND, THIRD]),
    ] {
        for swaps_of in ["silver.customers", "silver.customers_deletes"] {
            let case = format!("{deed}, before the commit to {swaps_of}");
            let rivals = Rivals::new(
                &pipeline(),
                swaps_of,
                &[Fate::Overtaken],
                move |rival, _| async move {
                    does(&rival, deed).await;
                },
            );
            ingest(&rivals.rival, FIRST).await;
            rivals.rival.silver().await;
            ingest(&rivals.rival, SECOND).await;
            let report = rivals.world.silver().await;
            assert_eq!(rivals.acted(), 1, "{case}");
            let left = deed.ends_with("leaves something to merge");
            assert_eq!(report.snapshots.len(), usize::from(left), "{case}");
            assert_eq!(report.bronze_snapshots, usize::from(left), "{case}");
            ends_as_if_alone(&rivals, files, &case).await;
            assert_eq!(rivals.world.silver().await.snapshots, Vec::new(), "{case}");
        }
    }
}

/// Silver is not there yet. The rival makes it first, or merges into the table that was made here.
#[tokio::test]
async fn of_two_first_merges_one_is_committed() {
    for fates in [vec![Fate::Overtaken], vec![Fate::Fine, Fate::Overtaken]] {
        let case = format!("{fates:?}");
        let rivals = Rivals::new(&pipeline(), "silver.customers", &fates, |rival, _| async move {
            assert_eq!(rival.silver().await.snapshots.len(), 1);
        });
        ingest(&rivals.rival, FIRST).await;
        ingest(&rivals.rival, SECOND).await;
        let report = rivals.world.silver().await;
        assert_eq!((rivals.acted(), report.snapshots.len()), (1, 0), "{case}");
        ends_as_if_alone(&rivals, &[FIRST, SECOND], &case).await;
    }
}

/// Rows wait on disk when the rival comes first: the merge is planned again, and nothing is left over.
#[tokio::test]
async fn a_merge_beyond_memory_that_is_overtaken_ends_right() {
    let fates = [Fate::Overtaken];
    let mut rivals = Rivals::new(&pipeline(), "silver.customers", &fates, |rival, _| async move {
        rival.silver().await;
        ingest(&rival, THIRD).await;
    });
    ingest(&rivals.rival, FIRST).await;
    rivals.rival.silver().await;
    ingest(&rivals.rival, SECOND).await;
    rivals.world.merge_within(1);
    let report = rivals.world.silver().await;
    assert_eq!((rivals.acted(), report.snapshots.len()), (1, 1));
    ends_as_if_alone(&rivals, &[FIRST, SECOND, THIRD], "beyond memory").await;
}

/// What is reported is the commit of this writer, not what the table shows when it looks.
#[tokio::test]
async fn the_report_names_this_commit_when_a_rival_commits_right_after_it() {
    let rivals =
        Rivals::new(&pipeline(), "silver.customers", &[Fate::Followed], |rival, _| async move {
            ingest(&rival, THIRD).await;
            rival.silver().await;
        });
    ingest(&rivals.rival, FIRST).await;
    rivals.rival.silver().await;
    ingest(&rivals.rival, SECOND).await;
    let report = rivals.world.silver().await;
    assert_eq!(rivals.acted(), 1);
    let line = rivals.world.table("silver.customers").await.snapshots();
    assert_eq!(report.snapshots, [line[1].id], "the rival made the first and the last of three");
    assert_eq!((report.counts.deleted, report.bronze_snapshots), (1, 1));
    ends_as_if_alone(&rivals, &[FIRST, SECOND, THIRD], "silver").await;

    // The creation of the table is fine.
    let followed = [Fate::Fine, Fate::Followed];
    let rivals = Rivals::new(&pipeline(), "gold.by_city", &followed, |rival, _| async move {
        ingest(&rival, SECOND).await;
        rival.silver().await;
        rival.gold().await;
    });
    ingest(&rivals.rival, FIRST).await;
    rivals.rival.silver().await;
    let report = rivals.world.gold().await;
    assert_eq!(rivals.acted(), 1);
    let line = rivals.world.table("gold.by_city").await.snapshots();
    assert_eq!(report, GoldReport::Refreshed { snapshot: line[0].id, rows: 2 });
    assert_eq!(line.len(), 2);

    let rivals = Rivals::new(&pipeline(), "bronze.customers", &followed, |rival, _| async move {
        ingest(&rival, SECOND).await;
    });
    let (name, content, minute) = FIRST;
    rivals.world.put(name, content, minute);
    let report = rivals.world.bronze().await;
    let line = rivals.world.table("bronze.customers").await.snapshots();
    assert_eq!((report.snapshots, report.rows), (vec![line[0].id], 3));
    let objects = "SELECT source_uri FROM bronze.customers_objects ORDER BY 1";
    assert_eq!(rivals.world.sql(objects).await, ["raw/1.csv", "raw/2.csv"], "published once each");
}

/// The message counts the attempts and the time: a second for each commit of the rival, and the waits between.
fn gave_up(error: &dyn std::error::Error, table: &str) {
    let error = error.to_string();
    let begins = format!("{table}: gave up after 10 conflicting commits in ");
    let rest = error.strip_prefix(&begins).unwrap_or_else(|| panic!("{error}"));
    let (seconds, next) = rest.split_once("s; ").unwrap_or_else(|| panic!("{error}"));
    assert!((10.0..15.0).contains(&seconds.parse::<f64>().unwrap()), "{error}");
    assert_eq!(next, "no data was lost, run it again");
}

/// Puts one more file into bronze, a second later.
async fn one_more(rival: &World, number: usize) {
    rival.ambient.advance(std::time::Duration::from_secs(1));
    let content = format!("id,city,op,updated\n{number},Rome,U,1\n");
    rival.ingest(&format!("more-{number}.csv"), &content, 10).await;
}

/// The rival always comes first, and always leaves something to do.
#[tokio::test(start_paused = true)]
async fn a_merge_that_always_loses_says_how_often_and_how_long_it_tried() {
    let rivals = Rivals::new(
        &pipeline(),
        "silver.customers",
        &[Fate::Overtaken; 12],
        |rival, n| async move {
            rival.silver().await;
            one_more(&rival, n).await;
        },
    );
    ingest(&rivals.rival, FIRST).await;
    rivals.rival.silver().await;
    ingest(&rivals.rival, SECOND).await;
    let error = rivals.world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    gave_up(&error, "silver table silver.customers");
    assert_eq!(error.kind(), silversmith::error::Kind::Retry);
    assert_eq!((rivals.acted(), rivals.orphans().await), (10, Vec::new()));
    assert!(rivals.world.positions("silver.customers").await.is_sorted());
    assert_eq!(rivals.rival.silver().await.counts.inserted, 1, "nothing was lost");
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_always_loses_says_how_often_and_how_long_it_tried() {
    let rivals = Rivals::new(
        &pipeline(),
        "silver.customers",
        &[Fate::Overtaken; 12],
        |rival, n| async move {
            one_more(&rival, n).await;
            rival.silver().await;
        },
    );
    ingest(&rivals.rival, FIRST).await;
    rivals.rival.silver().await;
    let error = rivals.world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap_err();
    gave_up(&error, "silver table silver.customers");
    assert_eq!((rivals.acted(), rivals.orphans().await), (10, Vec::new()));
    assert!(rivals.world.positions("silver.customers").await.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_always_loses_says_how_often_and_how_long_it_tried() {
    let rivals =
        Rivals::new(&pipeline(), "gold.by_city", &[Fate::Overtaken; 12], |rival, n| async move {
            rival.gold().await;
            one_more(&rival, n).await;
            rival.silver().await;
        });
    ingest(&rivals.rival, FIRST).await;
    rivals.rival.silver().await;
    rivals.rival.gold().await;
    ingest(&rivals.rival, SECOND).await;
    rivals.rival.silver().await;
    let error = rivals.world.pipeline().gold[0].step().await.unwrap_err();
    gave_up(&error, "gold table gold.by_city");
    assert_eq!(error.kind(), silversmith::error::Kind::Retry);
    assert_eq!((rivals.acted(), rivals.orphans().await), (10, Vec::new()));
}

/// A rebuild empties the table of deleted keys. What a rival adds to it meanwhile is not lost.
#[tokio::test]
async fn a_rebuild_keeps_the_deletes_that_a_rival_remembers_meanwhile() {
    for swaps_of in ["silver.customers_deletes", "silver.customers"] {
        let rivals =
            Rivals::new(&pipeline(), swaps_of, &[Fate::Overtaken], |rival, _| async move {
                ingest(&rival, ("d.csv", "id,city,op,updated\n1,,D,5\n", 4)).await;
                assert_eq!(rival.silver().await.counts.deleted, 1);
            });
        ingest(&rivals.rival, FIRST).await;
        rivals.rival.silver().await;
        ingest(&rivals.rival, SECOND).await;
        rivals.rival.silver().await;
        let report = rivals.world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
        assert_eq!((rivals.acted(), report.snapshots.len()), (1, 1), "{swaps_of}");
        let deletes = "SELECT DISTINCT id, updated FROM silver.customers_deletes ORDER BY id";
        assert_eq!(rivals.world.sql(deletes).await, ["1|5", "2|2"], "{swaps_of}");
        ingest(&rivals.rival, ("late.csv", "id,city,op,updated\n1,Late,U,4\n", 6)).await;
        assert_eq!(rivals.world.silver().await.counts.late, 1, "{swaps_of}");
        let cities = rivals.world.sql("SELECT id, city FROM silver.customers ORDER BY id").await;
        assert_eq!(cities, ["3|Oslo", "4|Bern"], "{swaps_of}");
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{swaps_of}");
    }
}

/// Before the rival computes gold, or after it, silver moves on.
#[tokio::test]
async fn an_overtaken_refresh_is_computed_again_unless_the_rival_has_done_it() {
    for (gold_is_there, before) in [(true, true), (true, false), (false, true), (false, false)] {
        let case = format!("gold is there: {gold_is_there}, silver moves before: {before}");
        // The creation of gold is its first swap.
        let fates = [Fate::Overtaken];
        let rivals = Rivals::new(&pipeline(), "gold.by_city", &fates, move |rival, _| async move {
            if before {
                ingest(&rival, THIRD).await;
                rival.silver().await;
            }
            rival.gold().await;
            if !before {
                ingest(&rival, THIRD).await;
                rival.silver().await;
            }
        });
        for file in [FIRST, SECOND] {
            ingest(&rivals.rival, file).await;
            rivals.rival.silver().await;
            if gold_is_there && file == FIRST {
                rivals.rival.gold().await;
            }
        }
        let report = rivals.world.gold().await;
        assert_eq!(rivals.acted(), 1, "{case}");
        assert_eq!(matches!(report, GoldReport::Refreshed { .. }), !before, "{case}: {report:?}");
        assert_eq!(rivals.world.sql(GOLD).await, alone(&[FIRST, SECOND, THIRD]).await.1, "{case}");
        let silver = rivals.world.table("silver.customers").await;
        let tip = Position::of(&silver, &silver.current().unwrap());
        let gold = rivals.world.table("gold.by_city").await;
        assert_eq!(gold.position(COMPUTED).unwrap(), Some(tip), "{case}");
        assert_eq!(rivals.orphans().await, Vec::<String>::new(), "{case}");
    }
}

/// The tables are loaded before the lock is taken. A rival may have merged and refreshed since.
#[tokio::test]
async fn a_refresh_never_goes_back_to_an_older_silver() {
    let world = World::new(&pipeline());
    ingest(&world, FIRST).await;
    world.silver().await;
    let gold = &world.pipeline().gold[0];
    let Look::Due(due) = gold.look().await.unwrap() else { panic!("gold is due") };
    for file in [SECOND, THIRD] {
        ingest(&world, file).await;
        world.silver().await;
    }
    world.gold().await;
    assert_eq!(gold.refresh(*due).await.unwrap(), GoldReport::UpToDate);
    assert_eq!(world.sql(GOLD).await, alone(&[FIRST, SECOND, THIRD]).await.1);
}
