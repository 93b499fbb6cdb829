//! The program as a Lambda function, over the runtime API on loopback.

use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde_json::{Value, json};
use silversmith::ambient::{Ambient, SystemAmbient};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use super::stand::{Stand, Wish};
use crate::support::real_time;

type Answer = Result<Value, Value>;

/// What Lambda serves to its functions
/// ([runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html)).
struct Api {
    waiting: AsyncMutex<mpsc::Receiver<(String, i64, Value)>>,
    open: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

/// A function: the program, and the runtime API that it calls.
struct Function {
    api: Arc<Api>,
    invoke: mpsc::Sender<(String, i64, Value)>,
    child: Child,
    log: std::path::PathBuf,
}

impl Drop for Function {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Function {
    async fn start(stand: &Stand, environment: &[(&str, &str)]) -> Self {
        let (invoke, waiting) = mpsc::channel(10);
        let waiting = AsyncMutex::new(waiting);
        let api = Arc::new(Api { waiting, open: Mutex::default() });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(api.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        // As Lambda calls it: by the name `bootstrap`, without arguments.
        let bootstrap = stand.path().join("bootstrap");
        if !bootstrap.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_silversmith"), &bootstrap).unwrap();
        }
        let mut command = std::process::Command::new(bootstrap);
        let log = std::fs::File::create(stand.path().join("lambda.log")).unwrap();
        let child = command
            .current_dir(stand.path())
            .env_remove("RUST_LOG")
            .env("AWS_ENDPOINT_URL", super::stand::endpoint())
            .envs(super::stand::CREDENTIALS)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "silversmith")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("SILVERSMITH_LOG_FORMAT", "json")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { api, invoke, child, log: stand.path().join("lambda.log") }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    async fn invoke(&self, payload: Value, time: Duration) -> Answer {
        let id = SystemAmbient.uuid().to_string();
        let (answered, answer) = oneshot::channel();
        self.api.open.lock().unwrap().insert(id.clone(), answered);
        let deadline = SystemAmbient.now().timestamp_millis() + time.as_millis() as i64;
        self.invoke.send((id, deadline, payload)).await.unwrap();
        let answer = real_time::within(Duration::from_secs(60), answer).await;
        answer.unwrap_or_else(|| panic!("no answer:\n{}", self.log())).unwrap()
    }
}

async fn next(State(api): State<Arc<Api>>) -> (HeaderMap, String) {
    let next = api.waiting.lock().await.recv().await;
    let Some((id, deadline, payload)) = next else { return std::future::pending().await };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:000000000000:function:silversmith".to_owned(),
        ),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    (headers, payload.to_string())
}

async fn response(State(api): State<Arc<Api>>, Path(id): Path<String>, body: String) {
    answered(&api, &id, Ok(serde_json::from_str(&body).unwrap()));
}

async fn error(State(api): State<Arc<Api>>, Path(id): Path<String>, body: String) {
    answered(&api, &id, Err(serde_json::from_str(&body).unwrap()));
}

fn answered(api: &Api, id: &str, answer: Answer) {
    let open = api.open.lock().unwrap().remove(id).unwrap();
    open.send(answer).unwrap();
}

/// What an event source mapping makes of the queue's messages.
async fn batch(stand: &Stand) -> (Value, Vec<String>) {
    let (mut records, mut ids) = (Vec::new(), Vec::new());
    loop {
        let request = stand.sqs.receive_message().queue_url(&stand.queue).visibility_timeout(60);
        let request = request.max_number_of_messages(10).wait_time_seconds(1);
        let messages = request.send().await.unwrap().messages.unwrap_or_default();
        if messages.is_empty() {
            return (json!({"Records": records}), ids);
        }
        for message in messages {
            ids.push(message.message_id().unwrap().to_owned());
            records.push(json!({
                "messageId": message.message_id(), "receiptHandle": message.receipt_handle(),
                "body": message.body(), "eventSource": "aws:sqs",
                "attributes": {"ApproximateReceiveCount": "1"},
                "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:queue", "awsRegion": "eu-west-1"
            }));
        }
    }
}

fn rows(stand: &Stand, table: &str) -> String {
    stand.stdout(&["sql", "--format", "csv", &format!("SELECT count(*) AS n FROM {table}")])
}

const PLENTY: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_ingested_and_only_what_is_not_durable_is_reported() {
    let stand = Stand::new().await;
    stand.put("1.csv", "id,updated\n1,2026-01-01\n").await;
    stand.put("2.csv", "id,updated\n2,2026-01-01\n").await;
    stand.put("bad.csv", "PK\u{3}\u{4}\0\0").await;
    stand.announced(3).await;
    let (event, ids) = batch(&stand).await;
    assert_eq!(ids.len(), 4, "the test event is one of them");
    let function = Function::start(&stand, &[]).await;
    // An invocation without time reports all of them as failed, before its deadline.
    let answer = function.invoke(event.clone(), Duration::from_millis(500)).await.unwrap();
    let failures = answer["batchItemFailures"].as_array().unwrap().len();
    assert_eq!(failures, 4, "{answer}");
    let answer = function.invoke(event.clone(), PLENTY).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}), "{}", function.log());
    assert_eq!(rows(&stand, "silver.orders"), "n\n2\n");
    assert_eq!(stand.dead_letters().await.len(), 1);
    // Delivered again, as SQS may: nothing comes twice, nothing fails.
    let answer = function.invoke(event, PLENTY).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(rows(&stand, "bronze.orders"), "n\n2\n");
    for line in function.log().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_now_is_reported_and_the_rest_is_done() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("1.csv", "id,updated\n1,2026-01-01\n").await;
    stand.send(&stand.event("1.csv", &etag, None)).await;
    // The event has an impossible version: S3 refuses the request.
    stand.send(&stand.event("2.csv", "abc", Some("no-such-version"))).await;
    let (event, _) = batch(&stand).await;
    let function = Function::start(&stand, &[]).await;
    let answer = function.invoke(event.clone(), PLENTY).await.unwrap();
    let failures = answer["batchItemFailures"].as_array().unwrap();
    assert_eq!(failures.len(), 1, "{answer} {}", function.log());
    assert_eq!(rows(&stand, "silver.orders"), "n\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_silversmiths_own_events() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    stand.put("1.csv", "id,updated\n1,2026-01-01\n").await;
    let function = Function::start(&stand, &[("SILVERSMITH_LAMBDA_MERGE", "event")]).await;
    let done = function.invoke(json!({"step": "bronze"}), PLENTY).await.unwrap();
    assert_eq!(done["step"], "bronze");
    let lines = done["lines"].to_string();
    assert!(lines.contains("1 of 1 object ingested") || lines.contains("ingested"), "{lines}");
    let committed = json!({
        "source": "silversmith", "detail-type": "bronze.committed", "detail": {"pipeline": "orders"}
    });
    let merged = function.invoke(committed, PLENTY).await.unwrap();
    assert!(merged["lines"].to_string().contains("1 inserted"), "{merged}");
    assert_eq!(rows(&stand, "gold.orders"), "n\n1\n");
    // Messages alone leave silver to the function that the event invokes.
    let (etag, _) = stand.put("2.csv", "id,updated\n2,2026-01-01\n").await;
    stand.send(&stand.event("2.csv", &etag, None)).await;
    let (event, _) = batch(&stand).await;
    let answer = function.invoke(event, PLENTY).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(rows(&stand, "bronze.orders"), "n\n2\n");
    assert_eq!(rows(&stand, "silver.orders"), "n\n1\n");
    function
        .invoke(json!({"source": "aws.scheduler", "detail-type": "Scheduled Event"}), PLENTY)
        .await
        .unwrap();
    assert_eq!(rows(&stand, "silver.orders"), "n\n2\n");
    let refused = function.invoke(json!({"hello": "world"}), PLENTY).await.unwrap_err();
    assert!(refused["errorMessage"].as_str().unwrap().contains("unsupported event"), "{refused}");
    // No time: the step fails, and says so.
    let cut = function.invoke(json!({"step": "silver"}), Duration::from_secs(1)).await.unwrap_err();
    assert!(cut["errorMessage"].as_str().unwrap().contains("more time"), "{cut}");
}

/// A failing merge holds up no message: bronze ingests, and the log has the error.
#[tokio::test(flavor = "multi_thread")]
async fn failing_silver_does_not_hold_up_bronze() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("1.csv", "id,updated\n1,2026-01-01\n").await;
    stand.send(&stand.event("1.csv", &etag, None)).await;
    stand.run_until_idle();
    // Another order needs a rebuild: until then, merges fail.
    stand.reconfigure("order_by = [\"updated\"]", "order_by = [\"id\"]");
    let (etag, _) = stand.put("2.csv", "id,updated\n2,2026-01-01\n").await;
    stand.send(&stand.event("2.csv", &etag, None)).await;
    let (event, _) = batch(&stand).await;
    let function = Function::start(&stand, &[]).await;
    let answer = function.invoke(event, PLENTY).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}), "{}", function.log());
    assert_eq!(rows(&stand, "bronze.orders"), "n\n2\n");
    assert!(function.log().contains("silver failed; bronze goes on"), "{}", function.log());
}
