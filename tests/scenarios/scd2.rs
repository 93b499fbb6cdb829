//! `history = "scd2"`: silver has every version of a key, with when it began and ended.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use silversmith::merge::MergeMode;
use silversmith::silver::SilverError;
use silversmith::upkeep::Work;

use crate::support::{CUSTOMERS, World};

const MODES: [MergeMode; 2] = [MergeMode::CopyOnWrite, MergeMode::MergeOnRead];

fn history() -> String {
    let declared = "id = \"long\"\nname = \"string\"\nop = \"string\"\nupdated = \"long\"\n";
    let silver = "history = \"scd2\"\ndelete_when = \"op = 'D'\"\n";
    format!("{CUSTOMERS}{silver}[pipeline.csv.columns]\n{declared}")
}

/// The same, with tables in parts.
fn in_parts(silver: &str) -> String {
    history().replace("history =", &format!("partition_by = [{silver}]\nhistory ="))
}

const ROWS: &str = "SELECT id, name, valid_from, valid_to, is_current FROM silver.customers
  ORDER BY id, updated NULLS FIRST, _event_time, _source_uri, _source_row";

/// One file, one merge.
async fn merge(world: &World, number: u32, rows: &str) {
    let text = format!("id,name,op,updated\n{rows}");
    world.ingest(&format!("{number}.csv"), &text, number).await;
    assert_eq!(world.silver().await.snapshots.len(), 1, "one commit");
}

#[tokio::test]
async fn every_version_is_kept_a_late_one_is_slotted_in_and_a_delete_ends_one() {
    for mode in MODES {
        let mut world = World::new(&history());
        world.merge_by(mode);
        merge(&world, 1, "1,Ada,U,10\n2,Bob,U,10\n").await;
        merge(&world, 2, "1,Ada L.,U,30\n").await;
        let rows = ["1|Ada|10|30|false", "1|Ada L.|30|null|true", "2|Bob|10|null|true"];
        assert_eq!(world.sql(ROWS).await, rows, "{mode:?}");

        merge(&world, 3, "1,Countess,U,20\n2,,D,40\n").await;
        let rows = [
            "1|Ada|10|20|false",
            "1|Countess|20|30|false",
            "1|Ada L.|30|null|true",
            "2|Bob|10|40|false",
        ];
        assert_eq!(world.sql(ROWS).await, rows, "{mode:?}");
        let summary = world.table("silver.customers").await.current().unwrap().summary;
        for (counted, rows) in
            [("inserted", "1"), ("updated", "2"), ("deleted", "1"), ("late", "1")]
        {
            assert_eq!(summary[&format!("silversmith.rows-{counted}")], rows, "{counted}");
        }
        assert_eq!(summary["silversmith.live-rows"], "4");

        // Older than the delete that came before it, and newer; the same values are a version all the same.
        merge(&world, 4, "2,Bobby,U,20\n2,Bob,U,50\n2,Bob,U,60\n").await;
        let of_bob =
            ["2|Bob|10|20|false", "2|Bobby|20|40|false", "2|Bob|50|60|false", "2|Bob|60|null|true"];
        assert_eq!(world.sql(ROWS).await[3..], of_bob, "{mode:?}");

        let all = world.sql(ROWS).await;
        world.rewind(None).await;
        assert_eq!(world.silver().await.counts.inserted, 0);
        assert_eq!(world.sql(ROWS).await, all, "{mode:?}: merged again");
        world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
        assert_eq!(world.sql(ROWS).await, all, "{mode:?}: rebuilt");
        let at = |time: u32| {
            format!(
                "SELECT id, name FROM silver.customers WHERE valid_from <= {time} AND (is_current OR {time} < valid_to) ORDER BY id"
            )
        };
        assert_eq!(world.sql(&at(35)).await, ["1|Ada L.", "2|Bobby"], "as of a time");
        assert_eq!(world.sql(&at(45)).await, ["1|Ada L."]);
    }
}

