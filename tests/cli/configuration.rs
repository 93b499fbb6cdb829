//! Configuration errors, before anything runs.

use super::{Folder, redacted};

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
mode = "merge-on-read"
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

#[test]
fn a_missing_or_broken_file_says_what_to_do() {
    let folder = Folder::new("[lake\n");
    redacted().bind(|| {
        insta::assert_snapshot!("not_toml", folder.seen(&["status"]));
        insta::assert_snapshot!("no_file", folder.seen(&["status", "--config", "none.toml"]));
    });
}
