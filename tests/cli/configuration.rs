//! Configuration errors, before anything runs.

use std::path::Path;

use silversmith::config;

use super::{Folder, redacted};
use crate::support::{CUSTOMERS, LAKE};

#[test]
fn every_problem_is_named_with_its_line_and_the_nearest_key() {
    let config = r#"[lake]
name = "lake"
catalog = "mysql:db"
warehouse = "s3://bucket/lake"
checkpoints = "lake/checkpoints"

[source]
directory = "raw"

[[pipeline]]
name = "orders"
source = "raw/*.csv"
[pipeline.bronze]
table = "orders"
[pipeline.silver]
table = "silver.orders"
keys = []
mode = "merge-on-write"
delete_when = "op = "
[[pipeline.gold]]
table = "silver.orders"
sql = "SELEC 1"
"#;
    let folder = Folder::new(config);
    redacted().bind(|| insta::assert_snapshot!("problems", folder.seen(&["run"])));
    assert!(!folder.path().join("lake").exists(), "nothing was touched");
}

#[test]
fn unknown_keys_and_keys_of_later_features_are_refused_by_name() {
    let config = Folder::config("quque = \"x\"\nqueue = \"https://example\"", "max_object = 1")
        .replace("order_by =", "oder_by =");
    let folder = Folder::new(&config);
    redacted().bind(|| insta::assert_snapshot!("unknown_keys", folder.seen(&["check"])));
}

/// A wrong name, a value of another form, a key that is missing and one that fits nothing: all at once.
#[test]
fn problems_of_every_kind_are_named_at_once() {
    let config = r#"[lake]
name = "lake"
catalog = "sqlite:lake/catalog.db"
warehouse = "lake/warehouse"

[source]
directory = "raw"

[[pipeline]]
name = "orders"
source = "raw/**/*.csv"
[pipeline.batch]
max_objects = "10"
[pipeline.columns]
amount = "money"
[pipeline.silver]
table = "silver.orders"
keys = "order_id"
orderby = ["updated"]

[[pipeline]]
name = "customers"
source = "raw/**/*.csv"
[pipeline.bronze]
table = "bronze.customers"
[pipeline.silver]
table = "silver.customers"
mode = "merge-on-write"
"#;
    let folder = Folder::new(config);
    redacted().bind(|| insta::assert_snapshot!("all_kinds", folder.seen(&["check"])));
}

#[test]
fn a_delivery_has_one_rule() {
    let seen = |section: &str| {
        let section = format!("[pipeline.deliveries]\n{section}\n[pipeline.bronze]");
        let config = Folder::config("", "").replace("[pipeline.bronze]", &section);
        Folder::new(&config).seen(&["run"])
    };
    redacted().bind(|| {
        insta::assert_snapshot!("deliveries_none", seen("late_objects = \"reject\""));
        insta::assert_snapshot!("deliveries_two", seen("count = 1\nmanifest = \"m.json\""));
        insta::assert_snapshot!("deliveries_every", seen("complete_when = \"*\""));
        insta::assert_snapshot!("deliveries_folder", seen("manifest = \"a/m.json\""));
        insta::assert_snapshot!("deliveries_zero", seen("count = 0\nlate_objects = \"drop\""));
        insta::assert_snapshot!("deliveries_many", seen("count = 1000000000"));
    });
}

#[test]
fn a_history_needs_its_columns() {
    let silver = |more: &str| {
        let key = "keys     = [\"id\"]";
        let config = Folder::config("settle = \"0s\"", "max_objects = 1");
        config.replace(key, &format!("{key}\n{more}"))
    };
    let config = silver("history = \"type 2\"");
    redacted().bind(|| {
        insta::assert_snapshot!("history_unknown", Folder::new(&config).seen(&["run"]));
    });
    let config = silver("history = \"scd2\"");
    let config = config
        .replace("[\"id\"]", "[\"id\", \"is_current\"]")
        .replace("[\"updated\"]", "[\"valid_from\"]");
    redacted().bind(|| {
        insta::assert_snapshot!("history_names", Folder::new(&config).seen(&["run"]));
    });
    // What only the files show, `check` finds before silver is merged.
    let folder = Folder::new(&silver("history = \"scd2\""));
    folder.write("raw/1.csv", "id,valid_to,updated\n1,x,2026-01-31T10:00:00Z\n");
    folder.run(&["bronze"]);
    let seen = folder.seen(&["check"]);
    let why =
        "its rows have a column `valid_to`, and history = \"scd2\" makes a column of that name";
    assert!(seen.starts_with("exit 1") && seen.contains(why), "{seen}");
}

