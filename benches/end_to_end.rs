//! From a message in the queue, or a file in a folder, to rows in silver, on stand-ins for S3 and SQS: objects/s,
//! rows/s, MB/s, latency, peak memory.
//!
//! ```sh
//! cargo build --profile dist
//! SILVERSMITH_BENCH_BINARY=target/dist/silversmith cargo bench --profile dev --bench end_to_end
//! ```
//! Without the variable, the development build is measured. The benchmark starts the program as users do, feeds
//! it and watches it. The emulator is slow and shares the machine, so events are sent in batches. Every run is
//! compared with a bare one that receives the same messages, reads the same objects, deletes the messages, and
//! does nothing else.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark measures by the machine's clock, prints its findings, and panics on failure"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, QueueAttributeName, SendMessageBatchRequestEntry,
};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use silversmith::ambient::{SharedAmbient, SystemAmbient};
use silversmith::lake::catalog::JdbcCatalog;
use silversmith::lake::{Lake, Table, local_files, s3_files};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn script(args: &[&str]) -> String {
    let mut command = Command::new("bash");
    let output = command.args(args).current_dir(ROOT).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// LocalStack and Postgres, started for this run and stopped with it.
struct Services {
    folder: tempfile::TempDir,
    aws: String,
    postgres: String,
}

impl Services {
    fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let below = |name: &str| folder.path().join(name).display().to_string();
        let aws = script(&["localstack/start.sh", &below("aws")]);
        let postgres = script(&["tests/services/postgres.sh", "start", &below("postgres")]);
        Self { folder, aws, postgres }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let below = |name: &str| self.folder.path().join(name).display().to_string();
        script(&["tests/services/postgres.sh", "stop", &below("postgres")]);
        script(&["localstack/stop.sh", &below("aws")]);
    }
}

struct Bench {
    services: Services,
    binary: PathBuf,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
}

/// Buckets, queues and a configuration for one run.
struct Run {
    name: String,
    queue: String,
    folder: tempfile::TempDir,
}

/// The settings of AWS for the program.
fn aws_environment(endpoint: &str) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

