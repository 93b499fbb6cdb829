//! Every command, as users see it. What `--help` prints is docs/cli.md, which `tests/docs` compares.

use std::io::Write;
use std::process::Stdio;

use super::{Folder, redacted};

fn with_orders() -> Folder {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    folder.write(
        "raw/1.csv",
        "id,name,updated\n1,John,2026-01-31T10:00:00Z\n3,Sam,2026-01-31T10:00:00Z\n",
    );
    folder.run(&["run", "--until-idle", "--lenient"]);
    folder.write(
        "raw/2.csv",
        "id,name,updated\n1,Johnny,2026-01-31T11:00:00Z\nx,Mary,2026-01-31T10:00:00Z\n",
    );
    folder.write("raw/bäd.csv", "PK\0\0");
    folder.run(&["run", "--until-idle", "--lenient"]);
    folder
}

#[test]
fn deliveries_wait_and_are_ingested_as_a_whole() {
    let section = "[pipeline.deliveries]\nmanifest = \"list.json\"\n[pipeline.bronze]";
    let config = Folder::config("settle = \"0s\"", "").replace("[pipeline.bronze]", section);
    let folder = Folder::new(&config);
    let row = |id: u32| format!("id,name,updated\n{id},x,2026-01-31T10:00:00Z\n");
    redacted().bind(|| {
        insta::assert_snapshot!("deliveries_nothing", folder.seen(&["status", "--deliveries"]));
        folder.write("raw/1/a.csv", &row(1));
        folder.write("raw/1/b.csv", &row(2));
        insta::assert_snapshot!("deliveries_run", folder.seen(&["bronze"]));
        folder.write("raw/1/list.json", "[\"a.csv\", \"b.csv\", \"c.csv\"]");
        folder.write("raw/2/list.json", "{");
        assert_eq!(folder.output(&["bronze"]).status.code(), Some(3), "one is refused");
        insta::assert_snapshot!("deliveries_status", folder.seen(&["status"]));
        insta::assert_snapshot!("deliveries_waiting", folder.seen(&["status", "--deliveries"]));
        insta::assert_snapshot!("deliveries_objects", folder.seen(&["objects", "--format", "csv"]));
        insta::assert_snapshot!("deliveries_dlq", folder.seen(&["dlq", "list", "--format", "csv"]));
        folder.write("raw/1/c.csv", &row(3));
        folder.write("raw/2/list.json", "[]");
        let said = String::from_utf8(folder.run(&["run", "--until-idle"]).stderr).unwrap();
        assert!(said.contains("orders bronze: 3 of 3 objects ingested, 3 rows\n"), "{said}");
        assert!(said.contains("1 bronze snapshot merged: 3 inserted, 0 updated"), "{said}");
        insta::assert_snapshot!("deliveries_history", folder.seen(&["history", "bronze.orders"]));
        insta::assert_snapshot!("deliveries_done", folder.seen(&["status", "--deliveries"]));
    });
}

#[test]
fn looking_at_a_lake() {
    let folder = with_orders();
    redacted().bind(|| {
        insta::assert_snapshot!("status", folder.seen(&["status"]));
        insta::assert_snapshot!("objects", folder.seen(&["objects", "--format", "csv"]));
        insta::assert_snapshot!(
            "objects_failed",
            folder.seen(&["objects", "--failed", "--match", "raw/bä*", "--format", "json"])
        );
        insta::assert_snapshot!("history", folder.seen(&["history", "silver.orders"]));
        insta::assert_snapshot!("checkpoint", folder.seen(&["checkpoint", "show"]));
        insta::assert_snapshot!("check", folder.seen(&["check"]));
        insta::assert_snapshot!("infer", folder.seen(&["check", "--infer", "raw/1.csv"]));
        insta::assert_snapshot!("infer_files", {
            folder.write("b/1.csv", "id,zip,paid\n1,04109,9.50\n2,10115,\n");
            folder.write("b/2.csv", "PAID,id,zip,note\n7.25,x3,10117,\n1.10,4,10119,\n");
            folder.seen(&["check", "--infer", "b/1.csv", "b/2.csv"])
        });
        insta::assert_snapshot!(
            "sql_table",
            folder.seen(&["sql", "SELECT id, name FROM silver.orders ORDER BY id"])
        );
        insta::assert_snapshot!(
            "sql_json",
            folder.seen(&[
                "sql",
                "--format",
                "json",
                "SELECT id, updated FROM silver.orders ORDER BY id"
            ])
        );
        insta::assert_snapshot!(
            "changes",
            folder.seen(&[
                "sql",
                "--changes",
                "bronze.orders",
                "SELECT name FROM changes ORDER BY 1"
            ])
        );
        insta::assert_snapshot!("nothing_new", folder.seen(&["run", "--until-idle"]));
    });
}

