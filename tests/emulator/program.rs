//! The program on a stand, as users run it: commands, workers, and what the tables hold after them.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::stand::{CREDENTIALS, PATIENCE, Stand, endpoint};
use crate::support::real_time;

impl Stand {
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silversmith"));
        command.args(args).current_dir(self.path()).env_remove("RUST_LOG");
        command.env("AWS_ENDPOINT_URL", endpoint()).envs(CREDENTIALS);
        command
    }

    /// Runs the program to its end; it is killed, and the test fails, when that takes too long.
    pub fn output(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let readers = [reader(child.stdout.take().unwrap()), reader(child.stderr.take().unwrap())];
        let began = real_time::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                let [_, stderr] = readers.map(|r| r.join().unwrap());
                panic!("silversmith {args:?} did not end:\n{}", String::from_utf8_lossy(&stderr));
            }
            real_time::block(Duration::from_millis(20));
        };
        let [stdout, stderr] = readers.map(|r| r.join().unwrap());
        Output { status, stdout, stderr }
    }

    pub fn stdout(&self, args: &[&str]) -> String {
        self.run(args).0
    }

    /// Runs a command that must succeed. Returns its stdout and stderr.
    pub fn run(&self, args: &[&str]) -> (String, String) {
        let output = self.output(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "silversmith {args:?}: {}\n{stderr}", output.status);
        (String::from_utf8(output.stdout).unwrap(), stderr)
    }

    /// Drains the queue with `run --until-idle`. Returns its stderr.
    pub fn run_until_idle(&self) -> String {
        self.run(&["run", "--until-idle", "--lenient"]).1
    }

    /// A worker that runs until it is stopped.
    pub fn worker(&self, log: &str) -> Worker {
        let file = std::fs::File::create(self.path().join(log)).unwrap();
        let mut command = self.command(&["run"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Worker(command.spawn().unwrap())
    }

    /// The rows of a query, as CSV without the header.
    pub fn sql(&self, sql: &str) -> Vec<String> {
        let (stdout, _) = self.run(&["sql", "--format", "csv", sql]);
        stdout.lines().skip(1).map(str::to_owned).collect()
    }

    /// Asserts that bronze holds each object's rows once, and that silver follows from bronze.
    pub fn assert_exactly_once(&self, objects: usize, rows: usize) {
        let counts = self.sql("SELECT count(*), count(DISTINCT _source_uri || _source_version || CAST(_event_time AS string)) FROM bronze.orders");
        assert_eq!(counts, [format!("{rows},{objects}")]);
        let doubled = self.sql("SELECT _source_uri, _source_row FROM bronze.orders GROUP BY _source_uri, _source_version, _event_time, _source_row HAVING count(*) > 1");
        assert!(doubled.is_empty(), "{doubled:?}");
        let wrong = self.sql(
            "SELECT count(*) FROM (
               SELECT id, name, row_number() OVER (PARTITION BY id ORDER BY updated DESC, _event_time DESC,
                 _source_uri DESC, _source_version DESC, _source_row DESC) AS nth FROM bronze.orders) b
             FULL JOIN silver.orders s ON b.id = s.id
             WHERE b.nth = 1 AND (s.name IS NULL OR s.name <> b.name) OR b.id IS NULL",
        );
        assert_eq!(wrong, ["0"]);
        let keys = self.sql("SELECT count(*) - count(DISTINCT id) FROM silver.orders");
        assert_eq!(keys, ["0"]);
    }
}

fn reader(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}

/// A running worker, killed at the latest when the test ends.
pub struct Worker(pub Child);

impl Worker {
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, and the end awaited.
    pub fn stop(mut self) {
        self.signal("-TERM");
        let began = real_time::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(40), "the worker does not stop");
            real_time::block(Duration::from_millis(20));
        }
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
