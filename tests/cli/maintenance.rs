//! `maintain`, `repair` and what `check` finds of the tables' files.

use super::Folder;

/// A lake of seven commits.
fn with_small_files() -> Folder {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    for n in 0..7 {
        let rows = format!("id,name,updated\n{n},n{n},2026-01-31T10:00:0{n}Z\n");
        folder.write(&format!("raw/{n}.csv"), &rows);
        folder.run(&["run", "--until-idle", "--lenient"]);
    }
    folder
}

/// Of each row: table, what, before, after.
fn counts(csv: &str) -> Vec<String> {
    csv.lines().map(|line| line.split(',').take(4).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn maintain_compacts_and_says_what_it_did() {
    let folder = with_small_files();
    let rows = ["sql", "--format", "csv", "SELECT id, name FROM silver.orders ORDER BY id"];
    let before = folder.stdout(&rows);
    let expected = [
        "table what before after",
        "bronze.orders data files 7 1",
        "bronze.orders manifests 7 7",
        "bronze.orders snapshots 7 7",
        "bronze.orders orphans 0 0",
    ];
    let planned = folder.stdout(&["maintain", "bronze.orders", "--dry-run", "--format", "csv"]);
    assert_eq!(counts(&planned), expected);
    let done = folder.stdout(&["maintain", "--format", "csv"]);
    let files: Vec<String> =
        counts(&done).into_iter().filter(|row| row.contains(" data files ")).collect();
    assert_eq!(
        files,
        [
            "bronze.orders data files 7 1",
            "bronze.orders_objects data files 7 1",
            "silver.orders data files 7 1",
            "gold.orders data files 1 1",
        ]
    );
    assert_eq!(folder.stdout(&rows), before);
    let table = "SELECT count(*) AS n FROM bronze.orders.files";
    assert_eq!(folder.stdout(&["sql", "--format", "csv", table]), "n\n1\n");
    let says = |args: &[&str], exit: &str, words: &str| {
        let seen = folder.seen(args);
        assert!(seen.starts_with(exit) && seen.contains(words), "{seen}");
    };
    says(&["run", "--until-idle"], "exit 0", "nothing new");
    says(&["maintain", "silver.order"], "exit 2", "no pipeline writes table silver.order");
    says(&["maintain", "--older-than", "1h"], "exit 2", "younger than a day");
    says(&["repair"], "exit 0", "orders: nothing to repair");
}

#[test]
fn a_data_file_that_is_gone_is_found() {
    let folder = with_small_files();
    let data = folder.path().join("lake/warehouse/silver/orders/data");
    let mut files = std::fs::read_dir(data).unwrap();
    std::fs::remove_file(files.next().unwrap().unwrap().path()).unwrap();
    let seen = folder.seen(&["check"]);
    assert!(seen.starts_with("exit 1"), "{seen}");
    assert!(seen.contains("1 data file gone, the first: "), "{seen}");
    assert!(seen.contains("silversmith silver --rebuild"), "{seen}");
    folder.run(&["silver", "--rebuild"]);
    folder.run(&["check"]);
}

#[test]
fn a_lost_catalog_is_not_answered_with_a_second_lake() {
    let folder = with_small_files();
    std::fs::remove_file(folder.path().join("lake/catalog.db")).unwrap();
    let seen = folder.seen(&["run", "--until-idle"]);
    assert!(seen.starts_with("exit 2"), "{seen}");
    assert!(seen.contains("restore the catalog"), "{seen}");
}

/// The files of a copy are where they were: it is read, and never written.
#[test]
fn a_copied_lake_does_not_write_into_the_original() {
    let folder = with_small_files();
    let copy = Folder::new(&Folder::config("settle = \"0s\"", ""));
    let from = folder.path().join("lake");
    let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    copy.write("raw/new.csv", "id,name,updated\n100,new,2026-02-01T10:00:00Z\n");
    let rows = ["sql", "--format", "csv", "SELECT count(*) AS n FROM bronze.orders"];
    for (args, exit) in [
        (&["check"][..], "exit 1"),
        (&["bronze"], "exit 2"),
        (&["silver", "--rebuild"], "exit 2"),
        (&["run", "--until-idle"], "exit 2"),
        (&["maintain"], "exit 2"),
    ] {
        let seen = copy.seen(args);
        assert!(seen.starts_with(exit), "{args:?}: {seen}");
        assert!(seen.contains("outside of the warehouse"), "{args:?}: {seen}");
    }
    assert_eq!(copy.stdout(&rows), folder.stdout(&rows));
    assert_eq!(folder.stdout(&rows), "n\n7\n");
    let own = folder.seen(&["check"]);
    assert!(!own.contains("outside of the warehouse"), "{own}");
    // Where nothing is left to rewrite, no orphan of the original is looked for either.
    folder.run(&["maintain"]);
    let seen = copy.seen(&["maintain"]);
    assert!(seen.starts_with("exit 2") && seen.contains("outside of the warehouse"), "{seen}");
}