/// Rows that delete files delete are not counted, also where one is for several data files.
#[test]
fn rows_are_live_rows_with_merge_on_read() {
    let order = "order_by = [\"updated\"]\n";
    let on_read = "mode = \"merge-on-read\"\npartition_by = [\"truncate(10, id)\"]\n";
    let config = Folder::config("settle = \"0s\"", "").replace(order, &format!("{order}{on_read}"));
    let folder = Folder::new(&config);
    // Two files in each of twenty partitions, and a row of each of the forty.
    let even = (0..200).filter(|id| id % 2 == 0).collect::<Vec<_>>();
    let odd = (0..200).filter(|id| id % 2 == 1).collect();
    let changed = (0..200).filter(|id| id % 10 < 2).collect();
    for (day, ids) in [(1, even), (2, odd), (3, changed)] {
        let rows = ids.iter().map(|id| format!("{id},x,2026-01-0{day}T10:00:00Z\n"));
        let text = format!("id,name,updated\n{}", rows.collect::<String>());
        folder.write(&format!("raw/{day}.csv"), &text);
        folder.run(&["run", "--until-idle", "--lenient"]);
    }
    let files = folder.path().join("lake/warehouse/silver/orders/data");
    let deletes = std::fs::read_dir(files).unwrap().filter(|file| {
        file.as_ref().unwrap().file_name().to_string_lossy().ends_with("-deletes.parquet")
    });
    assert_eq!(deletes.count(), 20);
    let last = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(folder.stdout(args).lines().last().unwrap()).unwrap()
    };
    assert_eq!(last(&["status", "--format", "json"])["silver_rows"], 200);
    let merged = last(&["history", "silver.orders", "--format", "json"]);
    assert_eq!((&merged["added_rows"], &merged["total_rows"]), (&40.into(), &200.into()));
}

#[test]
fn the_one_shot_steps() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    folder.write("raw/1.csv", "id,name,updated\n1,John,2026-01-31T10:00:00Z\n");
    redacted().bind(|| {
        insta::assert_snapshot!("step_silver_too_early", folder.seen(&["silver"]));
        insta::assert_snapshot!("step_bronze", folder.seen(&["bronze"]));
        insta::assert_snapshot!("step_silver", folder.seen(&["silver", "--pipeline", "orders"]));
        insta::assert_snapshot!("step_gold", folder.seen(&["gold"]));
        insta::assert_snapshot!("step_rebuild", folder.seen(&["silver", "--rebuild"]));
        insta::assert_snapshot!("step_bronze_again", folder.seen(&["bronze"]));
        insta::assert_snapshot!(
            "step_rewind",
            folder.seen(&["checkpoint", "rewind", "orders", "--to-start"])
        );
        insta::assert_snapshot!("step_silver_rewound", folder.seen(&["silver"]));
    });
}

/// `objects --reingest`: a corrected configuration replaces what objects gave.
#[test]
fn objects_are_read_again() {
    let config = Folder::config("settle = \"0s\"", "");
    let folder = Folder::new(&config);
    folder.write("raw/1.csv", "id,name,updated\n1,John,2026-01-31\nTotal,1,\n");
    folder.write("raw/2.csv", "id,name,updated\n2,Zoe,2026-01-31\nTotal,1,\n");
    folder.run(&["run", "--until-idle", "--lenient"]);
    folder.write("silversmith.toml", &format!("{config}[pipeline.csv]\nskip_footer = 1\n"));
    let rows = "SELECT id, name FROM silver.orders ORDER BY id";
    assert_eq!(
        folder.stdout(&["sql", "--format", "csv", rows]),
        "id,name\n1,John\n2,Zoe\nTotal,1\n"
    );
    redacted().bind(|| {
        insta::assert_snapshot!(
            "reingest_dry_run",
            folder.seen(&["objects", "--reingest", "raw/*.csv", "--dry-run"])
        );
        insta::assert_snapshot!(
            "reingest",
            folder.seen(&["objects", "--reingest", "raw/1.csv", "raw/2.csv"])
        );
        insta::assert_snapshot!(
            "reingest_nothing",
            folder.seen(&["objects", "--reingest", "3.csv"])
        );
        insta::assert_snapshot!("reingest_silver", folder.seen(&["silver"]));
    });
    assert_eq!(folder.stdout(&["sql", "--format", "csv", rows]), "id,name\n1,John\n2,Zoe\n");
    folder.write("silversmith.toml", &format!("{config}[pipeline.csv]\ndelimiter = \";\"\n"));
    redacted().bind(|| {
        insta::assert_snapshot!(
            "reingest_refused",
            folder.seen(&["objects", "--reingest", "raw/1.csv"])
        )
    });
    assert_eq!(folder.stdout(&["sql", "--format", "csv", rows]), "id,name\n1,John\n2,Zoe\n");
}

