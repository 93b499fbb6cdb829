//! Merging: who wins, what is deleted, what is refused.

use silversmith::silver::SilverError;

use crate::support::{CUSTOMERS, World, unsaid};

/// Target John 1001 and Sam 1003; updates 1001 John 10:00, 1001 Johnny 11:00, 1002 Mary 10:00.
#[tokio::test]
async fn john_becomes_johnny_mary_comes_sam_stays() {
    let world = World::new(CUSTOMERS);
    world.put(
        "1.csv",
        "id,name,updated\n1001,John,2026-01-31T09:00:00Z\n1003,Sam,2026-01-31T09:00:00Z\n",
        0,
    );
    world.bronze().await;
    world.silver().await;
    world.put(
        "2.csv",
        "id,name,updated\n1001,John,2026-01-31T10:00:00Z\n1001,Johnny,2026-01-31T11:00:00Z\n1002,Mary,2026-01-31T10:00:00Z\n",
        1,
    );
    world.bronze().await;
    let report = world.silver().await;
    assert_eq!((report.counts.inserted, report.counts.updated), (1, 1));
    let rows = world.sql("SELECT id, name, updated FROM silver.customers ORDER BY id").await;
    assert_eq!(
        rows,
        [
            "1001|Johnny|2026-01-31T11:00:00Z",
            "1002|Mary|2026-01-31T10:00:00Z",
            "1003|Sam|2026-01-31T09:00:00Z"
        ]
    );
}

#[tokio::test]
async fn a_late_row_does_not_undo_a_newer_one() {
    let world = World::new(CUSTOMERS);
    world.put("new.csv", "id,name,updated\n1,new,2026-01-31T11:00:00Z\n", 0);
    world.bronze().await;
    world.silver().await;
    world.put("late.csv", "id,name,updated\n1,old,2026-01-31T10:00:00Z\n", 1);
    world.bronze().await;
    let report = world.silver().await;
    assert_eq!((report.counts.late, report.counts.updated), (1, 0));
    assert_eq!(world.sql("SELECT name FROM silver.customers").await, ["new"]);
    assert_eq!(report.snapshots.len(), 1, "the position moves all the same");
}

/// Rows without an order, or with the same one, are ordered by their object and their row.
#[tokio::test]
async fn ties_are_broken_by_the_files_own_time_and_row() {
    let world = World::new(CUSTOMERS);
    world.put("b.csv", "id,name,updated\n1,first,\n1,second,\n", 5);
    world.put("a.csv", "id,name,updated\n1,older file,\n", 1);
    world.bronze().await;
    world.silver().await;
    assert_eq!(world.sql("SELECT name FROM silver.customers").await, ["second"]);
}

#[tokio::test]
async fn rows_with_a_null_key_stay_in_bronze_unless_null_is_a_value() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n,nobody,\n,nobody else,\n1,one,\n", 0);
    world.bronze().await;
    let report = world.silver().await;
    assert_eq!((report.counts.null_keys, report.counts.inserted), (2, 1));
    assert_eq!(world.sql("SELECT count(*) FROM bronze.customers").await, ["3"]);

    let equal = World::new(&format!("{CUSTOMERS}null_keys = \"equal\"\n"));
    equal.put("1.csv", "id,name,updated\n,nobody,\n,nobody else,\n1,one,\n", 0);
    equal.bronze().await;
    equal.silver().await;
    equal.put("2.csv", "id,name,updated\n,somebody,\n", 1);
    equal.bronze().await;
    assert_eq!(equal.silver().await.counts.updated, 1);
    let rows = equal.sql("SELECT id, name FROM silver.customers ORDER BY id NULLS FIRST").await;
    assert_eq!(rows, ["null|somebody", "1|one"]);
}

/// Rows of `op = 'D'` delete; the filter leaves out rows without a name, but not those.
fn deleting() -> String {
    let select = "SELECT id, upper(name) AS name FROM bronze WHERE id > 0 AND name IS NOT NULL";
    format!("{CUSTOMERS}select = \"{select}\"\ndelete_when = \"op = 'D'\"\n")
}