fn rows_of(file: usize, rows: usize) -> String {
    let mut text = "id,name,city,amount,active,updated\n".to_owned();
    for row in 0..rows {
        let id = file * rows + row;
        let (city, cents) = (id % 977, id % 100);
        text.push_str(&format!("{id},customer {id},city {city},{row}.{cents:02},true,{file}\n"));
    }
    text
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Peak resident memory of a process, in MiB; none once it has ended.
fn peak_memory(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

impl Bench {
    async fn start() -> Self {
        let services = Services::start();
        let binary = std::env::var("SILVERSMITH_BENCH_BINARY").map(PathBuf::from);
        let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_silversmith").into());
        let binary = std::fs::canonicalize(Path::new(ROOT).join(binary)).unwrap();
        let credentials = aws_sdk_s3::config::Credentials::new("test", "test", None, None, "bench");
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
                aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
            ))
            .build_https();
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(http)
            .region(aws_config::Region::new("eu-west-1"))
            .credentials_provider(credentials)
            .endpoint_url(&services.aws)
            .load()
            .await;
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let (s3, sqs) = (aws_sdk_s3::Client::from_conf(s3), aws_sdk_sqs::Client::new(&config));
        Self { services, binary, s3, sqs }
    }

    async fn run(&self, source: &str) -> Run {
        let name = format!("b{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let queue = |name: String| async move {
            let made = self.sqs.create_queue().queue_name(name).send().await.unwrap();
            made.queue_url.unwrap()
        };
        let (events, dlq) = (queue(name.clone()).await, queue(format!("{name}-dlq")).await);
        let region = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::EuWest1)
            .build();
        let bucket = self.s3.create_bucket().bucket(&name).create_bucket_configuration(region);
        bucket.send().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("raw")).unwrap();
        let lake = match source {
            "queue" => format!(
                "catalog = \"{}\"\nwarehouse = \"s3://{name}/lake\"\ncheckpoints = \"s3://{name}/checkpoints\"\n[source]\nqueue = \"{events}\"\ndlq = \"{dlq}\"",
                self.services.postgres
            ),
            _ => "catalog = \"sqlite:catalog.db\"\nwarehouse = \"lake\"\ncheckpoints = \"checkpoints\"\n[source]\ndirectory = \"raw\"\nsettle = \"0s\"".to_owned(),
        };
        let objects = if source == "queue" { format!("s3://{name}/") } else { String::new() };
        let text = format!(
            "[lake]\nname = \"{name}\"\n{lake}\n[[pipeline]]\nname = \"c\"\nsource = \"{objects}raw/**/*.csv\"\n[pipeline.batch]\nmax_wait = \"2s\"\n[pipeline.bronze]\ntable = \"bronze.c\"\n[pipeline.silver]\ntable = \"silver.c\"\nkeys = [\"id\"]\norder_by = [\"updated\"]\n"
        );
        std::fs::write(folder.path().join("silversmith.toml"), text).unwrap();
        Run { name, queue: events, folder }
    }

    fn program(&self, run: &Run, args: &[&str]) -> Child {
        self.program_at(run, args, &self.services.aws)
    }

    fn program_at(&self, run: &Run, args: &[&str], endpoint: &str) -> Child {
        let log = std::fs::File::create(run.folder.path().join("log")).unwrap();
        Command::new(&self.binary)
            .args(args)
            .current_dir(run.folder.path())
            .envs(aws_environment(endpoint))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Puts objects and returns the bodies of their events.
    async fn put(
        &self,
        run: &Run,
        files: std::ops::Range<usize>,
        rows: usize,
    ) -> (Vec<String>, u64) {
        let mut bytes = 0;
        let mut bodies = Vec::new();
        let mut puts = futures::stream::iter(files)
            .map(|file| async move {
                let text = rows_of(file, rows);
                let key = format!("raw/{file}.csv");
                let size = text.len() as u64;
                let put = self.s3.put_object().bucket(&run.name).key(&key);
                let put = put.body(ByteStream::from(text.into_bytes())).send().await.unwrap();
                let body = serde_json::json!({"Records": [{
                    "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                    "eventTime": Utc::now().to_rfc3339(), "s3": {"bucket": {"name": run.name},
                    "object": {"key": key, "size": size, "eTag": put.e_tag().unwrap().trim_matches('"')}}}]});
                (body.to_string(), size)
            })
            .buffer_unordered(8);
        while let Some((body, size)) = puts.next().await {
            bodies.push(body);
            bytes += size;
        }
        (bodies, bytes)
    }

    async fn send(&self, queue: &str, bodies: &[String]) {
        for some in bodies.chunks(10) {
            let entries = some.iter().enumerate().map(|(index, body)| {
                let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
                entry.message_body(body).build().unwrap()
            });
            let request = self.sqs.send_message_batch().queue_url(queue);
            request.set_entries(Some(entries.collect())).send().await.unwrap();
        }
    }

    /// The emulator alone: the same messages received and deleted, the same objects read.
    async fn bare(&self, run: &Run, objects: usize) -> f64 {
        let began = Instant::now();
        let left = std::sync::atomic::AtomicUsize::new(objects);
        let left = &left;
        let one = |_| async move {
            use std::sync::atomic::Ordering::SeqCst;
            while left.load(SeqCst) > 0 {
                let receive = self.sqs.receive_message().queue_url(&run.queue);
                let received = receive.max_number_of_messages(10).send().await.unwrap();
                let mut deletes = Vec::new();
                for (index, message) in received.messages().iter().enumerate() {
                    let body: serde_json::Value =
                        serde_json::from_str(message.body().unwrap()).unwrap();
                    let key = body["Records"][0]["s3"]["object"]["key"].as_str().unwrap();
                    let get = self.s3.get_object().bucket(&run.name).key(key).send().await;
                    get.unwrap().body.collect().await.unwrap();
                    let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
                    let receipt = message.receipt_handle().unwrap();
                    deletes.push(entry.receipt_handle(receipt).build().unwrap());
                }
                if !deletes.is_empty() {
                    let count = deletes.len();
                    let delete = self.sqs.delete_message_batch().queue_url(&run.queue);
                    delete.set_entries(Some(deletes)).send().await.unwrap();
                    left.fetch_sub(count, SeqCst);
                }
            }
        };
        futures::future::join_all((0..8).map(one)).await;
        began.elapsed().as_secs_f64()
    }

    async fn look(&self, run: &Run, source: &str) -> Lake {
        let clock: SharedAmbient = Arc::new(SystemAmbient);
        let (catalog, files) = match source {
            "queue" => {
                (self.services.postgres.clone(), s3_files(self.s3.clone(), 64 << 20, &clock))
            }
            _ => {
                let path = run.folder.path().join("catalog.db");
                (format!("sqlite:{}", path.display()), local_files())
            }
        };
        let catalog = JdbcCatalog::connect(&catalog, &run.name).await.unwrap();
        Lake::new(Arc::new(catalog), files, "nothing is written", clock)
    }

    async fn depth(&self, queue: &str) -> usize {
        let request = self.sqs.get_queue_attributes().queue_url(queue);
        let answer = request.attribute_names(QueueAttributeName::All).send().await.unwrap();
        let all = answer.attributes.unwrap();
        ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            .iter()
            .map(|name| all[&QueueAttributeName::from(*name)].parse::<usize>().unwrap())
            .sum()
    }
}

