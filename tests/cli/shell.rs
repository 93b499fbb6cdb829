//! The shell of `sql` on a terminal: `script` makes one.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::Folder;

const PROMPT: &str = "silversmith> ";

/// A shell that someone types into.
struct Typing {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Typing {
    fn begin(folder: &Folder) -> Self {
        let shell = format!("{} sql", env!("CARGO_BIN_EXE_silversmith"));
        let mut child = std::process::Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &shell, "/dev/null"])
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", folder.path())
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut typing = Self { child, keys, screen, seen: String::new() };
        typing.until(PROMPT);
        typing
    }

    /// What is shown until this is.
    fn until(&mut self, text: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let count = self.screen.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "the shell has ended; `{text}` is not in: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]).replace('\r', ""));
        }
    }

    /// Types a line, and returns what is shown until this is, and the prompt after it.
    fn asks(&mut self, line: &str, until: &str) -> String {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
        let shown = self.until(until);
        self.until(PROMPT);
        shown
    }
}

#[test]
fn the_shell_answers_completes_and_remembers() {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", ""));
    folder.write("raw/1.csv", "id,name,updated\n1,a,2026-01-01\n2,b,2026-01-01\n");
    folder.run(&["run", "--until-idle"]);
    let mut typing = Typing::begin(&folder);
    let tables = typing.asks("\\d", "4 rows, ");
    assert!(tables.contains("| bronze    | orders_objects |"), "{tables}");
    // Two lines, and a table that is completed.
    let rows = typing.asks("SELECT count(*) AS n\nFROM silver.ord\t;", "1 row, ");
    assert!(rows.contains("| 2 |"), "{rows}");
    let error = typing.asks("SELECT * FROM orders;", "SHOW TABLES'`.");
    assert!(error.contains("did you mean bronze.orders, gold.orders or silver.orders?"), "{error}");
    typing.asks("\\format json", "in this format from now on");
    let json = typing.asks("SELECT 7 AS seven;", "1 row, ");
    assert!(json.contains("{\"seven\":7}"), "{json}");
    let columns = typing.asks("\\d silver.orders", "9 rows, ");
    assert!(columns.contains("{\"column\":\"id\",\"type\":\"long\",\"about\":\"\"}"), "{columns}");
    typing.keys.write_all(b"\\q\n").unwrap();
    let mut rest = String::new();
    typing.screen.read_to_string(&mut rest).unwrap();
    assert!(typing.child.wait().unwrap().success(), "{rest}");
    let history = std::fs::read_to_string(folder.path().join("silversmith/sql_history")).unwrap();
    assert!(history.contains("FROM silver.orders;"), "{history}");
}
