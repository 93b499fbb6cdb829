//! Queries with filters: the same rows as without what filters leave out, and without opening what they exclude.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use silversmith::lake::read::scan::Bounds;
use silversmith::sql::session::session;
use silversmith::sql::statement;

use crate::support::{CUSTOMERS, World};

/// Six waves of ten keys each; every second key of the first waves was changed by a later one, so there are deletes. The
/// last column comes with the fourth wave.
async fn world() -> World {
    let world = World::new(&format!("{CUSTOMERS}mode = \"merge-on-read\"\n"));
    for wave in 0..6_u32 {
        let extra = wave >= 3;
        let mut text = format!("id,name,day,updated{}\n", if extra { ",extra" } else { "" });
        for id in wave * 10..wave * 10 + 10 {
            let old = (wave > 2 && id % 2 == 0).then(|| id - 30);
            for id in [Some(id), old].into_iter().flatten() {
                text.push_str(&format!("{id},name {id:03},2026-01-{:02},{wave}", 1 + id % 28));
                text.push_str(if extra { ",x\n" } else { "\n" });
            }
        }
        world.put(&format!("{wave}.csv"), &text, wave);
        world.bronze().await;
        world.silver().await;
    }
    world
}

/// Of each row: id, name, day, updated, extra.
type Row = (i64, String, String, i64, Option<String>);

fn parsed(line: &str) -> Row {
    let cells: Vec<&str> = line.split('|').collect();
    let number = |text: &str| text.parse().unwrap();
    let extra = (cells[4] == "x").then(|| "x".to_owned());
    (number(cells[0]), cells[1].to_owned(), cells[2].to_owned(), number(cells[3]), extra)
}

#[tokio::test]
async fn a_filter_gives_the_rows_that_meet_it() {
    let world = world().await;
    let select = "SELECT id, name, day, updated, extra FROM silver.customers";
    let all: Vec<Row> = world.sql(select).await.iter().map(|line| parsed(line)).collect();
    assert_eq!(all.len(), 60);
    type Meets = fn(&Row) -> bool;
    let cases: [(&str, Meets); 16] = [
        ("id = 7", |row| row.0 == 7),
        ("id = 8", |row| row.0 == 8),
        ("id > 20 AND id <= 41", |row| row.0 > 20 && row.0 <= 41),
        ("30 > id", |row| row.0 < 30),
        ("id IN (1, 22, 58, 99)", |row| [1, 22, 58, 99].contains(&row.0)),
        ("id IN (1, 2, 3, 4, 25, 59)", |row| [1, 2, 3, 4, 25, 59].contains(&row.0)),
        ("id = 3 OR name = 'name 044'", |row| row.0 == 3 || row.1 == "name 044"),
        ("id BETWEEN 8 AND 12 OR id = 50", |row| (8..=12).contains(&row.0) || row.0 == 50),
        ("name >= 'name 055'", |row| row.1.as_str() >= "name 055"),
        ("name = 'no such name'", |_| false),
        ("day < '2026-01-05'", |row| row.2.as_str() < "2026-01-05"),
        ("day = '2026-01-09' AND updated = 3", |row| row.2 == "2026-01-09" && row.3 == 3),
        ("extra = 'x'", |row| row.4.is_some()),
        ("extra IS NULL AND id < 5", |row| row.4.is_none() && row.0 < 5),
        ("NOT (id > 5)", |row| row.0 <= 5),
        ("id <> 5 AND id < 8", |row| row.0 != 5 && row.0 < 8),
    ];
    for (filter, meets) in cases {
        let found = world.sql(&format!("{select} WHERE {filter}")).await;
        let mut found: Vec<Row> = found.iter().map(|line| parsed(line)).collect();
        let mut expected: Vec<Row> = all.iter().filter(|row| meets(row)).cloned().collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{filter}");
    }
}

#[tokio::test]
async fn files_that_a_filter_excludes_are_not_opened() {
    let world = world().await;
    let silver = world.table("silver.customers").await;
    let seven = || -> Option<ArrayRef> { Some(Arc::new(Int64Array::from(vec![7]))) };
    let bounds = Bounds { column: "id".to_owned(), least: seven(), greatest: seven() };
    let all = world.lake().files_of(&silver, None, &[]).await.unwrap();
    let of_seven = world.lake().files_of(&silver, None, &[bounds]).await.unwrap();
    assert_eq!((all.len(), of_seven.len()), (6, 2));
    for file in &of_seven {
        world.files.delete(file.path()).await.unwrap();
    }
    assert_eq!(world.sql("SELECT name FROM silver.customers WHERE id = 59").await, ["name 059"]);
    let context = session(64 * 1024 * 1024).unwrap();
    let sql = "SELECT name FROM silver.customers WHERE id = 7";
    let frame = statement::query(world.lake(), &context, sql).await.unwrap();
    assert!(frame.collect().await.is_err(), "it was in a file that is gone");
}
