//! `status` and `check` on S3 and SQS, and how AWS is configured.

use std::process::Stdio;

use super::stand::{Stand, Wish, endpoint, orders};

#[tokio::test(flavor = "multi_thread")]
async fn status_and_check_report_queues_and_buckets() {
    let stand = Stand::with(Wish { notified: false, max_receives: 3, ..Wish::default() }).await;
    let (etag, _) = stand.put("1.csv", &orders(1, 2, "x", 1)).await;
    stand.send(&stand.event("1.csv", &etag, None)).await;
    stand.send("no event").await;
    stand.run_until_idle();
    stand.send(&stand.event("1.csv", &etag, None)).await;
    let (status, _) = stand.run(&["status", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(status.trim()).unwrap();
    for (column, value) in [
        ("queue_waiting", 1),
        ("queue_in_flight", 0),
        ("dead_letters", 1),
        ("bronze_rows", 2),
        ("silver_rows", 2),
        ("silver_snapshots_behind", 0),
    ] {
        assert_eq!(status[column], value, "{column}: {status}");
    }
    let (found, _) = stand.run(&["check", "--format", "csv"]);
    for line in [
        "ok,warehouse,",
        "ok,checkpoints,",
        "ok,queue,1 message waiting",
        "warning,queue,maxReceiveCount is 3",
        "warning,dlq,1 dead letter: see `silversmith dlq list`",
        "ok,pipeline orders,1 file in",
    ] {
        assert!(found.contains(line), "{line}\n{found}");
    }

    let path = stand.path().join("silversmith.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&stand.queue, &format!("{}-nowhere", stand.queue))).unwrap();
    let (status, stderr) = stand.run(&["status", "--format", "json"]);
    assert!(stderr.contains("warning: queue") && status.contains("\"silver_rows\":2"), "{stderr}");
    let checked = stand.output(&["check", "--format", "csv"]);
    let found = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(1));
    assert!(found.contains("failed,queue,") && found.contains("NonExistentQueue"), "{found}");
    std::fs::write(&path, text.replace("/lake\"", "-nowhere/lake\"")).unwrap();
    let checked = stand.output(&["check", "--format", "csv"]);
    let found = String::from_utf8(checked.stdout).unwrap();
    assert!(found.contains("failed,warehouse,") && found.contains("NoSuchBucket"), "{found}");
}

/// Endpoints for each service, or everything in a profile: as the AWS SDKs do.
#[tokio::test(flavor = "multi_thread")]
async fn aws_is_found_by_the_standard_environment_and_by_a_profile() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let (etag, _) = stand.put("1.csv", &orders(1, 2, "x", 1)).await;
    let none = [
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ];
    let run = |environment: &[(&str, String)], args: &[&str]| {
        let mut command = stand.command(args);
        for name in none {
            command.env_remove(name);
        }
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        // The instance metadata service is not asked for credentials.
        command.env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null()).output().unwrap()
    };
    let config = stand.path().join("aws-config");
    let profile = format!(
        "[profile other]\nregion = eu-west-1\naws_access_key_id = test\naws_secret_access_key = test\nendpoint_url = {}\n",
        endpoint()
    );
    std::fs::write(&config, profile).unwrap();
    let config = config.display().to_string();
    let nothing = stand.path().join("nothing").display().to_string();
    let by_profile = [
        ("AWS_CONFIG_FILE", config),
        ("AWS_SHARED_CREDENTIALS_FILE", nothing.clone()),
        ("AWS_PROFILE", "other".to_owned()),
    ];
    let test = || "test".to_owned();
    let by_service = [
        ("AWS_CONFIG_FILE", nothing.clone()),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1".to_owned()),
        ("AWS_ENDPOINT_URL_S3", endpoint()),
        ("AWS_ENDPOINT_URL_SQS", endpoint()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", test()),
        ("AWS_SECRET_ACCESS_KEY", test()),
    ];
    for environment in [&by_profile[..], &by_service[..]] {
        stand.send(&stand.event("1.csv", &etag, None)).await;
        let output = run(environment, &["run", "--until-idle", "--lenient"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{environment:?}: {stderr}");
    }
    stand.assert_exactly_once(1, 2);
    let output = run(&[("AWS_CONFIG_FILE", nothing)], &["status"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("set AWS_REGION"), "{stderr}");
}
