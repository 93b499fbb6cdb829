//! Buckets, queues and a configuration for one test, on the emulator that `tests/run` starts.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;
use silversmith::ambient::{Ambient, SystemAmbient};

use crate::contract::backings::new_name;
use crate::support::real_time;

/// The emulator's URL. A test that needs it fails without it.
pub fn endpoint() -> String {
    #[allow(clippy::disallowed_methods, reason = "the test suite's own setting")]
    std::env::var("SILVERSMITH_TEST_AWS")
        .expect("SILVERSMITH_TEST_AWS is not set: run the suite by `bash tests/run`")
}

/// The program's credentials for AWS.
pub const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// The longest wait of a test.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub async fn clients() -> (aws_sdk_s3::Client, aws_sdk_sqs::Client) {
    clients_at(&endpoint()).await
}

pub async fn clients_at(endpoint: &str) -> (aws_sdk_s3::Client, aws_sdk_sqs::Client) {
    let config = config_at(endpoint).await;
    let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    (aws_sdk_s3::Client::from_conf(s3), aws_sdk_sqs::Client::new(&config))
}

/// The configuration of clients of a stand-in for AWS.
pub async fn config_at(endpoint: &str) -> aws_config::SdkConfig {
    use aws_config::{BehaviorVersion, Region};
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let credentials = aws_sdk_s3::config::Credentials::new("test", "test", None, None, "test");
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new("eu-west-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .load()
        .await
}

/// Makes a bucket.
pub async fn create_bucket(s3: &aws_sdk_s3::Client, name: &str) {
    use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
    let here = CreateBucketConfiguration::builder();
    let here = here.location_constraint(BucketLocationConstraint::EuWest1).build();
    let request = s3.create_bucket().bucket(name).create_bucket_configuration(here);
    request.send().await.unwrap();
}

/// What a test needs.
#[derive(Debug, Clone)]
pub struct Wish {
    pub versioned: bool,
    pub fifo: bool,
    /// Whether S3 notifies the queue; else the test sends the events.
    pub notified: bool,
    pub max_receives: u32,
    pub catalog: Option<String>,
    /// Further lines of `[source]`.
    pub source: String,
    /// Further lines of the pipeline, up to its silver table.
    pub pipeline: String,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            versioned: false,
            fifo: false,
            notified: true,
            max_receives: 50,
            catalog: None,
            source: String::new(),
            pipeline: String::new(),
        }
    }
}

/// See the module.
pub struct Stand {
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub name: String,
    pub queue: String,
    pub dlq: String,
    folder: tempfile::TempDir,
    wish: Wish,
}

impl Stand {
    pub async fn new() -> Self {
        Self::with(Wish::default()).await
    }

    pub async fn with(wish: Wish) -> Self {
        let (s3, sqs) = clients().await;
        let name = new_name();
        let suffix = if wish.fifo { ".fifo" } else { "" };
        let dlq = make_queue(&sqs, &format!("{name}-dlq{suffix}"), None).await;
        let redrive = (dlq.as_str(), wish.max_receives);
        let queue = make_queue(&sqs, &format!("{name}{suffix}"), Some(redrive)).await;
        create_bucket(&s3, &name).await;
        let folder = tempfile::tempdir().unwrap();
        let stand = Self { s3, sqs, name, queue, dlq, folder, wish };
        if stand.wish.versioned {
            stand.switch_versioning_on().await;
        }
        if stand.wish.notified {
            stand.notify().await;
        }
        stand.configure("");
        stand
    }

    async fn switch_versioning_on(&self) {
        use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
        let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let request = self.s3.put_bucket_versioning().bucket(&self.name);
        request.versioning_configuration(on).send().await.unwrap();
    }

    async fn notify(&self) {
        use aws_sdk_s3::types::{
            Event, FilterRule, FilterRuleName, NotificationConfiguration,
            NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
        };
        // The tables are in the same bucket, and their files are no raw objects.
        let raw = FilterRule::builder().name(FilterRuleName::Prefix).value("raw/").build();
        let raw = S3KeyFilter::builder().filter_rules(raw).build();
        let to = QueueConfiguration::builder()
            .filter(NotificationConfigurationFilter::builder().key(raw).build())
            .queue_arn(arn(&self.sqs, &self.queue).await)
            .events(Event::S3ObjectCreated)
            .build()
            .unwrap();
        let all = NotificationConfiguration::builder().queue_configurations(to).build();
        let request = self.s3.put_bucket_notification_configuration().bucket(&self.name);
        request.notification_configuration(all).send().await.unwrap();
    }