async fn table(lake: &Lake, name: &str) -> Option<Table> {
    lake.find(&name.parse().unwrap()).await.unwrap()
}

async fn rows(lake: &Lake, name: &str) -> usize {
    let snapshot = table(lake, name).await.and_then(|t| t.current());
    snapshot.map_or(0, |s| s.summary["total-records"].parse().unwrap())
}

/// For every bronze commit: its count of objects, and when silver had merged it.
async fn merged_at(lake: &Lake) -> Vec<(usize, DateTime<Utc>)> {
    let (bronze, silver) =
        (table(lake, "bronze.c").await.unwrap(), table(lake, "silver.c").await.unwrap());
    let key = format!("{}-sequence-number", silversmith::silver::MERGED);
    let merges: BTreeMap<i64, DateTime<Utc>> = silver
        .snapshots()
        .iter()
        .filter_map(|s| Some((s.summary.get(&key)?.parse().unwrap(), s.at)))
        .collect();
    let commits = bronze.snapshots();
    let counted = commits.iter().filter_map(|s| {
        let objects = s.summary.get(silversmith::bronze::OBJECTS)?.parse().unwrap();
        merges.range(s.sequence.0..).next().map(|(_, at)| (objects, *at))
    });
    counted.collect()
}

/// Single small objects, one after the other, on an idle pipeline.
async fn lone(bench: &Bench, objects: usize) {
    let run = bench.run("queue").await;
    let (bodies, _) = bench.put(&run, 0..objects + 1, 100).await;
    let lake = bench.look(&run, "queue").await;
    let mut worker = bench.program(&run, &["run"]);
    let mut waits = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let sent = Utc::now();
        bench.send(&run.queue, std::slice::from_ref(body)).await;
        while rows(&lake, "silver.c").await < (number + 1) * 100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let at = table(&lake, "silver.c").await.unwrap().current().unwrap().at;
        waits.push((at - sent).num_milliseconds() as f64 / 1_000.0);
        // Until the pipeline is idle again, its message deleted.
        while bench.depth(&run.queue).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let memory = peak_memory(&worker).unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    // The first one makes the tables.
    let first = waits.remove(0);
    waits.sort_by(f64::total_cmp);
    println!(
        "\nA lone object of 100 rows, sent to in silver, {objects} times: p50 {:.2} s, p99 {:.2} s (the very first, which makes the tables: {first:.2} s); peak {memory} MiB\n",
        percentile(&waits, 0.5),
        percentile(&waits, 0.99),
    );
}