#[tokio::test]
async fn a_deleted_key_stays_deleted_when_an_older_row_comes_late() {
    let world = World::new(&deleting());
    world.put(
        "1.csv",
        "id,name,op,updated\n1,one,I,2026-01-01\n2,two,I,2026-01-01\n-1,no,I,2026-01-01\n",
        0,
    );
    world.bronze().await;
    world.silver().await;
    let columns = world.table("silver.customers").await.schema().arrow().fields().len();
    assert_eq!(columns, 8, "id, name, updated and silversmith's five");

    world.put("2.csv", "id,name,op,updated\n1,,D,2026-01-03\n", 1);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.deleted, 1);
    assert_eq!(world.sql("SELECT id, name FROM silver.customers").await, ["2|TWO"]);

    world.put("3.csv", "id,name,op,updated\n1,late,I,2026-01-02\n", 2);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.late, 1);
    assert_eq!(world.sql("SELECT id FROM silver.customers").await, ["2"]);

    world.put("4.csv", "id,name,op,updated\n1,again,I,2026-01-04\n", 3);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.inserted, 1);
    let rows = world.sql("SELECT id, name FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|AGAIN", "2|TWO"]);
}

#[tokio::test]
async fn only_files_that_hold_a_matched_key_are_written_again() {
    let world = World::new(CUSTOMERS);
    for number in 1..4 {
        world.put(
            &format!("{number}.csv"),
            &format!("id,name,updated\n{number},n,2026-01-01\n"),
            number,
        );
        world.bronze().await;
        world.silver().await;
    }
    let before = world.sql("SELECT file_path FROM silver.customers.files ORDER BY 1").await;
    assert_eq!(before.len(), 3);
    world.put("4.csv", "id,name,updated\n2,new,2026-01-02\n", 4);
    world.bronze().await;
    world.silver().await;
    let after = world.sql("SELECT file_path FROM silver.customers.files ORDER BY 1").await;
    assert_eq!(after.iter().filter(|file| before.contains(file)).count(), 2);
}

#[tokio::test]
async fn another_configuration_stops_until_it_is_rebuilt() {
    let world = World::new(CUSTOMERS);
    world.put("1.csv", "id,name,updated\n1,a,2026-01-01\n2,a,2026-01-02\n", 0);
    world.bronze().await;
    world.silver().await;
    let other = world.reconfigured(&CUSTOMERS.replace("[\"id\"]", "[\"name\"]"));
    let silver = other.pipeline().silver.as_ref().unwrap();
    let error = silver.step().await.unwrap_err();
    assert!(matches!(error, SilverError::OtherConfiguration(_)), "{error}");
    assert!(error.to_string().contains("silver --rebuild"));
    let report = silver.rebuild().await.unwrap();
    assert_eq!(report.snapshots.len(), 1);
    assert_eq!(other.sql("SELECT id, name FROM silver.customers").await, ["2|a"]);
    assert_eq!(other.silver().await.snapshots, Vec::new(), "the position is the end of bronze");
}

#[tokio::test]
async fn a_rebuild_gives_the_same_rows_deletes_included() {
    let world = World::new(&deleting());
    for (number, rows) in [
        "1,a,I,2026-01-01\n2,b,I,2026-01-01\n",
        "1,,D,2026-01-03\n",
        "1,x,I,2026-01-02\n3,c,I,2026-01-01\n",
    ]
    .iter()
    .enumerate()
    {
        world.put(&format!("{number}.csv"), &format!("id,name,op,updated\n{rows}"), number as u32);
        world.bronze().await;
        world.silver().await;
    }
    let rows = "SELECT * FROM silver.customers ORDER BY id";
    let deletes = "SELECT DISTINCT id, updated FROM silver.customers_deletes ORDER BY id";
    let before = (world.sql(rows).await, world.sql(deletes).await);
    world.pipeline().silver.as_ref().unwrap().rebuild().await.unwrap();
    assert_eq!((world.sql(rows).await, world.sql(deletes).await), before);
}

#[tokio::test]
async fn a_select_that_is_not_row_by_row_is_refused_when_its_columns_are_known() {
    for (select, why) in [
        ("SELECT id, now() AS t FROM bronze", "not immutable"),
        ("SELECT id, random() AS r FROM bronze", "not immutable"),
        ("SELECT max(id) AS id FROM bronze", "max"),
        ("SELECT row_number() OVER (ORDER BY id) AS id FROM bronze", "row by row"),
        ("SELECT missing FROM bronze", "missing"),
    ] {
        let world = World::new(&format!("{CUSTOMERS}select = \"{select}\"\n"));
        world.put("1.csv", "id,name,updated\n1,a,2026-01-01\n", 0);
        world.bronze().await;
        let error = world.pipeline().silver.as_ref().unwrap().step().await.unwrap_err();
        let text = silversmith::error::chain(&error);
        assert!(text.contains(why), "{select}: {text}");
    }
}

