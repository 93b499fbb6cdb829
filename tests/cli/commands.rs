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

/// The delimiter is that of the sample; a measure is no key, and without a key there is no silver.
#[test]
fn init_sees_the_delimiter_and_guesses_no_measure() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path().join("silversmith.toml")).unwrap();
    folder.write("raw/stock.csv", "name;qty\nbolt;1\nnut;2\n");
    folder.run(&["init", "raw/stock.csv"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    assert!(written.contains("delimiter = \";\"\n") && written.contains("\n# keys     = []\n"));
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&["sql", "--format", "csv", "SELECT name, qty FROM bronze.stock"]);
    assert_eq!(rows, "name,qty\nbolt,1\nnut,2\n");
    let packed = zstd::encode_all("id,qty\n1,7\n".as_bytes(), 1).unwrap();
    std::fs::write(folder.path().join("raw/parts.csv.zst"), packed).unwrap();
    folder.run(&["init", "--force", "raw/parts.csv.zst"]);
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&["sql", "--format", "csv", "SELECT id, qty FROM silver.parts"]);
    assert_eq!(rows, "id,qty\n1,7\n");
    folder.write("raw/visits.json", "{\"id\":1,\"at\":\"2026-01-31T10:00:00Z\",\"ms\":1.5}\n");
    folder.run(&["init", "--force", "raw/visits.json"]);
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&["sql", "--format", "csv", "SELECT id, ms FROM silver.visits"]);
    assert_eq!(rows, "id,ms\n1,1.5\n");
    let inferred = folder.stdout(&["check", "--infer", "raw/visits.json", "--format", "csv"]);
    assert_eq!(
        inferred,
        "column,type,header,values,decided_by\nid,long,id,1 of 1,it is declared\nat,timestamptz,at,1 of 1,it is declared\nms,double,ms,1 of 1,it is declared\n"
    );
    let ids: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int32Array::from(vec![7]));
    let batch = arrow::array::RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let file = std::fs::File::create(folder.path().join("raw/parts.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    folder.run(&["init", "--force", "raw/parts.parquet"]);
    let inferred = folder.stdout(&["check", "--infer", "raw/parts.parquet", "--format", "csv"]);
    assert_eq!(inferred, "column,type,header,values,decided_by\nid,int,id,1 of 1,it is declared\n");
    folder.write("raw/stream-1", "{\"id\":1}{\"id\":2}");
    folder.run(&["init", "--force", "raw/stream-1"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    assert!(written.contains("\nformat = \"json\"\n"), "{written}");
    let refused = folder.seen(&["init", "--force", "raw", "raw/stream-1"]);
    assert!(refused.contains("raw is a folder; name one folder, or files"), "{refused}");
    let refused = folder.seen(&["init", "--force", "s3://bucket/orders/"]);
    assert!(refused.contains("is on S3: copy a file or two to here"), "{refused}");
}

/// Files that are named for days are a feed that is named for its folder, or as one says; each brings its columns.
#[test]
fn init_takes_a_folder_and_names_the_feed() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path().join("silversmith.toml")).unwrap();
    folder.write("raw/orders/2026-11-01.csv", "id,name\n1,a\n");
    folder.write("raw/orders/2026-11-02.csv", "id,name,city\n2,b,Rome\n");
    folder.run(&["init", "raw/orders"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    for line in [
        "directory = \"raw/orders\"",
        "name   = \"orders\"",
        "source = \"raw/orders/**/*.csv\"",
        "table = \"bronze.orders\"",
        "city = \"string\"",
    ] {
        assert!(written.lines().any(|written| written == line), "{line}: {written}");
    }
    folder.run(&["run", "--until-idle"]);
    let rows = ["sql", "--format", "csv", "SELECT id, city FROM silver.orders ORDER BY id"];
    assert_eq!(folder.stdout(&rows), "id,city\n1,\n2,Rome\n");

    let days = ["raw/orders/2026-11-01.csv", "raw/orders/2026-11-02.csv"];
    folder.run(&["init", "--force", days[0], days[1], "--name", "Sales orders"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    assert!(written.contains("table = \"bronze.sales_orders\"") && written.contains("city"));
}

#[test]
fn init_writes_a_configuration_that_runs() {
    let folder = Folder::new("");
    std::fs::remove_file(folder.path().join("silversmith.toml")).unwrap();
    folder.write("raw/Orders 2026.csv", "Order ID,Customer,Amount,Updated\n1,Ann,9.50,2026-01-31T10:00:00Z\n2,Bob,7.25,2026-01-31T11:00:00Z\n");
    folder.run(&["init", "raw/Orders 2026.csv"]);
    let written = std::fs::read_to_string(folder.path().join("silversmith.toml")).unwrap();
    insta::with_settings!({prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("init", written)
    });
    folder.run(&["check"]);
    folder.run(&["run", "--until-idle", "--lenient"]);
    let rows = folder.stdout(&[
        "sql",
        "--format",
        "csv",
        "SELECT order_id, amount FROM silver.orders ORDER BY 1",
    ]);
    assert_eq!(rows, "order_id,amount\n1,9.50\n2,7.25\n");
    redacted().bind(|| {
        insta::assert_snapshot!("init_again", folder.seen(&["init", "raw/Orders 2026.csv"]))
    });
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

/// Tables and columns are listed, several statements are answered, and a wrong name is met with the right one.
#[test]
fn sql_shows_what_there_is() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    folder.write("raw/1.csv", "id,name,updated\n1,a,2026-01-01\n2,,2026-01-01\n");
    folder.run(&["run", "--until-idle"]);
    redacted().bind(|| {
        insta::assert_snapshot!(
            "sql_shows",
            folder.seen(&["sql", "SHOW TABLES; SHOW TABLES IN gold; DESCRIBE silver.orders"])
        );
        insta::assert_snapshot!("sql_no_table", folder.seen(&["sql", "SELECT * FROM order"]));
        insta::assert_snapshot!(
            "sql_no_such",
            folder.seen(&["sql", "SELECT 1 FROM sliver.orders"])
        );
        insta::assert_snapshot!(
            "sql_no_column",
            folder.seen(&["sql", "SELECT nam FROM silver.orders"])
        );
    });
    let json = folder.stdout(&[
        "sql",
        "--format",
        "json",
        "SELECT id, name FROM silver.orders ORDER BY id",
    ]);
    assert_eq!(json, "{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":null}\n");
    let sql = "SELECT silver.orders.id FROM silver.orders JOIN bronze.orders b ON b.id = silver.orders.id \
               WHERE orders.id = 1";
    assert_eq!(folder.stdout(&["sql", "--format", "csv", sql]), "id\n1\n");
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'gold'";
    assert_eq!(folder.stdout(&["sql", "--format", "csv", tables]), "table_name\norders\n");
    folder.write("report.sql", "SELECT count(*) AS n FROM bronze.orders;\nSELECT 2 AS m;\n");
    assert_eq!(folder.stdout(&["sql", "--file", "report.sql", "--format", "csv"]), "n\n2\nm\n2\n");
    assert_eq!(folder.piped("SELECT 3 AS x", &["sql", "--format", "csv"]), "x\n3\n");

    // Ids of snapshots are taken back as JSON has them, and properties are an object.
    let line = folder.stdout(&["history", "bronze.orders", "--limit", "1", "--format", "json"]);
    let snapshot: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(snapshot["marks"]["batch-id"].is_string(), "{line}");
    let id = snapshot["snapshot_id"].to_string();
    assert!(id.starts_with('"'), "{id}");
    let sql =
        format!("SELECT count(*) AS n FROM bronze.orders VERSION AS OF {}", id.replace('"', "'"));
    assert_eq!(folder.stdout(&["sql", "--format", "csv", &sql]), "n\n2\n");
    let changes = [
        "sql",
        "--changes",
        "bronze.orders",
        "--from",
        &id,
        "--format",
        "csv",
        "SELECT count(*) AS n FROM changes",
    ];
    assert_eq!(folder.stdout(&changes), "n\n0\n");
}

/// From a row of silver back to its file, the row in it, its batch and the snapshots.
#[test]
fn a_row_is_traced_to_its_file() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", "max_objects = 1"));
    for (file, rows) in
        [("1", "1,a,2026-01-01\n2,b,2026-01-01\n"), ("2", "3,c,2026-01-01\n1,A,2026-01-02\n")]
    {
        folder.write(&format!("raw/{file}.csv"), &format!("id,name,updated\n{rows}"));
        folder.run(&["run", "--until-idle"]);
    }
    let traced = |condition: &str| -> Vec<serde_json::Value> {
        let args = ["objects", "--of", "silver.orders", "--where", condition, "--format", "json"];
        folder.stdout(&args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let sql = |sql: &str| folder.stdout(&["sql", "--format", "csv", sql]);
    let snapshot = |table: &str, nth: usize| -> i64 {
        let sql =
            sql(&format!("SELECT snapshot_id FROM {table}.snapshots ORDER BY sequence_number"));
        sql.lines().nth(nth).unwrap().parse().unwrap()
    };
    for (id, file, row, nth) in [(1, "2", 2, 2), (2, "1", 2, 1), (3, "2", 1, 2)] {
        let [found] = traced(&format!("id = {id}")).try_into().unwrap();
        let uri = found["_source_uri"].as_str().unwrap();
        assert!(uri.ends_with(&format!("raw/{file}.csv")), "{found}");
        assert_eq!((&found["id"], &found["_source_row"]), (&id.into(), &row.into()));
        assert_eq!(found["bronze_snapshot"], snapshot("bronze.orders", nth), "{found}");
        assert_eq!(found["silver_snapshot"], snapshot("silver.orders", nth), "{found}");
        assert!(found["batch_id"].is_string() && found["silver_merged_at"].is_string());
    }
    assert_eq!(traced("name = 'nobody'"), Vec::<serde_json::Value>::new());
    let seen = folder.seen(&["objects", "--of", "gold.orders"]);
    assert!(seen.contains("gold.orders is neither bronze nor silver of a pipeline"), "{seen}");
}