/// Versions in data files of their own and in parts of the table, merged on after files were made one.
#[tokio::test]
async fn upkeep_and_merges_go_on_with_each_others_files() {
    for mode in MODES {
        for fields in ["", "\"bucket(2, id)\"", "\"is_current\"", "\"truncate(20, valid_from)\""] {
            let mut world = World::new(&in_parts(fields));
            world.merge_by(mode);
            merge(&world, 1, "1,a,U,10\n2,b,U,10\n3,c,U,10\n").await;
            merge(&world, 2, "1,a2,U,20\n3,,D,20\n").await;
            merge(&world, 3, "1,a3,U,30\n2,b3,U,30\n").await;
            let rows = world.sql(ROWS).await;
            let compact = Work { compact: true, expire: true, orphans: None, dry_run: false };
            world.upkeep(compact).await;
            assert_eq!(world.sql(ROWS).await, rows, "{mode:?}, {fields}");
            merge(&world, 4, "1,late,U,15\n2,b4,U,40\n").await;
            let rows = [
                "1|a|10|15|false",
                "1|late|15|20|false",
                "1|a2|20|30|false",
                "1|a3|30|null|true",
                "2|b|10|30|false",
                "2|b3|30|40|false",
                "2|b4|40|null|true",
                "3|c|10|20|false",
            ];
            assert_eq!(world.sql(ROWS).await, rows, "{mode:?}, {fields}");
        }
    }
}

