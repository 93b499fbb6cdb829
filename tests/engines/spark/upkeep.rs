//! Spark writes to the tables and maintains them between silversmith's commits: nothing breaks, and every engine goes
//! on reading the rows that a model has.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Cells, Spark, agree};
use crate::cli::Folder;

const TABLES: [&str; 5] = [
    "bronze.orders",
    "bronze.orders_objects",
    "silver.orders",
    "silver.orders_deletes",
    "gold.orders",
];

/// A pipeline with deletes, and with the mode of its merges.
fn config(mode: &str) -> String {
    Folder::config("settle = \"0s\"", "").replace(
        "order_by = [\"updated\"]",
        &format!("order_by = [\"updated\"]\nmode = \"{mode}\"\ndelete_when = \"op = 'D'\""),
    )
}

/// What silver must hold, and what it remembers as deleted.
#[derive(Default)]
struct Model {
    /// By key: when it was updated, and the name.
    rows: BTreeMap<i64, (String, String)>,
    /// By key: when it was deleted.
    deleted: BTreeMap<i64, String>,
}

impl Model {
    /// A row of bronze.
    fn merge(&mut self, id: i64, op: &str, name: &str, updated: &str) {
        let after = |at: &String| at.as_str() > updated;
        if self.deleted.get(&id).is_some_and(after)
            || self.rows.get(&id).is_some_and(|r| after(&r.0))
        {
            return;
        }
        if op == "D" {
            self.rows.remove(&id);
            self.deleted.insert(id, updated.to_owned());
        } else {
            self.rows.insert(id, (updated.to_owned(), name.to_owned()));
        }
    }

    fn rows(&self) -> Vec<Cells> {
        let rows = self.rows.iter().map(|(id, (updated, name))| {
            let updated = updated.replace('Z', ".000000Z");
            vec![Some(id.to_string()), Some(name.clone()), Some(updated)]
        });
        let mut rows: Vec<Cells> = rows.collect();
        rows.sort();
        rows
    }
}

struct Lake {
    folder: Folder,
    model: Model,
    waves: u32,
}

impl Lake {
    fn new(mode: &str) -> Self {
        Self { folder: Folder::new(&config(mode)), model: Model::default(), waves: 0 }
    }

    fn spark(&self, statements: &[&str]) {
        Spark::on(&self.folder).run(statements);
    }

    /// Two files: rows that are newer than all before, deletes among them, and rows that come late.
    fn wave(&mut self) {
        self.waves += 1;
        let number = i64::from(self.waves);
        let mut rows = vec![];
        for row in 0..40 {
            let op = if (row + number) % 11 == 0 { "D" } else { "U" };
            rows.push(((row * 7 + number * 13) % 60, op, format!("2026-02-{number:02}T10:00:00Z")));
        }
        // Spark inserts it with a later time.
        rows.push((1000, "U", format!("2026-02-{number:02}T10:00:00Z")));
        let late =
            (0..5).map(|row| ((row * 11 + number) % 60, "U", "2026-01-01T00:00:00Z".to_owned()));
        let header = "id,op,name,amount,day,paid,updated\n";
        for (file, rows) in [("new", rows), ("late", late.collect())] {
            let mut text = header.to_owned();
            for (id, op, updated) in rows {
                let name = format!("{file} {number} é");
                text.push_str(&format!(
                    "{id},{op},{name},{}.5,2026-02-{:02},{},{updated}\n",
                    id * number,
                    1 + id % 28,
                    id % 2 == 0
                ));
                self.model.merge(id, op, &name, &updated);
            }
            self.folder.write(&format!("raw/{file}{number}.csv"), &text);
        }
        self.folder.run(&["run", "--until-idle", "--lenient"]);
    }

    /// Every engine reads the same from every table.
    fn verify_all(&self) {
        self.verify();
        agree(&self.folder, &TABLES);
    }

    /// Spark reads from silver what the model has, from bronze each row once, and gold is of this silver.
    fn verify(&self) {
        self.folder.run(&["gold"]);
        let spark = Spark::on(&self.folder);
        let mut rows = spark.run(&["SELECT id, name, updated FROM silver.orders"]).rows;
        rows.sort();
        assert_eq!(rows, self.model.rows());
        let counted = spark
            .run(&["SELECT count(*), count(DISTINCT _source_uri, _source_row) FROM bronze.orders
             WHERE _source_uri IS NOT NULL"]);
        let all = (46 * self.waves).to_string();
        assert_eq!(counted.rows, [[Some(all.clone()), Some(all)]]);
        let gold = self.model.rows().len().to_string();
        assert_eq!(spark.one("SELECT n FROM gold.orders"), gold);
    }

    /// A procedure of Iceberg on every table, then a wave.
    fn procedure(&mut self, call: impl Fn(&str) -> String) {
        let calls: Vec<String> = TABLES.iter().map(|table| call(table)).collect();
        self.spark(&calls.iter().map(String::as_str).collect::<Vec<_>>());
        self.verify();
        self.wave();
        self.verify_all();
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path, found),
            false => found.push(path),
        }
    }
}

