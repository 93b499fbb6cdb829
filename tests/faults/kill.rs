//! `kill -9` of the real binary, in a loop, while it ingests, merges and refreshes.

use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cli::Folder;
use crate::support::real_time;

const ROUNDS: usize = 20;
const FILES: usize = 8;
const ROWS: usize = 50;

#[test]
fn twenty_kills_lose_nothing_and_double_nothing() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", "max_objects = 2"));
    let mut random = StdRng::seed_from_u64(20_260_131);
    let mut killed = 0;
    for round in 0..ROUNDS {
        for file in 0..FILES {
            let mut text = "id,name,updated\n".to_owned();
            for row in 0..ROWS {
                let id = (file * ROWS + row + round * 7) % 300;
                text.push_str(&format!("{id},r{round}f{file},{}\n", 1 + round * FILES + file));
            }
            folder.write(&format!("raw/r{round}-{file}.csv"), &text);
        }
        // As if the time to live of the dead worker's lock were over: else each round would wait for it.
        let lock = folder.path().join("lake/checkpoints/orders/silver.lock");
        if lock.exists() {
            std::fs::remove_file(lock).unwrap();
        }
        let mut child = folder
            .command(&["run", "--until-idle"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The kill comes at a random time: anywhere in a round.
        real_time::block(Duration::from_millis(random.random_range(20..400)));
        if child.try_wait().unwrap().is_none() {
            killed += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed > ROUNDS / 4, "only {killed} of {ROUNDS} were killed at work");
    folder.run(&["run", "--until-idle", "--lenient"]);

    let csv = |sql: &str| folder.stdout(&["sql", "--format", "csv", sql]);
    let counts =
        csv("SELECT count(*) AS n, count(DISTINCT _source_uri) AS files FROM bronze.orders");
    assert_eq!(counts, format!("n,files\n{},{}\n", ROUNDS * FILES * ROWS, ROUNDS * FILES));
    let doubled =
        csv("SELECT _source_uri, _source_row FROM bronze.orders GROUP BY 1, 2 HAVING count(*) > 1");
    assert_eq!(doubled, "_source_uri,_source_row\n");
    // Silver equals a query over bronze.
    let wrong = csv(
        "SELECT count(*) AS wrong FROM (
           SELECT id, name, row_number() OVER (PARTITION BY id ORDER BY updated DESC, _event_time DESC,
             _source_uri DESC, _source_version DESC, _source_row DESC) AS nth FROM bronze.orders) b
         FULL JOIN silver.orders s ON b.id = s.id
         WHERE b.nth = 1 AND (s.name IS NULL OR s.name <> b.name) OR b.id IS NULL",
    );
    assert_eq!(wrong, "wrong\n0\n");
    let keys = csv("SELECT count(*) = count(DISTINCT id) AS unique_keys FROM silver.orders");
    assert_eq!(keys, "unique_keys\ntrue\n");
    let gold =
        csv("SELECT (SELECT n FROM gold.orders) = (SELECT count(*) FROM silver.orders) AS same");
    assert_eq!(gold, "same\ntrue\n");
}