/// Times have the type of the first column of the order, whatever it is; without one they are those of the files.
#[tokio::test]
async fn times_have_the_type_of_the_order() {
    for (kind, times) in [
        ("int", ["7", "8", "9"]),
        ("double", ["-0.5", "0.25", "1.5"]),
        ("decimal(9,2)", ["1.00", "1.01", "2.00"]),
        ("date", ["2026-01-01", "2026-01-02", "2026-02-01"]),
        ("timestamptz", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-02T00:00:00Z"]),
        ("string", ["", "a", "b"]),
        ("boolean", ["", "false", "true"]),
    ] {
        let kinds = format!("updated = \"{kind}\"");
        let world = World::new(&history().replace("updated = \"long\"", &kinds));
        let [one, two, three] = times;
        merge(&world, 1, &format!("1,a,U,{two}\n1,c,U,{three}\n")).await;
        merge(&world, 2, &format!("1,b,U,{one}\n")).await;
        let rows = "SELECT string_agg(name, '' ORDER BY updated NULLS FIRST), count(*) FILTER (WHERE is_current),
          count(*) FILTER (WHERE valid_from IS NOT DISTINCT FROM updated) FROM silver.customers";
        assert_eq!(world.sql(rows).await, ["bac|1|3"], "{kind}");
        let columns = world.columns("silver.customers").await;
        let times = [format!("valid_from {kind}"), format!("valid_to {kind}")];
        assert_eq!(
            columns[columns.len() - 3..],
            [&times[..], &["is_current boolean".to_owned()]].concat()
        );
        let tiled = "SELECT count(*) FROM silver.customers a JOIN silver.customers b
          ON a.valid_to = b.valid_from WHERE a.name || b.name IN ('ba', 'ac')";
        assert_eq!(world.sql(tiled).await, ["2"], "{kind}");
    }
    let world = World::new(&history().replace("order_by = [\"updated\"]\n", ""));
    merge(&world, 1, "1,a,U,\n").await;
    merge(&world, 2, "1,b,U,\n").await;
    let files = "SELECT count(*) FROM silver.customers a JOIN silver.customers b
      ON a.valid_to = b.valid_from AND a.valid_from = a._event_time AND b.valid_from = b._event_time
      WHERE a.name = 'a' AND b.name = 'b' AND b.is_current AND b.valid_to IS NULL";
    assert_eq!(world.sql(files).await, ["1"]);
}

/// A column of the order that is declared wider widens the times with it.
#[tokio::test]
async fn times_widen_with_the_order() {
    let world = World::new(&history().replace("updated = \"long\"", "updated = \"int\""));
    merge(&world, 1, "1,a,U,1\n").await;
    let world = world.reconfigured(&history());
    merge(&world, 2, "1,b,U,5000000000\n1,c,U,0\n").await;
    let rows = ["1|c|0|1|false", "1|a|1|5000000000|false", "1|b|5000000000|null|true"];
    assert_eq!(world.sql(ROWS).await, rows);
}

#[tokio::test]
async fn another_history_is_refused_by_name_until_a_rebuild() {
    let world = World::new(&history());
    merge(&world, 1, "1,a,U,10\n1,b,U,20\n").await;
    let before = world.sql(ROWS).await;
    let newest = world.reconfigured(&history().replace("\"scd2\"", "\"none\""));
    let silver = newest.pipeline().silver.as_ref().unwrap();
    let error = silver.step().await.unwrap_err();
    assert!(matches!(error, SilverError::OtherHistory { .. }), "{error}");
    insta::assert_snapshot!(error, @r#"silver table silver.customers was merged with history = "scd2", and the configuration says "none"; put it back, name another table, or run `silversmith silver --rebuild`, which computes all rows of this one anew"#);
    assert_eq!(world.sql(ROWS).await, before, "nothing was touched");

    silver.rebuild().await.unwrap();
    assert_eq!(world.sql("SELECT id, name FROM silver.customers").await, ["1|b"]);
    assert!(!world.columns("silver.customers").await.iter().any(|c| c.contains("valid_to")));
    assert_eq!(newest.silver().await.snapshots, [], "it goes on without a history");
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    insta::assert_snapshot!(error, @r#"silver table silver.customers was merged with history = "none", and the configuration says "scd2"; put it back, name another table, or run `silversmith silver --rebuild`, which computes all rows of this one anew"#);
    world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    assert_eq!(world.sql(ROWS).await, before);
}

/// A table that another program has made, with rows that say not when they end.
#[tokio::test]
async fn rows_without_a_history_are_refused() {
    let other = format!("{CUSTOMERS}[pipeline.csv.columns]\nid = \"long\"\nupdated = \"long\"\n");
    let other = other
        .replace("silver.customers", "silver.others")
        .replace("bronze.customers", "silver.customers");
    let foreign = World::new(&other);
    foreign.ingest("0.csv", "id,name,op,updated\n1,a,U,1\n", 0).await;
    let world = foreign.reconfigured(&history());
    world.put("1.csv", "id,name,op,updated\n1,b,U,2\n", 1);
    world.bronze().await;
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    insta::assert_snapshot!(error, @r#"table silver.customers: it has rows and no column `valid_from`, which history = "scd2" needs; name another table in the configuration, or run `silversmith silver --rebuild`, which replaces all its rows"#);
}

#[tokio::test]
async fn columns_that_have_the_names_of_a_history_are_refused() {
    let renamed = "select = \"SELECT id, name, op, updated AS \\\"Valid_To\\\" FROM bronze\"\n";
    let history = history().replace("history =", &format!("{renamed}history ="));
    let world = World::new(&history);
    world.ingest("1.csv", "id,name,op,updated\n1,a,U,1\n", 1).await;
    let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
    insta::assert_snapshot!(error, @r#"table silver.customers: its rows have a column `Valid_To`, and history = "scd2" makes a column of that name; give it another name in `select`"#);
}

/// One key with more versions than fit into memory, and a late one for each: every version beside its next one.
#[tokio::test]
async fn a_key_with_more_versions_than_fit_into_memory_is_one_chain() {
    let mut world = World::new(&history());
    world.merge_within(300_000);
    for (number, first) in [(1, 0), (2, 1)] {
        let versions = (0..4_000)
            .map(|n| format!("1,n,{},{}\n", if n == 77 { "D" } else { "U" }, 2 * n + first));
        merge(&world, number, &versions.collect::<String>()).await;
        let chain = "SELECT count(*), count(DISTINCT valid_from), min(valid_to - valid_from),
          max(valid_to - valid_from), count(*) FILTER (WHERE is_current),
          max(valid_from) FILTER (WHERE is_current) FROM silver.customers";
        let found = [["3999|3999|2|2|1|7998"], ["7998|7998|1|1|1|7999"]][number as usize - 1];
        assert_eq!(world.sql(chain).await, found);
    }
}

/// (order, file, row)
type Rank = (Option<u8>, usize, usize);
/// (key, order, name, deletes)
type Row = (u8, Option<u8>, u8, bool);

/// How the same files arrive: their order, and of each whether a merge follows, its mode, whether its rows fit into
/// memory, and whether it begins at the first row again.
#[derive(Debug, Clone)]
struct Way {
    order: Vec<usize>,
    merges: Vec<(bool, bool, bool, bool)>,
    parts: &'static str,
    expire: bool,
}

fn ways(files: usize) -> impl Strategy<Value = Way> {
    let order = Just((0..files).collect::<Vec<_>>()).prop_shuffle();
    let merges = proptest::collection::vec(any::<(bool, bool, bool, bool)>(), files);
    let parts = prop_oneof![Just(""), Just("\"bucket(2, id)\""), Just("\"is_current\"")];
    (order, merges, parts, any::<bool>()).prop_map(|(order, merges, parts, expire)| Way {
        order,
        merges,
        parts,
        expire,
    })
}

fn cases() -> impl Strategy<Value = (Vec<Vec<Row>>, Way, Way)> {
    let row = (
        0..4_u8,
        proptest::option::weighted(0.9, 0..6_u8),
        any::<u8>(),
        proptest::bool::weighted(0.25),
    );
    let files = proptest::collection::vec(proptest::collection::vec(row, 1..16), 1..5);
    files.prop_flat_map(|files| {
        let count = files.len();
        (Just(files), ways(count), ways(count))
    })
}

/// The model: the rows of a key by (order, file, row), each ended by the next.
fn model(files: &[Vec<Row>]) -> Vec<String> {
    let mut chains: BTreeMap<u8, BTreeMap<Rank, (u8, bool)>> = BTreeMap::new();
    for (file, rows) in files.iter().enumerate() {
        for (number, (key, order, name, deletes)) in rows.iter().enumerate() {
            if *deletes && order.is_none() {
                // It goes to quarantine.
                continue;
            }
            let chain = chains.entry(*key).or_default();
            chain.insert((*order, file, number), (*name, *deletes));
        }
    }
    let time = |time: Option<u8>| time.map_or("null".to_owned(), |time| time.to_string());
    let mut lines = vec![];
    for (key, chain) in &chains {
        let ends = chain.keys().skip(1).map(Some).chain([None]);
        for (((from, ..), (name, deletes)), end) in chain.iter().zip(ends) {
            let (to, current) = (time(end.and_then(|(to, ..)| *to)), end.is_none());
            if !deletes {
                lines.push(format!("{key}|n{name}|{}|{to}|{current}", time(*from)));
            }
        }
    }
    lines
}

async fn silver_by(files: &[Vec<Row>], way: &Way) -> Vec<String> {
    let mut world = World::new(&in_parts(way.parts));
    for (file, (merges, on_read, fits, again)) in way.order.iter().zip(&way.merges) {
        let rows = files[*file].iter().map(|(key, order, name, deletes)| {
            let order = order.map(|order| order.to_string()).unwrap_or_default();
            format!("{key},n{name},{},{order}\n", if *deletes { "D" } else { "U" })
        });
        let text = format!("id,name,op,updated\n{}", rows.collect::<String>());
        // The file's own time is part of the row's order, whenever the file arrives.
        world.ingest(&format!("{file}.csv"), &text, *file as u32).await;
        world.merge_by(MODES[usize::from(*on_read)]);
        world.merge_within(if *fits { 1 << 20 } else { 1 });
        if *merges {
            world.silver().await;
            if *again {
                world.rewind(None).await;
            }
        }
    }
    if way.expire {
        world.expire_all_but_current("bronze.customers").await;
    }
    world.silver().await;
    let before = world.sql(ROWS).await;
    world.rewind(None).await;
    world.silver().await;
    let current = world.table("silver.customers").await.current().unwrap();
    assert_eq!(current.rows(), Some(before.len() as u64), "the rows are counted");
    assert_eq!(world.sql(ROWS).await, before, "merged once more");
    before
}

#[test]
fn the_history_is_a_function_of_the_set_of_bronze_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&cases(), |(files, one, other)| {
        let expected = model(&files);
        prop_assert_eq!(&runtime.block_on(silver_by(&files, &one)), &expected);
        prop_assert_eq!(&runtime.block_on(silver_by(&files, &other)), &expected);
        Ok(())
    });
    ran.unwrap();
}