/// Rows that silver refuses: found by rule, merged under other rules, purged.
#[test]
fn refused_rows_are_in_quarantine() {
    let config = |least: i32| {
        let expect = format!("name = \"enough\"\nsql = \"amount >= {least}\"\n");
        let gold = "[[pipeline.gold]]";
        Folder::config("settle = \"0s\"", "")
            .replace(gold, &format!("[[pipeline.silver.expect]]\n{expect}{gold}"))
    };
    let folder = Folder::new(&config(10));
    let good = "id,amount,updated\n1,10,2026-01-31T10:00:00Z\n";
    folder.write("raw/1.csv", good);
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = "2,3,2026-01-31T10:00:00Z\n3,-1,2026-01-31T10:00:00Z\nx,20,2026-01-31T10:00:00Z\n";
    folder.write("raw/2.csv", &format!("id,amount,updated\n{rows}"));
    redacted().bind(|| {
        insta::assert_snapshot!("quarantine_none", folder.seen(&["quarantine", "list", "orders"]));
        folder.run(&["bronze"]);
        insta::assert_snapshot!("quarantine_silver", folder.seen(&["silver"]));
        insta::assert_snapshot!("quarantine_status", folder.seen(&["status"]));
        insta::assert_snapshot!("quarantine_list", folder.seen(&["quarantine", "list", "orders"]));
        let one = ["quarantine", "list", "orders", "--rule", "rescued", "--format", "json"];
        insta::assert_snapshot!("quarantine_list_json", folder.seen(&one));
        let row = ["quarantine", "show", "orders", "raw/2.csv", "--row", "3"];
        insta::assert_snapshot!("quarantine_show", folder.seen(&row));
        let none = ["quarantine", "show", "orders", "raw/1.csv"];
        insta::assert_snapshot!("quarantine_show_none", folder.seen(&none));
        let stay = ["quarantine", "replay", "orders"];
        insta::assert_snapshot!("quarantine_replay_stays", folder.seen(&stay));
        folder.write("silversmith.toml", &config(3));
        let some = ["quarantine", "replay", "orders", "--rule", "enough"];
        insta::assert_snapshot!("quarantine_replay", folder.seen(&some));
        insta::assert_snapshot!("quarantine_replay_all", folder.seen(&stay));
        let all = ["quarantine", "purge", "orders"];
        insta::assert_snapshot!("quarantine_purge_what", folder.seen(&all));
        let dry = ["quarantine", "purge", "orders", "--dry-run"];
        insta::assert_snapshot!("quarantine_purge_dry", folder.seen(&dry));
        let rule = ["quarantine", "purge", "orders", "--rule", "rescued"];
        insta::assert_snapshot!("quarantine_purge", folder.seen(&rule));
        let elsewhere = ["quarantine", "list", "order"];
        insta::assert_snapshot!("quarantine_no_pipeline", folder.seen(&elsewhere));
    });
    let silver =
        folder.stdout(&["sql", "--format", "csv", "SELECT id FROM silver.orders ORDER BY id"]);
    assert_eq!(silver, "id\n1\n2\n");
    let strict = config(100).replace("sql = \"amount", "on_fail = \"fail\"\nsql = \"amount");
    folder.write("silversmith.toml", &strict);
    folder.write("raw/3.csv", &good.replace("\n1,", "\n4,"));
    redacted().bind(|| {
        folder.run(&["bronze"]);
        insta::assert_snapshot!("quarantine_fail", folder.seen(&["silver"]));
    });
}