#[test]
fn a_missing_or_broken_file_says_what_to_do() {
    let folder = Folder::new("[lake\n");
    redacted().bind(|| {
        insta::assert_snapshot!("not_toml", folder.seen(&["status"]));
        insta::assert_snapshot!("no_file", folder.seen(&["status", "--config", "none.toml"]));
    });
}

#[test]
fn what_does_not_fit_a_catalog_is_reported() {
    let config = |lake: &str, table: &str| {
        format!(
            "[lake]\nname = \"lake\"\n{lake}\ncheckpoints = \"c\"\n[source]\ndirectory = \"raw\"\n[[pipeline]]\nname = \"p\"\nsource = \"raw/*.csv\"\n[pipeline.bronze]\ntable = \"{table}\"\n"
        )
    };
    let arn = "catalog = \"s3tables:arn:aws:s3tables:eu-west-1:123456789012:bucket/lake\"";
    for (name, lake, table) in [
        ("s3_tables", format!("{arn}\nwarehouse = \"s3://b/w\""), "Bronze.orders"),
        ("s3_tables_arn", "catalog = \"s3tables:lake\"".to_owned(), "a.b.orders"),
        ("glue", "catalog = \"glue:\"\nwarehouse = \"lake\"".to_owned(), "bronze.orders"),
        ("no_warehouse", "catalog = \"sqlite:c.db\"".to_owned(), "bronze.orders"),
        (
            "rest",
            "catalog = \"rest:host/v1\"\nrest = {auth = \"basic\", scope = \"x\"}".to_owned(),
            "bronze.orders",
        ),
        ("rest_elsewhere", format!("{arn}\nrest = {{scope = \"x\"}}"), "bronze.orders"),
        (
            "no_secret",
            "catalog = \"rest:http://127.0.0.1:1\"\nwarehouse = \"w\"\nrest = {auth = \"oauth2\"}"
                .to_owned(),
            "bronze.orders",
        ),
        (
            "variable",
            "catalog = \"sqlite:${NO_SUCH_PLACE}/c.db\"\nwarehouse = \"w\"".to_owned(),
            "bronze.orders",
        ),
    ] {
        let folder = Folder::new(&config(&lake, table));
        redacted()
            .bind(|| insta::assert_snapshot!(format!("catalog_{name}"), folder.seen(&["status"])));
    }
}

#[test]
fn what_is_wrong_with_expectations_is_reported() {
    let expect =
        |name: &str, more: &str| format!("[[pipeline.silver.expect]]\nname = \"{name}\"\n{more}\n");
    let all = [
        expect("sql", "sql = \"id > 0\""),
        expect("positive", "sql = \"id >\""),
        expect("small", "sql = \"id < 9\"\non_fail = \"skip\""),
        expect("small", "sql = \"id < 8\""),
        expect(" ", "sql = \"id < 8\"\nonfail = \"warn\""),
    ];
    let gold = "[[pipeline.gold]]";
    let config = Folder::config("", "").replace(gold, &format!("{}{gold}", all.concat()));
    let folder = Folder::new(&config);
    redacted().bind(|| insta::assert_snapshot!("expectations", folder.seen(&["check"])));
    let folder = Folder::new(&config.replace("onfail", "on_fail"));
    redacted().bind(|| insta::assert_snapshot!("expectations_values", folder.seen(&["check"])));
}

/// On Lambda, `worker.memory` is three quarters of the function's memory, unless the file sets it.
#[test]
fn a_functions_memory_is_its_default() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", "max_objects = 1"));
    let stderr = |mebibytes: &str| {
        let mut command = folder.command(&["check"]);
        let output = command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", mebibytes).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let small = stderr("256");
    assert!(small.contains("`worker.memory`: 192.0 MiB is too little"), "{small}");
    assert!(!stderr("512").contains("worker.memory"), "{}", stderr("512"));
}

/// The folder of the key index is one of this machine, relative to the file as other paths are.
#[test]
fn the_state_is_kept_in_a_folder_of_this_machine() {
    let parsed = |state: &str| {
        let source = "[source]\ndirectory = \"raw\"\n";
        let text = format!("{LAKE}[worker]\nstate = \"{state}\"\n{source}{CUSTOMERS}");
        config::parse(&text, Path::new("/base"))
    };
    for (state, folder) in [("cache", "/base/cache"), ("../x", "/x"), ("/var/cache", "/var/cache")]
    {
        let settings = parsed(state).unwrap();
        assert_eq!(settings.worker.state.as_deref(), Some(Path::new(folder)));
    }
    for wrong in ["", "s3://bucket/cache"] {
        let problems = parsed(wrong).unwrap_err();
        let message = &problems[0].message;
        assert!(message.contains("worker.state") && message.contains("not a folder"), "{message}");
    }
}