async fn fleet(bench: &Bench, workers: usize, files: usize, size: usize) {
    let run = bench.run("queue").await;
    let (bodies, bytes) = bench.put(&run, 0..files, size).await;
    bench.send(&run.queue, &bodies).await;
    let bare = bench.bare(&run, files).await;
    let lake = bench.look(&run, "queue").await;
    let mut fleet: Vec<Child> = (0..workers).map(|_| bench.program(&run, &["run"])).collect();
    // Started, and waiting for messages.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (began, sent) = (Instant::now(), Utc::now());
    bench.send(&run.queue, &bodies).await;
    let sending = began.elapsed().as_secs_f64();
    while rows(&lake, "silver.c").await < files * size {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < Duration::from_secs(600), "the run does not end");
    }
    let took = began.elapsed().as_secs_f64();
    let memory = fleet.iter().filter_map(peak_memory).max().unwrap();
    for worker in &mut fleet {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let mut waits: Vec<f64> = Vec::new();
    for (objects, at) in merged_at(&lake).await {
        let wait = (at - sent).num_milliseconds() as f64 / 1_000.0;
        waits.extend(std::iter::repeat_n(wait, objects));
    }
    waits.sort_by(f64::total_cmp);
    println!(
        "| {workers} | {size} | {files} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {sending:.1} | {bare:.1} | {memory} |",
        files as f64 / took,
        (files * size) as f64 / took,
        bytes as f64 / took / 1e6,
        percentile(&waits, 0.5),
        percentile(&waits, 0.99),
        took,
    );
}

async fn directory(bench: &Bench, files: usize, size: usize) {
    let run = bench.run("directory").await;
    let mut bytes = 0;
    for file in 0..files {
        let text = rows_of(file, size);
        bytes += text.len();
        std::fs::write(run.folder.path().join(format!("raw/{file}.csv")), text).unwrap();
    }
    let timed = |args: &[&str]| {
        let began = Instant::now();
        let mut child = bench.program(&run, args);
        let mut memory = 0;
        while child.try_wait().unwrap().is_none() {
            memory = memory.max(peak_memory(&child).unwrap_or(0));
            std::thread::sleep(Duration::from_millis(5));
        }
        (began.elapsed().as_secs_f64(), memory)
    };
    let (bronze, memory) = timed(&["bronze"]);
    let (silver, merging) = timed(&["silver"]);
    let lake = bench.look(&run, "directory").await;
    assert_eq!(rows(&lake, "silver.c").await, files * size);
    println!(
        "| {size} | {files} | {:.0} | {:.0} | {:.1} | {bronze:.1} | {silver:.1} | {} |",
        files as f64 / bronze,
        (files * size) as f64 / bronze,
        bytes as f64 / bronze / 1e6,
        memory.max(merging),
    );
}

/// A replay of ten thousand dead letters.
async fn replay(bench: &Bench, dead_letters: usize) {
    let run = bench.run("queue").await;
    let (bodies, _) = bench.put(&run, 0..10, 10).await;
    let all: Vec<String> = bodies.iter().cycle().take(dead_letters).cloned().collect();
    let dlq = format!("{}-dlq", run.queue);
    bench.send(&dlq, &all).await;
    let began = Instant::now();
    let mut child = bench.program(&run, &["dlq", "replay"]);
    let mut memory = 0;
    while child.try_wait().unwrap().is_none() {
        memory = memory.max(peak_memory(&child).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed().as_secs_f64();
    assert_eq!((bench.depth(&dlq).await, bench.depth(&run.queue).await), (0, dead_letters));
    println!(
        "\n`dlq replay` of {dead_letters}: {took:.1} s, {:.0}/s, peak {memory} MiB",
        dead_letters as f64 / took
    );
}

/// The listing API of an S3 with a million keys in a hundred folders.
async fn many_keys(folders: usize, keys: usize) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |head: &str| {
        let target = head.split_whitespace().nth(1).unwrap();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let parameter = |name: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            found.map(|value| value.replace("%2F", "/"))
        };
        if query.contains("uploads") {
            return "<ListMultipartUploadsResult></ListMultipartUploadsResult>".to_owned();
        }
        let prefix = parameter("prefix").unwrap_or_default();
        if parameter("delimiter").is_some() {
            let all = (0..folders).map(|n| {
                format!("<CommonPrefixes><Prefix>{prefix}{n:03}/</Prefix></CommonPrefixes>")
            });
            return format!(
                "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>",
                all.collect::<String>()
            );
        }
        let from: usize = parameter("continuation-token").map_or(0, |token| token.parse().unwrap());
        let to = (from + 1_000).min(keys);
        let objects = (from..to).map(|n| format!("<Contents><Key>{prefix}{n:07}.csv</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{n:032x}&quot;</ETag><Size>1000</Size></Contents>"));
        let objects: String = objects.collect();
        let more = match to < keys {
            true => format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{to}</NextContinuationToken>"
            ),
            false => "<IsTruncated>false</IsTruncated>".to_owned(),
        };
        format!("<ListBucketResult>{more}{objects}</ListBucketResult>")
    };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        let body = answer(&String::from_utf8_lossy(&head));
                        head.clear();
                        let length = body.len();
                        let text = format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n{body}"
                        );
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    url
}