    /// Writes the configuration; `more` goes to the end of its pipeline.
    pub fn configure(&self, more: &str) {
        let catalog = self.wish.catalog.clone().unwrap_or("sqlite:catalog.db".to_owned());
        let Self { name, queue, dlq, .. } = self;
        let Wish { source, pipeline, .. } = &self.wish;
        let text = format!(
            r#"[lake]
name        = "{name}"
catalog     = "{catalog}"
warehouse   = "s3://{name}/lake"
checkpoints = "s3://{name}/checkpoints"

[source]
queue = "{queue}"
dlq   = "{dlq}"
{source}

[[pipeline]]
name   = "orders"
source = "s3://{name}/raw/**/*.csv"
{pipeline}
[pipeline.bronze]
table = "bronze.orders"
{more}
[pipeline.silver]
table    = "silver.orders"
keys     = ["id"]
order_by = ["updated"]

[[pipeline.gold]]
table = "gold.orders"
sql   = "SELECT count(*) AS n FROM silver"
"#
        );
        std::fs::write(self.folder.path().join("silversmith.toml"), text).unwrap();
    }

    /// Adds lines at the end of `[lake]`.
    pub fn configure_lake(&self, lines: &str) {
        self.reconfigure("[source]", &format!("{lines}\n[source]"));
    }

