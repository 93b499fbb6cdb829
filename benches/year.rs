//! A year on one lake, in minutes: thousands of commits by a worker that is killed again and again, with upkeep beside
//! it. Then the tables are compared with what they must hold, and measured before and after `maintain`.
//!
//! ```sh
//! cargo build --release
//! SILVERSMITH_BENCH_BINARY=target/release/silversmith cargo bench --bench year -- [COMMITS] [FOLDER]
//! ```
//! Each commit of bronze is one object of ten rows. With `SILVERSMITH_TEST_PYTHON`, the Python that
//! `tests/engines/install.sh` prepares, PyIceberg and DuckDB read silver, too. The lake stays in FOLDER, if one is named.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and stops where it cannot go on"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Rows of an object.
const ROWS: usize = 10;
/// Keys in all.
const KEYS: usize = 5_000;
/// Objects that wait for the worker at a time, at most.
const AHEAD: usize = 3_000;
/// The time between two looks at what is ingested.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The time between two runs of `maintain`.
const UPKEEP_EVERY: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[lake]
name = "lake"
catalog = "sqlite:lake/catalog.db"
warehouse = "lake/warehouse"
checkpoints = "lake/checkpoints"
[source]
directory = "raw"
settle = "0s"
[[pipeline]]
name = "orders"
source = "raw/**/*.csv"
[pipeline.batch]
max_objects = 1
[pipeline.bronze]
table = "bronze.orders"
[pipeline.silver]
table = "silver.orders"
keys = ["id"]
order_by = ["updated"]
mode = "merge-on-read"
[[pipeline.gold]]
table = "gold.orders"
sql = "SELECT count(*) AS keys, sum(updated) AS sum FROM silver"
"#;

struct Year {
    binary: PathBuf,
    folder: PathBuf,
    commits: usize,
    draws: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let commits = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let own = tempfile::tempdir().unwrap();
    let folder = arguments.get(1).map_or(own.path().to_owned(), PathBuf::from);
    let binary = std::env::var("SILVERSMITH_BENCH_BINARY")
        .expect("SILVERSMITH_BENCH_BINARY: the program to run");
    let binary = std::fs::canonicalize(binary).unwrap();
    std::fs::create_dir_all(folder.join("raw")).unwrap();
    std::fs::write(folder.join("silversmith.toml"), CONFIG).unwrap();
    let mut year = Year { binary, folder, commits, draws: 1 };
    let began = Instant::now();
    let kills = year.work();
    println!("{commits} objects, {kills} times kill -9: {:.0} s", began.elapsed().as_secs_f64());
    year.compare();
    year.keep_up();
    year.compare();
    year.other_engines();
}