/// A listing of a million keys, all of them older than the low watermark.
async fn listing(bench: &Bench, folders: usize, keys: usize) {
    let folder = tempfile::tempdir().unwrap();
    let text = "[lake]\nname = \"l\"\ncatalog = \"sqlite:catalog.db\"\nwarehouse = \"lake\"\ncheckpoints = \"checkpoints\"\n[[pipeline]]\nname = \"c\"\nsource = \"s3://raw/in/**/*.csv\"\n[pipeline.bronze]\ntable = \"bronze.c\"\n";
    std::fs::write(folder.path().join("silversmith.toml"), text).unwrap();
    std::fs::create_dir_all(folder.path().join("checkpoints/c")).unwrap();
    let checkpoint = r#"{"format_version": 1, "table": "bronze.c", "processed_through": null, "snapshot_id": null,
        "sequence_number": null, "floor": "2026-02-01T00:00:00Z", "source": "s3://raw/in/**/*.csv", "updated_at": "2026-02-01T00:00:00Z"}"#;
    std::fs::write(folder.path().join("checkpoints/c/bronze.json"), checkpoint).unwrap();
    let run = Run { name: "l".into(), queue: String::new(), folder };
    let url = many_keys(folders, keys).await;
    let began = Instant::now();
    let mut child = bench.program_at(&run, &["bronze"], &url);
    let mut memory = 0;
    while child.try_wait().unwrap().is_none() {
        memory = memory.max(peak_memory(&child).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = std::fs::read_to_string(run.folder.path().join("log")).unwrap();
    let all = folders * keys;
    assert!(said.contains(&format!("0 of {all} objects ingested")), "{said}");
    let took = began.elapsed().as_secs_f64();
    println!(
        "\n`bronze` listing {all} keys in {folders} folders, all older than the low watermark: {took:.1} s, {:.0} keys/s, peak {memory} MiB",
        all as f64 / took
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bench = Bench::start().await;
        println!("measured: {}", bench.binary.display());
        lone(&bench, 60).await;
        println!("| workers | rows a file | files | objects/s | rows/s | MB/s | p50 s | p99 s | all s | sending s | emulator alone s | peak MiB a worker |");
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
        for (size, files) in [(100, 1_000), (5_000, 100), (100_000, 8)] {
            for workers in [1, 2, 4] {
                fleet(&bench, workers, files, size).await;
            }
        }
        println!("\nFrom a folder (bronze; then silver):\n");
        println!("| rows a file | files | objects/s | rows/s | MB/s | bronze s | silver s | peak MiB |");
        println!("|---|---|---|---|---|---|---|---|");
        for (size, files) in [(100, 3_000), (5_000, 200), (100_000, 10)] {
            directory(&bench, files, size).await;
        }
        replay(&bench, 10_000).await;
        listing(&bench, 100, 10_000).await;
    });
}
