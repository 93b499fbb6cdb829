//! The CloudFormation templates, deployed: the pipeline works in what they make.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::stand::{CREDENTIALS, clients_at, endpoint};
use crate::contract::backings::{ministack, moto, new_name, setting};
use crate::support::real_time;

/// The two stacks in an emulator, and a folder to work in.
struct Stack {
    name: String,
    endpoint: String,
    outputs: Value,
    folder: tempfile::TempDir,
}

impl Stack {
    fn deploy(endpoint: &str, parameters: &[&str]) -> Self {
        let name = new_name();
        let folder = tempfile::tempdir().unwrap();
        let mut stack = Self { name, endpoint: endpoint.to_owned(), outputs: Value::Null, folder };
        stack.create(parameters);
        stack
    }

    fn create(&mut self, parameters: &[&str]) {
        let deployed = self.emulate("deploy", parameters);
        assert_eq!(deployed["status"], "CREATE_COMPLETE");
        self.outputs = deployed["outputs"].clone();
    }

    fn output(&self, name: &str) -> &str {
        self.outputs[name].as_str().unwrap_or_else(|| panic!("no output {name}: {}", self.outputs))
    }

    fn python(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(setting("SILVERSMITH_TEST_BOTO3"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/emulate.py")).args(arguments);
        self.at_emulator(&mut command);
        command
    }

    fn at_emulator(&self, command: &mut Command) {
        command.env("AWS_ENDPOINT_URL", &self.endpoint).envs(CREDENTIALS);
        command.env("AWS_DEFAULT_REGION", "eu-west-1").current_dir(self.folder.path());
    }

    fn emulate(&self, what: &str, arguments: &[&str]) -> Value {
        self.emulate_on(&self.name, what, arguments)
    }

    fn emulate_on(&self, name: &str, what: &str, arguments: &[&str]) -> Value {
        let output = self.python(&[&[what, name], arguments].concat()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "emulate.py {what} {arguments:?}: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Uploads the example's configuration to the location in the template.
    async fn configure(&self, change: impl Fn(String) -> String) {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/infra/config/silversmith.toml");
        let text = change(std::fs::read_to_string(example).unwrap());
        let location = self.output("ConfigUri").strip_prefix("s3://").unwrap();
        let (bucket, key) = location.split_once('/').unwrap();
        let (s3, _) = clients_at(&self.endpoint).await;
        let request = s3.put_object().bucket(bucket).key(key).body(text.into_bytes().into());
        request.send().await.unwrap();
    }

    async fn put(&self, name: &str, text: &str) {
        let (s3, _) = clients_at(&self.endpoint).await;
        let request = s3.put_object().bucket(self.output("RawBucketName"));
        let request = request.key(format!("customers/{name}"));
        request.body(text.as_bytes().to_vec().into()).send().await.unwrap();
    }

    /// The program, with what the template gives to its tasks and functions.
    fn silversmith(&self, catalog: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silversmith"));
        command.args(arguments);
        self.with_variables(catalog, &mut command);
        command.output().unwrap()
    }

    fn with_variables(&self, catalog: &str, command: &mut Command) {
        self.at_emulator(command);
        command.env("SILVERSMITH_CONFIG", self.output("ConfigUri")).env("CATALOG", catalog);
        for (variable, output) in [
            ("CHECKPOINTS", "Checkpoints"),
            ("WAREHOUSE", "Warehouse"),
            ("EVENT_BUS", "EventBusName"),
            ("RAW_QUEUE_URL", "RawQueueUrl"),
            ("RAW_DLQ_URL", "RawDlqUrl"),
            ("RAW_BUCKET", "RawBucketName"),
        ] {
            if let Some(value) = self.outputs[output].as_str() {
                command.env(variable, value);
            }
        }
    }

    fn customers(&self, catalog: &str, namespace: &str) -> String {
        let sql =
            format!("SELECT customer_id, country FROM {namespace}.customers ORDER BY customer_id");
        let output = self.silversmith(catalog, &["sql", "--format", "csv", &sql]);
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the functions have logged.
    fn emulate_log(&self) -> String {
        let script = "logs = boto3.client('logs')\nfor event in logs.filter_log_events(logGroupName=sys.argv[1])['events']: print(event['message'])";
        self.boto3(script, self.output("LogGroupName"))
    }

    /// What the function of the stack is made of.
    fn package_type(&self) -> String {
        let script = "functions = boto3.client('lambda').list_functions()['Functions']\nprint({one['PackageType'] for one in functions if one['FunctionName'].startswith(sys.argv[1])}.pop())";
        self.boto3(script, &format!("{}-compute-Function-", self.name)).trim().to_owned()
    }

    /// How many buckets of the stack there are.
    fn buckets(&self) -> usize {
        let script = "buckets = boto3.client('s3').list_buckets()['Buckets']\nprint(len([one for one in buckets if one['Name'].startswith(sys.argv[1])]))";
        self.boto3(script, &format!("{}-", self.name)).trim().parse().unwrap()
    }

    /// What a line of Python prints, with boto3 at the emulator and one argument.
    fn boto3(&self, script: &str, argument: &str) -> String {
        let mut command = Command::new(setting("SILVERSMITH_TEST_BOTO3"));
        command.args(["-c", &format!("import boto3, sys\n{script}"), argument]);
        self.at_emulator(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A machine that runs this many steps of the state machine.
    fn worker(&self, catalog: &str, program: &str, steps: usize, config: &str) -> Worker {
        let steps = steps.to_string();
        let mut command = self.python(&[
            "worker", &self.name, "--binary", program, "--config", config, "--steps", &steps,
            "--idle", "120",
        ]);
        self.with_variables(catalog, &mut command);
        Worker(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// Killed when the test ends, however it ends.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const SILVERSMITH: &str = env!("CARGO_BIN_EXE_silversmith");
const FIRST: &str = "customer_id,country,updated_at\n1,de,2026-01-01\n2,fr,2026-01-01\n";

/// Deployed in LocalStack: an object becomes a row in silver; the state machine succeeds, tries again, and fails
/// with an event on the bus.
#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_and_the_state_machine_work_in_what_is_deployed() {
    let stack = Stack::deploy(&endpoint(), &[]);
    let catalog = format!("sqlite:{}", stack.folder.path().join("catalog.db").display());
    stack.configure(|text| text.replace("# warehouse =", "warehouse =")).await;
    stack.put("1.csv", FIRST).await;
    let (_, sqs) = clients_at(&stack.endpoint).await;
    for _ in 0..100 {
        let asked = sqs.get_queue_attributes().queue_url(stack.output("RawQueueUrl"));
        let asked = asked.attribute_names(aws_sdk_sqs::types::QueueAttributeName::All);
        let all = asked.send().await.unwrap().attributes.unwrap();
        let waiting = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
        if all.get(&waiting).is_some_and(|n| n.parse::<u32>().unwrap() > 0) {
            break;
        }
        real_time::sleep(Duration::from_millis(100)).await;
    }
    let output = stack.silversmith(&catalog, &["run", "--until-idle", "--lenient"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stack.customers(&catalog, "silver"), "customer_id,country\n1,de\n2,fr\n");
    let found = stack.silversmith(&catalog, &["check", "--format", "csv"]);
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(!found.contains("failed,") && found.contains("ok,event bus,"), "{found}");

    // The steps of the schedule ingest what had no event.
    stack.put("2.csv", "customer_id,country,updated_at\n2,it,2026-01-02\n").await;
    let uri = stack.output("ConfigUri").to_owned();
    let worker = stack.worker(&catalog, SILVERSMITH, 3, &uri);
    let done = stack.emulate("execute", &[]);
    assert_eq!(done["status"], "SUCCEEDED", "{done}");
    drop(worker);
    assert_eq!(stack.customers(&catalog, "silver"), "customer_id,country\n1,de\n2,it\n");

    // A step that fails once is tried again.
    let once = stack.folder.path().join("once.sh");
    let script = format!(
        "#!/bin/sh\nif [ \"$3\" = silver ] && [ ! -e failed ]; then touch failed; echo 'the catalog is away' >&2; exit 1; fi\nexec {SILVERSMITH} \"$@\"\n"
    );
    std::fs::write(&once, script).unwrap();
    std::fs::set_permissions(&once, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let worker = stack.worker(&catalog, &once.display().to_string(), 4, &uri);
    let done = stack.emulate("execute", &[]);
    assert_eq!(done["status"], "SUCCEEDED", "{done}");
    assert!(done.to_string().contains("the catalog is away"), "{done}");
    drop(worker);

    // A step that fails for good is reported on the bus.
    let listening = stack.emulate("listen", &[]);
    let worker = stack.worker(&catalog, SILVERSMITH, 1, "nowhere.toml");
    let done = stack.emulate("execute", &["--expect", "FAILED"]);
    drop(worker);
    assert_eq!(done["error"], "silversmith.Configuration", "{done}");
    let queue = listening["queue"].as_str().unwrap();
    let mut command = stack.python(&["events", queue, "--count", "1", "--timeout", "60"]);
    let output = command.output().unwrap();
    let events: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(events[0]["detail-type"], "step.failed");
    crate::support::schemas::assert_documented("step.failed", &events[0]["detail"]);
    stack.emulate("delete", &["--data"]);
}

/// Deployed in ministack, which runs functions and schedules: an object becomes a row in silver by itself, on
/// Glue; and the schedule starts the state machine.
#[tokio::test(flavor = "multi_thread")]
async fn functions_ingest_events_and_the_schedule_fires() {
    let endpoint = ministack();
    let code = format!("{}-code", new_name());
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("silversmith");
    // Debug information is most of a development build.
    let stripped = Command::new("strip").arg("-o").arg(&binary).arg(SILVERSMITH).status().unwrap();
    assert!(stripped.success());
    let packer =
        Stack { name: code.clone(), endpoint: endpoint.clone(), outputs: Value::Null, folder };
    packer.emulate("package", &["code.zip", "--binary", &binary.display().to_string()]);
    let stack = Stack::deploy(
        &endpoint,
        &[
            "--set",
            "Compute=lambda",
            "--set",
            "Catalog=glue",
            "--set",
            &format!("CodeBucket={code}"),
            "--set",
            "CodeKey=code.zip",
            "--set",
            "MergeIn=event",
            "--set",
            "ScheduleExpression=rate(1 minute)",
            "--set",
            "ScheduleState=ENABLED",
            // Its metric is a sum of others, which the emulator does not know.
            "--without",
            "MessageAgeAlarmed",
        ],
    );
    // All stacks share the emulator's Glue, which outlives them.
    let namespaced = |text: String| {
        ["bronze", "silver", "gold"].into_iter().fold(text, |text, layer| {
            text.replace(&format!("\"{layer}."), &format!("\"{}_{layer}.", stack.name))
        })
    };
    stack.configure(|text| namespaced(text.replace("# warehouse =", "warehouse ="))).await;
    stack.put("1.csv", FIRST).await;
    let silver = format!("{}_silver", stack.name);
    let mut rows = String::new();
    for _ in 0..120 {
        rows = stack.customers("glue:", &silver);
        if rows.contains("2,fr") {
            break;
        }
        real_time::sleep(Duration::from_millis(500)).await;
    }
    let log = || stack.emulate_log();
    assert_eq!(rows, "customer_id,country\n1,de\n2,fr\n", "{}", log());
    let fired = stack.emulate("executions", &["--count", "1", "--timeout", "120"]);
    assert!(fired.to_string().contains("schedule"), "{fired}");
    stack.emulate("update", &["--set", "ScheduleState=DISABLED"]);
    stack.emulate("delete", &["--data"]);
}

/// A create that fails on its way leaves nothing that stands in the way of the next one.
#[test]
fn a_first_create_that_fails_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Stack { name: new_name(), endpoint: ministack(), outputs: Value::Null, folder };
    // It fails over an alarm that the emulator does not know, when the buckets are there.
    let lambda = ["--set", "Compute=lambda", "--set", "CodeBucket=code", "--set", "CodeKey=key"];
    let rollback = ["deploy", stack.name.as_str(), "--on-failure", "ROLLBACK"];
    let rollback = [&rollback[..], &lambda[..]].concat();
    let refused = stack.python(&rollback).output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(stderr.contains("ROLLBACK_COMPLETE"), "{stderr}");
    assert_eq!(stack.buckets(), 0);

    stack.emulate("delete", &[]);
    stack.create(&[&lambda[..], &["--without", "MessageAgeAlarmed"][..]].concat());
    let deleted = stack.emulate("delete", &[]);
    assert_eq!(deleted["retained"].as_array().unwrap().len(), 2, "complete, it keeps its data");
    assert_eq!(stack.buckets(), 2);
}

/// From Lambda to Fargate and back, from zip to image, and never without what it needs. ministack does not know the
/// activity that Compute=external has.
#[test]
fn one_compute_follows_another() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack { name: new_name(), endpoint: ministack(), outputs: Value::Null, folder };
    let code = format!("{}-code", stack.name);
    stack.emulate_on(&code, "package", &["code.zip", "--binary", "/bin/true"]);
    let unknown = ["MessageAgeAlarmed", "ScaleOutWhenBehind", "ScaleInWhenEmpty", "Scaling"];
    let unknown =
        unknown.iter().chain(&["ScaleOut", "ScaleIn"]).flat_map(|one| ["--without", *one]);
    let unknown: Vec<&str> = unknown.collect();
    let with = |what: &str, settings: &[&str]| {
        let settings = settings.iter().flat_map(|one| ["--set", *one]);
        let all: Vec<&str> = unknown.iter().copied().chain(settings).collect();
        stack.emulate(what, &all)["resources"].clone()
    };
    let zip = format!("CodeBucket={code}");
    let first = ["Compute=lambda", "Catalog=glue", zip.as_str(), "CodeKey=code.zip"];
    assert!(with("deploy", &first)["Function"].is_string());
    let fargate = ["Compute=fargate", "Image=image:1", "VpcId=vpc-1", "Subnets=subnet-1"];
    let found = with("update", &fargate);
    assert!(found["Service"].is_string() && found["Function"].is_null(), "{found}");
    let found = with("update", &["Compute=lambda", "MergeIn=event"]);
    assert!(found["Service"].is_null() && found["MergeFunction"].is_string(), "{found}");
    assert_eq!(stack.package_type(), "Zip", "the image is left over from Fargate");
    with("update", &["CodeKey=", "CodeBucket="]);
    assert_eq!(stack.package_type(), "Image");
    let without = [&["update", stack.name.as_str(), "--set", "Image="][..], &unknown[..]].concat();
    let refused = stack.python(&without).output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("Compute=lambda needs CodeBucket and CodeKey, or Image"), "{stderr}");
    stack.emulate("delete", &["--data"]);
}

/// What the program asks of AWS is what was recorded, and so what the policies were checked against.
#[test]
fn every_call_is_one_that_was_recorded() {
    for (catalog, endpoint) in [("s3tables", moto()), ("glue", ministack()), ("sqlite", endpoint())]
    {
        let mut command = Command::new(setting("SILVERSMITH_TEST_BOTO3"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/checks/record.py"));
        command.args(["--catalog", catalog, "--endpoint", &endpoint, "--binary", SILVERSMITH]);
        let output = command.args(["--objects", "3", "--compare"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The first hour on an account, as far as an emulator goes.
#[test]
fn the_first_hour_is_rehearsed() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.md");
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/first-hour.sh"));
    command.args(["--region", "eu-west-1", "--emulator", &endpoint(), "--binary", SILVERSMITH]);
    command.arg("--report").arg(&report).env("PYTHON", setting("SILVERSMITH_TEST_BOTO3"));
    let output = command.envs(CREDENTIALS).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(report).unwrap();
    for step in ["the stacks are there", "a row is in silver", "100 objects", "a step fails"] {
        let line = report.lines().find(|line| line.contains(step));
        assert!(line.is_some_and(|line| line.contains("| yes |")), "{step}: {report}");
    }
    assert!(report.contains("| an account only |"), "{report}");
    assert!(!report.contains("| no |"), "{report}");
}