#[test]
fn errors_say_what_to_do_next() {
    let folder = with_orders();
    redacted().bind(|| {
        insta::assert_snapshot!("no_pipeline", folder.seen(&["bronze", "--pipeline", "order"]));
        insta::assert_snapshot!("no_table", folder.seen(&["history", "silver.order"]));
        insta::assert_snapshot!(
            "no_snapshot",
            folder.seen(&["sql", "SELECT * FROM silver.orders VERSION AS OF 12"])
        );
        insta::assert_snapshot!("bad_sql", folder.seen(&["sql", "SELECT nme FROM silver.orders"]));
        insta::assert_snapshot!("write_sql", folder.seen(&["sql", "DROP TABLE silver.orders"]));
        insta::assert_snapshot!(
            "rewind_unknown",
            folder.seen(&["checkpoint", "rewind", "orders", "--to", "5"])
        );
    });
    let fresh = Folder::new(&Folder::config("", ""));
    redacted().bind(|| insta::assert_snapshot!("no_lake", fresh.seen(&["status"])));
    assert!(!fresh.path().join("lake").exists(), "a command that reads creates nothing");
}

/// `silversmith sql … | head -1`: a reader that has gone away is no failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = with_orders();
    let mut child = folder
        .command(&["sql", "--format", "csv", "SELECT a._source_uri FROM bronze.orders a, bronze.orders b, bronze.orders c, bronze.orders d, bronze.orders e, bronze.orders f, bronze.orders g, bronze.orders h"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// SIGTERM ends a waiting worker with exit code 0.
#[test]
fn a_worker_stops_on_sigterm() {
    let folder = with_orders();
    let mut child = folder.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap();
    folder.write("raw/3.csv", "id,name,updated\n9,Zoe,2026-01-31T12:00:00Z\n");
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(stderr);
    let merged = lines.by_ref().any(|line| line.unwrap().contains("gold.orders: refreshed"));
    assert!(merged, "the worker ingests files that arrive while it runs");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    std::io::stdout().flush().unwrap();
}

/// The README's first command.
#[test]
fn the_demo_explains_itself() {
    let folder = Folder::new("");
    redacted().bind(|| {
        insta::assert_snapshot!("demo", folder.seen(&["demo", "--dir", "lake"]));
        insta::assert_snapshot!("demo_again", folder.seen(&["demo", "--dir", "lake"]));
    });
    let failed = folder.stdout(&[
        "objects",
        "--failed",
        "--config",
        "lake/silversmith.toml",
        "--format",
        "csv",
    ]);
    assert_eq!(failed.lines().count(), 1, "just the header: {failed}");
}

/// What was left behind is an exit code that a timer notices, until someone has looked.
#[test]
fn what_is_left_behind_is_exit_code_3() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    let code = |args: &[&str]| {
        let output = folder.output(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), said)
    };
    folder.write("raw/1.csv", "id,updated\n1,2026-01-01\n");
    assert_eq!(code(&["run", "--until-idle"]).0, 0);
    assert_eq!(code(&["status", "--fail"]).0, 0);

    folder.write("raw/2.csv", "id,updated\n2,never\n,2026-01-01\n");
    folder.write("raw/3.csv", "id;updated\n3;2026-01-01\n");
    let (exit, said) = code(&["run", "--until-idle"]);
    assert_eq!(exit, 3, "{said}");
    assert!(
        said.contains("left behind: 1 object not ingested, 1 row in quarantine, 1 row in bronze alone, with a null key\n"),
        "{said}"
    );
    // Once: there is nothing new. What stands is seen by its status.
    assert_eq!(code(&["run", "--until-idle"]).0, 0);
    let (exit, said) = code(&["status", "--fail"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("orders: 1 object failed; orders: 1 row in quarantine\n"), "{said}");
    assert_eq!(code(&["status"]).0, 0);

    folder.run(&["dlq", "purge", "--all"]);
    folder.run(&["quarantine", "purge", "orders", "--all"]);
    assert_eq!(code(&["status", "--fail"]).0, 0);
    assert_eq!(folder.stdout(&["objects", "--failed", "--format", "csv"]).lines().count(), 1);

    folder.write("raw/4.csv", "id;updated\n4;2026-01-01\n");
    assert_eq!(code(&["bronze", "--lenient"]).0, 0);
    folder.write("raw/5.csv", "id;updated\n5;2026-01-01\n");
    assert_eq!(code(&["bronze"]).0, 3);
}