/// Spark's orphan run leaves files of the last day alone: all files get older than that.
fn age_files(warehouse: &Path) {
    let mut files = vec![];
    files_below(warehouse, &mut files);
    for path in files {
        let file = File::options().write(true).open(path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - Duration::from_secs(3 * 86_400)).unwrap();
    }
}

fn merge_into_silver(lake: &mut Lake) {
    lake.spark(&["MERGE INTO silver.orders t
         USING (SELECT * FROM VALUES (7, 'changed'), (8, 'gone'), (1000, 'inserted') AS s(id, name)) s ON t.id = s.id
         WHEN MATCHED AND s.name = 'gone' THEN DELETE
         WHEN MATCHED THEN UPDATE SET t.name = s.name
         WHEN NOT MATCHED AND s.name = 'inserted'
            THEN INSERT (id, name, updated) VALUES (s.id, s.name, TIMESTAMP '2026-12-31 00:00:00')"]);
    if let Some((_, name)) = lake.model.rows.get_mut(&7) {
        *name = "changed".to_owned();
    }
    lake.model.rows.remove(&8);
    let inserted = ("2026-12-31T00:00:00Z".to_owned(), "inserted".to_owned());
    lake.model.rows.insert(1000, inserted);
}

fn delete_by_position(lake: &mut Lake) {
    lake.spark(&[
        "ALTER TABLE silver.orders SET TBLPROPERTIES (
            'write.delete.mode' = 'merge-on-read', 'write.update.mode' = 'merge-on-read')",
        "DELETE FROM silver.orders WHERE id % 10 = 3",
        "UPDATE silver.orders SET name = 'moved' WHERE id % 10 = 4",
    ]);
    lake.model.rows.retain(|id, _| id % 10 != 3);
    for (_, (_, name)) in lake.model.rows.iter_mut().filter(|(id, _)| *id % 10 == 4) {
        *name = "moved".to_owned();
    }
}

/// silversmith's own upkeep of what Spark has written and maintained, then a wave.
fn maintain(lake: &mut Lake) {
    let done = lake.folder.stdout(&["maintain", "--format", "json"]);
    let fewer = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let is_bronze = row["table"] == "bronze.orders" && row["what"] == "data files";
        is_bronze && row["after"].as_u64() < row["before"].as_u64()
    };
    assert!(done.lines().any(fewer), "{done}");
    lake.verify_all();
    lake.wave();
    lake.verify_all();
}

fn between_commits(mode: &str) {
    let mut lake = Lake::new(mode);
    lake.wave();
    lake.wave();
    lake.verify();

    lake.spark(&["DELETE FROM silver.orders WHERE id = 1000"]);
    lake.model.rows.remove(&1000);
    merge_into_silver(&mut lake);
    lake.verify_all();
    lake.wave();
    lake.verify_all();

    delete_by_position(&mut lake);
    lake.verify_all();
    lake.wave();
    lake.verify_all();

    lake.procedure(|table| {
        format!(
            "CALL lake.system.rewrite_data_files(table => '{table}',
            options => map('min-input-files', '2', 'delete-file-threshold', '1'))"
        )
    });
    delete_by_position(&mut lake);
    lake.procedure(|table| {
        format!(
            "CALL lake.system.rewrite_position_delete_files(table => '{table}',
            options => map('rewrite-all', 'true'))"
        )
    });
    lake.procedure(|table| format!("CALL lake.system.rewrite_manifests(table => '{table}')"));
    lake.procedure(|table| {
        format!(
            "CALL lake.system.expire_snapshots(table => '{table}', retain_last => 1,
            older_than => TIMESTAMP '2100-01-01 00:00:00')"
        )
    });
    let warehouse = lake.folder.path().join("lake/warehouse");
    let orphan = warehouse.join("silver/orders/data/orphan.parquet");
    std::fs::write(&orphan, "no table names it").unwrap();
    age_files(&warehouse);
    lake.procedure(|table| format!("CALL lake.system.remove_orphan_files(table => '{table}')"));
    assert!(!orphan.exists());
    delete_by_position(&mut lake);
    maintain(&mut lake);
    lake.procedure(|table| {
        format!("CALL lake.system.rewrite_data_files(table => '{table}', options => map('rewrite-all', 'true'))")
    });
}

#[test]
fn spark_writes_and_maintains_between_merges_by_copy_on_write() {
    between_commits("copy-on-write");
}

#[test]
fn spark_writes_and_maintains_between_merges_on_read() {
    between_commits("merge-on-read");
}