    pub fn reconfigure(&self, before: &str, after: &str) {
        let path = self.folder.path().join("silversmith.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(before));
        std::fs::write(path, text.replace(before, after)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    // --- S3 and SQS -----------------------------------------------------------

    /// Puts an object below `raw/`. Its ETag and version id.
    pub async fn put(&self, name: &str, content: &str) -> (String, Option<String>) {
        let request = self.s3.put_object().bucket(&self.name).key(format!("raw/{name}"));
        let body = ByteStream::from(content.as_bytes().to_vec());
        let put = request.body(body).send().await.unwrap();
        let etag = put.e_tag().unwrap().trim_matches('"').to_owned();
        (etag, put.version_id().map(str::to_owned))
    }

    pub async fn delete(&self, name: &str) {
        let request = self.s3.delete_object().bucket(&self.name).key(format!("raw/{name}"));
        request.send().await.unwrap();
    }

    /// The event of an object, as S3 would send it.
    pub fn event(&self, name: &str, etag: &str, version: Option<&str>) -> String {
        let key: String = format!("raw/{name}")
            .bytes()
            .map(|b| match b {
                b' ' => "+".to_owned(),
                b if b.is_ascii_alphanumeric() || b"-._/".contains(&b) => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect();
        let mut object =
            serde_json::json!({"key": key, "size": 10, "eTag": etag, "sequencer": "1"});
        if let Some(version) = version {
            object["versionId"] = version.into();
        }
        serde_json::json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1",
            "eventTime": SystemAmbient.now().to_rfc3339(), "eventName": "ObjectCreated:Put",
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": self.name}, "object": object}
        }]})
        .to_string()
    }

    pub async fn send(&self, body: &str) {
        self.send_to(&self.queue, std::slice::from_ref(&body.to_owned())).await;
    }

    pub async fn send_to(&self, queue: &str, bodies: &[String]) {
        use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
        for (ten, some) in bodies.chunks(10).enumerate() {
            let entries = some.iter().enumerate().map(|(index, body)| {
                let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
                let entry = match queue.ends_with(".fifo") {
                    true => entry
                        .message_group_id(format!("group-{}", index % 3))
                        .message_deduplication_id(format!("{ten}-{index}")),
                    false => entry,
                };
                entry.message_body(body).build().unwrap()
            });
            let request = self.sqs.send_message_batch().queue_url(queue);
            let sent = request.set_entries(Some(entries.collect())).send().await.unwrap();
            assert!(sent.failed().is_empty(), "{:?}", sent.failed());
        }
    }

    /// Receives and deletes every message of a queue. Returns their bodies.
    pub async fn drain(&self, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let request = self.sqs.receive_message().queue_url(queue);
            let request = request.max_number_of_messages(10).wait_time_seconds(1);
            let messages = request.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return bodies;
            }
            for message in messages {
                let receipt = message.receipt_handle.unwrap();
                let delete = self.sqs.delete_message().queue_url(queue);
                delete.receipt_handle(receipt).send().await.unwrap();
                bodies.push(message.body.unwrap());
            }
        }
    }

    /// Messages of a queue: visible, in flight, delayed.
    pub async fn depth(&self, queue: &str) -> usize {
        self.counted(
            queue,
            &[
                QueueAttributeName::ApproximateNumberOfMessages,
                QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
                QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            ],
        )
        .await
    }

    /// Messages of the queue that are in flight.
    pub async fn in_flight(&self) -> usize {
        let hidden = [QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
        self.counted(&self.queue, &hidden).await
    }

    async fn counted(&self, queue: &str, names: &[QueueAttributeName]) -> usize {
        let request = self.sqs.get_queue_attributes().queue_url(queue);
        let answer = request.attribute_names(QueueAttributeName::All).send().await.unwrap();
        let all = answer.attributes.unwrap();
        names.iter().map(|name| all.get(name).map_or(0, |n| n.parse::<usize>().unwrap())).sum()
    }

    /// Receives and deletes the dead letters.
    pub async fn dead_letters(&self) -> Vec<Value> {
        let bodies = self.drain(&self.dlq).await;
        let mut dead_letters: Vec<Value> =
            bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
        dead_letters.sort_by_key(|dead_letter| dead_letter["object"]["key"].to_string());
        dead_letters
    }

    /// Waits until S3 has sent the events of this many objects.
    pub async fn announced(&self, objects: usize) {
        // The first is its test event.
        let all = async || self.depth(&self.queue).await > objects;
        self.until(&format!("{objects} objects are announced"), all).await;
    }

    /// Waits until a condition holds; fails when it does not.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let began = real_time::now();
        while !so().await {
            assert!(began.elapsed() < PATIENCE, "{}: never came true: {what}", self.name);
            real_time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub async fn arn(sqs: &aws_sdk_sqs::Client, queue: &str) -> String {
    let request = sqs.get_queue_attributes().queue_url(queue);
    let answer = request.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
    answer.attributes.unwrap()[&QueueAttributeName::QueueArn].clone()
}

pub async fn make_queue(
    sqs: &aws_sdk_sqs::Client,
    name: &str,
    redrive: Option<(&str, u32)>,
) -> String {
    let mut request = sqs.create_queue().queue_name(name);
    if name.ends_with(".fifo") {
        request = request.attributes(QueueAttributeName::FifoQueue, "true");
    }
    if let Some((dlq, count)) = redrive {
        let arn = arn(sqs, dlq).await;
        let policy =
            serde_json::json!({"deadLetterTargetArn": arn, "maxReceiveCount": count.to_string()});
        request = request.attributes(QueueAttributeName::RedrivePolicy, policy.to_string());
    }
    request.send().await.unwrap().queue_url.unwrap()
}

/// A proxy in front of the emulator that cuts off every answer after this many bytes. Returns its URL.
pub async fn breaking_off_after(bytes: u64) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let target = endpoint().trim_start_matches("http://").to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let far = tokio::net::TcpStream::connect(target).await.unwrap();
                let (mut near_read, mut near_write) = near.into_split();
                let (far_read, mut far_write) = far.into_split();
                let asking = tokio::io::copy(&mut near_read, &mut far_write);
                let mut far_read = far_read.take(bytes);
                let answering = tokio::io::copy(&mut far_read, &mut near_write);
                // The first to end ends both: that is the cut.
                tokio::select! { _ = asking => {}, _ = answering => {} }
                drop(near_write.shutdown().await);
            });
        }
    });
    url
}

/// A CSV of orders: `rows` of them from `first` on, all updated at `updated`.
pub fn orders(first: usize, rows: usize, name: &str, updated: usize) -> String {
    let mut text = "id,name,updated\n".to_owned();
    for id in first..first + rows {
        text.push_str(&format!("{id},{name},{updated}\n"));
    }
    text
}