/// A table of another program, without silversmith's columns, is merged into as by SQL MERGE.
#[tokio::test]
async fn a_table_of_another_program_is_updated_unconditionally() {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use silversmith::lake::write::data::DataWriter;
    use silversmith::lake::{Change, CommitOutcome, TableName};
    use std::sync::Arc;

    let world = World::new(CUSTOMERS);
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    let name = TableName::new("silver", "customers");
    let table = world.lake().find_or_create(&name, &schema, None).await.unwrap();
    let mut writer = DataWriter::new(world.lake(), &table, table.schema()).unwrap();
    let rows = arrow::array::RecordBatch::try_new(
        table.schema().arrow().clone(),
        vec![Arc::new(Int64Array::from(vec![1, 2])), Arc::new(StringArray::from(vec!["x", "y"]))],
    )
    .unwrap();
    writer.write(&rows).await.unwrap();
    let add = writer.close().await.unwrap();
    let outcome = world.lake().commit(&table, Change::append(add, unsaid())).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));

    world.put("1.csv", "id,name,updated\n1,new,1970-01-01\n", 0);
    world.bronze().await;
    assert_eq!(world.silver().await.counts.updated, 1);
    let rows = world.sql("SELECT id, name, updated FROM silver.customers ORDER BY id").await;
    assert_eq!(rows, ["1|new|1970-01-01", "2|y|null"]);
}

/// A merge is split into several commits when bronze gained more rows than one commit should merge.
#[tokio::test]
async fn a_large_backlog_is_merged_in_several_commits_each_with_its_position() {
    let mut world = World::new(CUSTOMERS);
    for number in 1..5 {
        world.put(
            &format!("{number}.csv"),
            &format!("id,name,updated\n1,n{number},2026-01-0{number}\n"),
            number,
        );
        world.bronze().await;
    }
    let mut settings = (*world.wired.settings).clone();
    settings.pipelines[0].silver.as_mut().unwrap().most_merged = 3_000;
    let source = world.raw.clone();
    world.rewire(settings, source, silversmith::pipeline::Intake::Directory);
    let report = world.silver().await;
    assert_eq!(report.bronze_snapshots, 4);
    assert!(report.snapshots.len() >= 4, "{report:?}");
    let line = world.table("silver.customers").await.snapshots();
    let key = format!("{}-sequence-number", silversmith::silver::MERGED);
    let sequences: Vec<&str> =
        line.iter().filter_map(|s| s.summary.get(&key)).map(String::as_str).collect();
    assert_eq!(sequences, ["1", "2", "3", "4"]);
    assert_eq!(world.sql("SELECT name FROM silver.customers").await, ["n4"]);
    // A rebuild is one commit.
    let silver = world.pipeline().silver.as_ref().unwrap();
    assert_eq!(silver.rebuild().await.unwrap().counts.inserted, 1);
    assert_eq!(world.sql("SELECT name FROM silver.customers").await, ["n4"]);
}

/// What does not fit into memory waits on disk: readers never see a part of a merge (I7).
#[tokio::test]
async fn rows_beyond_memory_are_merged_in_one_commit() {
    let mut world = World::new(CUSTOMERS);
    let mut text = "id,updated\n".to_owned();
    for id in 0..3_000 {
        text.push_str(&format!("{id},1\n"));
    }
    world.put("1.csv", &text, 1);
    world.bronze().await;
    world.merge_within(64 * 1024);
    let report = world.silver().await;
    assert_eq!((report.snapshots.len(), report.counts.inserted), (1, 3_000));
    assert_eq!(world.positions("silver.customers").await, [1]);
    let rows = world.sql("SELECT count(*), count(DISTINCT id) FROM silver.customers").await;
    assert_eq!(rows, ["3000|3000"]);
    assert_eq!(world.silver().await.snapshots, Vec::new());
}

/// Parquet cuts statistics at 64 bytes. Files of several row groups once had bounds without such keys, and a merge
/// inserted the key a second time.
#[tokio::test]
async fn a_long_key_in_a_file_of_several_row_groups_is_updated() {
    let world = World::new(CUSTOMERS);
    let long = format!("z{}", "y".repeat(80));
    let mut rows = "id,name,updated\n".to_owned();
    for number in 0..140_000 {
        rows.push_str(&format!("a{number:06},x,2026-01-31T09:00:00Z\n"));
    }
    rows.push_str(&format!("{long},first,2026-01-31T09:00:00Z\n"));
    world.put("1.csv", &rows, 0);
    world.bronze().await;
    world.silver().await;
    world.put("2.csv", &format!("id,name,updated\n{long},second,2026-01-31T10:00:00Z\n"), 1);
    world.bronze().await;
    let report = world.silver().await;
    assert_eq!((report.counts.inserted, report.counts.updated), (0, 1));
    let sql = format!("SELECT name FROM silver.customers WHERE id = '{long}'");
    assert_eq!(world.sql(&sql).await, ["second"]);
}