impl Year {
    /// Feeds the worker until all objects are in silver, and kills it now and then. Returns how often.
    fn work(&mut self) -> usize {
        let (mut put, mut done, mut kills) = (0, 0, 0);
        let mut worker = self.program(&["run"]);
        let (mut killed, mut kept_up) = (Instant::now(), Instant::now());
        let mut upkeep: Option<Child> = None;
        let mut lives = self.life();
        let (mut said, mut looked) = (0, None);
        while done < self.commits {
            if looked.is_none_or(|looked: Instant| looked.elapsed() > LOOK_EVERY) {
                done = self.ingested();
                while put < self.commits.min(done + AHEAD) {
                    self.put(put);
                    put += 1;
                }
                if done / 1_000 > said {
                    said = done / 1_000;
                    println!("{done:>6} commits: {}", self.size());
                }
                looked = Some(Instant::now());
            }
            if killed.elapsed() > lives {
                worker.kill().unwrap();
                worker.wait().unwrap();
                worker = self.program(&["run"]);
                (killed, lives, kills) = (Instant::now(), self.life(), kills + 1);
            }
            if upkeep.as_mut().is_none_or(|run| run.try_wait().unwrap().is_some())
                && kept_up.elapsed() > UPKEEP_EVERY
            {
                upkeep = Some(self.program(&["maintain"]));
                kept_up = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        if let Some(mut run) = upkeep {
            run.wait().unwrap();
        }
        self.run(&["run", "--until-idle"]);
        kills
    }

    /// How long a worker lives: 5 to 45 s.
    fn life(&mut self) -> Duration {
        Duration::from_millis(5_000 + self.draw() % 40_000)
    }

    /// A number that differs from run to run of this function, and not from run to run of the benchmark.
    fn draw(&mut self) -> u64 {
        self.draws = self
            .draws
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.draws >> 33
    }

    /// Objects that bronze has.
    fn ingested(&self) -> usize {
        let table = self.folder.join("lake/warehouse/bronze/orders");
        if !table.exists() {
            return 0;
        }
        let count = "SELECT count(*) AS n FROM bronze.orders_objects WHERE outcome = 'ingested'";
        let output = self.command(&["sql", "--format", "csv", count]).output().unwrap();
        // Right after the start there is no such table.
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default()
    }

    fn put(&self, number: usize) {
        let mut text = "id,name,updated\n".to_owned();
        for (key, name, updated) in rows(number) {
            writeln!(text, "{key},{name},{updated}").unwrap();
        }
        let folder = self.folder.join(format!("raw/{:03}", number / 1_000));
        std::fs::create_dir_all(&folder).unwrap();
        // A file is there at once, or not at all.
        let hidden = self.folder.join("next");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, folder.join(format!("{number:06}.csv"))).unwrap();
    }

    /// Bronze has each row once, silver the newest of each key.
    fn compare(&self) {
        let mut newest: HashMap<usize, (String, usize)> = HashMap::new();
        for (key, name, updated) in (0..self.commits).flat_map(rows) {
            // Objects come in their order, and a later row of a key has a greater number.
            newest.insert(key, (name, updated));
        }
        let mut expected: Vec<String> = newest
            .into_iter()
            .map(|(key, (name, updated))| format!("{key},{name},{updated}"))
            .collect();
        expected.sort_unstable();
        let mut silver = self.sql("SELECT id, name, updated FROM silver.orders");
        silver.sort_unstable();
        assert_eq!(silver, expected, "silver");
        let bronze = "SELECT count(*), count(DISTINCT concat(_source_uri, '#', _source_row)) FROM bronze.orders";
        let count = self.commits * ROWS;
        assert_eq!(self.sql(bronze), [format!("{count},{count}")], "bronze");
        let sum: usize = silver
            .iter()
            .map(|row| row.rsplit(',').next().unwrap().parse::<usize>().unwrap())
            .sum();
        assert_eq!(
            self.sql("SELECT keys, sum FROM gold.orders"),
            [format!("{},{sum}", silver.len())]
        );
        println!(
            "bronze has {count} rows, each once; silver the newest of {} keys; gold agrees",
            silver.len()
        );
    }

    fn keep_up(&self) {
        println!("before maintain: {}", self.size());
        let began = Instant::now();
        let done = self.command(&["maintain"]).output().unwrap();
        assert!(done.status.success());
        print!("{}", String::from_utf8(done.stdout).unwrap());
        println!("after maintain ({:.1} s): {}", began.elapsed().as_secs_f64(), self.size());
    }

    fn other_engines(&self) {
        let Ok(python) = std::env::var("SILVERSMITH_TEST_PYTHON") else { return };
        let lake = self.folder.join("lake");
        let status = Command::new(&python)
            .arg(format!("{ROOT}/tests/engines/check.py"))
            .args([
                "check",
                "bronze.orders",
                "bronze.orders_objects",
                "silver.orders",
                "gold.orders",
            ])
            .args(["--catalog", &format!("sqlite:///{}", lake.join("catalog.db").display())])
            .args(["--warehouse", &lake.join("warehouse").display().to_string(), "--name", "lake"])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "the engines disagree");
        println!("PyIceberg and DuckDB agree on all four tables");
    }

    fn size(&self) -> String {
        let (mut data, mut metadata) = ((0, 0), (0, 0));
        weigh(&self.folder.join("lake/warehouse"), &mut |path, bytes| {
            let of =
                if path.iter().any(|part| part == "metadata") { &mut metadata } else { &mut data };
            *of = (of.0 + 1, of.1 + bytes);
        });
        let shown =
            |(files, bytes): (u64, u64)| format!("{files} files, {:.1} MB", bytes as f64 / 1e6);
        format!("data {}; metadata {}", shown(data), shown(metadata))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(&self.folder).env_remove("RUST_LOG");
        command
    }

    fn program(&self, args: &[&str]) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let command = &mut self.command(args);
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn run(&self, args: &[&str]) {
        assert!(self.program(args).wait().unwrap().success(), "{args:?}: see the log");
    }

    fn sql(&self, sql: &str) -> Vec<String> {
        let output = self.command(&["sql", "--format", "csv", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().skip(1).map(str::to_owned).collect()
    }
}

/// The rows of an object: key, name, and what orders them.
fn rows(number: usize) -> impl Iterator<Item = (usize, String, usize)> {
    (number * ROWS..(number + 1) * ROWS).map(move |row| {
        // A prime that shares no factor with the number of keys scatters them.
        let key = row * 7_919 % KEYS;
        (key, format!("name {row}"), row)
    })
}

fn weigh(folder: &Path, each: &mut impl FnMut(&Path, u64)) {
    // Files come and go meanwhile.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => weigh(&path, each),
            Ok(metadata) => each(&path, metadata.len()),
            Err(_) => {}
        }
    }
}
