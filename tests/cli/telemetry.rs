//! Metrics, health, traces and JSON logs of a running worker, as its operators see them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Folder;
use crate::support::real_time;

/// A worker on a folder, and its log lines.
struct Worker {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Worker {
    fn start(folder: &Folder, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = folder.command(&[&["run"], args].concat());
        let mut child =
            command.envs(environment.iter().copied()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for text in stderr.lines() {
                if line.send(text.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: vec![] }
    }

    /// The next line that has a text in it.
    fn line(&mut self, with: &str) -> String {
        let began = real_time::now();
        while began.elapsed() < Duration::from_secs(60) {
            if let Ok(line) = self.lines.recv_timeout(Duration::from_secs(60)) {
                self.seen.push(line.clone());
                if line.contains(with) {
                    return line;
                }
            }
        }
        panic!("no line with {with}: {:?}", self.seen)
    }

    fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(
            std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success()
        );
        assert!(self.child.wait().unwrap().success());
        self.seen.extend(self.lines.iter());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn folder() -> Folder {
    let folder = Folder::new(&Folder::config("settle = \"0s\"", "max_objects = 1"));
    folder.write("raw/1.csv", "id,updated\n1,2026-01-01\n2,2026-01-01\n");
    folder.write("raw/bad.csv", "PK\u{3}\u{4}\0\0");
    folder
}

/// The names of docs/telemetry.md.
fn documented() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/telemetry.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `silversmith_"));
    rows.filter_map(|row| Some(format!("silversmith_{}", row.split_once('`')?.0))).collect()
}

async fn get(url: &str) -> (u16, String) {
    silversmith::tls::use_ring();
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_served() {
    let folder = folder();
    let mut worker =
        Worker::start(&folder, &["--http", "0"], &[("SILVERSMITH_LOG_FORMAT", "json")]);
    let serving: Value = serde_json::from_str(&worker.line("serving /metrics")).unwrap();
    let url = format!("http://{}", serving["address"].as_str().unwrap());
    worker.line("gold refreshed");
    let (status, text) = get(&format!("{url}/metrics")).await;
    assert_eq!(status, 200);
    for line in [
        r#"silversmith_objects_total{outcome="ingested",pipeline="orders"} 1"#,
        r#"silversmith_objects_total{outcome="rejected",pipeline="orders"} 1"#,
        r#"silversmith_rows_total{layer="bronze",pipeline="orders"} 2"#,
        r#"silversmith_rows_total{layer="silver",pipeline="orders"} 2"#,
        r#"silversmith_commits_total{layer="bronze",outcome="committed",table="bronze.orders"} 1"#,
        r#"silversmith_commits_total{layer="silver",outcome="committed",table="silver.orders"} 1"#,
        r#"silversmith_step_duration_seconds_count{layer="silver",pipeline="orders"} 1"#,
        r#"silversmith_latency_seconds_count{layer="bronze",pipeline="orders"} 1"#,
        r#"silversmith_silver_lag_seconds{pipeline="orders"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    }
    let exposed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .filter(|name| name != "target_info")
        .collect();
    let undocumented: Vec<_> = exposed.difference(&documented()).cloned().collect();
    assert!(undocumented.is_empty(), "not in docs/telemetry.md: {undocumented:?}");
    assert_eq!(get(&format!("{url}/healthz")).await, (200, "alive\n".to_owned()));
    assert_eq!(get(&format!("{url}/readyz")).await, (200, "ready\n".to_owned()));
    // While it fails, it is alive and not ready, and says why.
    std::fs::remove_dir_all(folder.path().join("lake/warehouse")).unwrap();
    folder.write("raw/2.csv", "id,updated\n3,2026-01-01\n");
    worker.line("pipeline failed");
    let (status, why) = get(&format!("{url}/readyz")).await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("pipeline of orders: "), "{why}");
    assert_eq!(get(&format!("{url}/healthz")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_logs_carry_batches_and_the_lag_of_silver() {
    let folder = folder();
    let mut worker = Worker::start(&folder, &["--log-format", "json"], &[]);
    worker.line("gold refreshed");
    worker.stop();
    let lines: Vec<Value> =
        worker.seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap();
    let batch = of("bronze committed")["batch"].as_str().unwrap();
    assert_eq!(of("bronze committed")["pipeline"], "orders");
    let objects = folder.stdout(&["objects", "--format", "json"]);
    assert!(objects.lines().any(|line| line.contains(batch)), "{batch}: {objects}");
    let lag = &of("silver has caught up")["silver_lag_seconds"];
    assert!(lag.as_f64().unwrap() >= 0.0, "{lag}");
    assert_eq!(of("silver has caught up")["pipeline"], "orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_and_metrics_go_to_a_collector() {
    let (sent, mut received) = mpsc::unbounded_channel::<(&str, Bytes)>();
    let receive = |path: &'static str| {
        let sent = sent.clone();
        post(async move |body: Bytes| drop(sent.send((path, body))))
    };
    let router = Router::new()
        .route("/v1/traces", receive("traces"))
        .route("/v1/metrics", receive("metrics"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = folder();
    let mut command = folder.command(&["run", "--until-idle", "--lenient"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_SERVICE_NAME", "my-lake");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut traces, mut metrics) = (Vec::new(), Vec::new());
    while let Ok((path, body)) = received.try_recv() {
        if path == "traces" { &mut traces } else { &mut metrics }.extend_from_slice(&body);
    }
    // Texts stand in protobuf as they are.
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    for text in ["my-lake", "batch", "commit", "merge", "refresh", "bronze.orders"] {
        assert!(has(&traces, text), "{text} is not in the traces");
    }
    for text in ["my-lake", "silversmith.objects", "silversmith.step.duration", "ingested"] {
        assert!(has(&metrics, text), "{text} is not in the metrics");
    }
    // A collector that is down costs nothing but the data.
    let mut command = folder.command(&["run", "--until-idle", "--lenient"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
