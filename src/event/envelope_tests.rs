use proptest::prelude::*;

use super::super::{DeadLetter, Origin};
use super::*;
use crate::reason::Reason;

/// The documented shape of a notification, straight from S3.
fn notification(key: &str, version: &str, name: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventVersion":"{version}","eventSource":"aws:s3","awsRegion":"us-west-2",
        "eventTime":"1970-01-01T00:00:00.123Z","eventName":"{name}","userIdentity":{{"principalId":"A"}},
        "requestParameters":{{"sourceIPAddress":"127.0.0.1"}},"responseElements":{{"x-amz-request-id":"C"}},
        "s3":{{"s3SchemaVersion":"1.0","configurationId":"t","bucket":{{"name":"raw","ownerIdentity":{{}},
        "arn":"arn:aws:s3:::raw"}},"object":{{"key":"{key}","size":1024,
        "eTag":"d41d8cd98f00b204e9800998ecf8427e","versionId":"096fKKXTRTtl3on89fVO.nfljtsv6qko",
        "sequencer":"0055AED6DCD90281E5"}}}}}}]}}"#
    )
}

fn keys(body: &str) -> Vec<String> {
    let records = parse(body).unwrap();
    records
        .into_iter()
        .map(|record| match record {
            Record::Created { object, .. } => object.key,
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_notification_of_s3() {
    let records = parse(&notification("a/b.csv", "2.1", "ObjectCreated:Put")).unwrap();
    let [Record::Created { object, pipeline: None }] = &records[..] else { panic!("{records:?}") };
    assert_eq!(object.uri(), "s3://raw/a/b.csv");
    assert_eq!(object.etag.as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
    assert_eq!(object.version_id.as_deref(), Some("096fKKXTRTtl3on89fVO.nfljtsv6qko"));
    assert_eq!(object.size, Some(1024));
    assert_eq!(object.event_time.map(|t| t.timestamp_millis()), Some(123));
    assert_eq!(object.sequencer.as_deref(), Some("0055AED6DCD90281E5"));
}

#[test]
fn sequencers_compare_as_uploads_follow_each_other() {
    let of = |text: &str| {
        let body = notification("a.csv", "2.1", "ObjectCreated:Put");
        let records = parse(&body.replace("0055AED6DCD90281E5", text)).unwrap();
        let [Record::Created { object, .. }] = &records[..] else { panic!("{records:?}") };
        object.sequencer.clone()
    };
    // The shorter is padded with zeros at its right.
    assert!(of("0055AED6DCD9") < of("0055AED6DCD90281E5"));
    assert!(of("0055AED6DCD9028") < of("0055AED6DCD9029"));
    assert!(of("0055AED6DCDA") > of("0055AED6DCD90281E5"));
    assert_eq!(of("0055aed6dcd9"), of("0055AED6DCD90000"));
    assert_eq!((of("no hex"), of("")), (None, None));
}

#[test]
fn keys_of_notifications_are_decoded() {
    for (written, meant) in [
        ("a+b.csv", "a b.csv"),
        ("a%20b.csv", "a b.csv"),
        ("a%2Bb.csv", "a+b.csv"),
        ("100%25.csv", "100%.csv"),
        ("caf%C3%A9.csv", "café.csv"),
        ("x%2Fy.csv", "x/y.csv"),
        ("=%3D%26.csv", "==&.csv"),
    ] {
        assert_eq!(keys(&notification(written, "2.1", "ObjectCreated:Put")), [meant]);
    }
    let records = parse(&notification("%FF.csv", "2.1", "ObjectCreated:Put")).unwrap();
    assert!(matches!(&records[..], [Record::Bad(why)] if why.contains("UTF-8")), "{records:?}");
}

#[test]
fn every_2_x_version_is_accepted_and_3_is_not() {
    for version in ["2.0", "2.1", "2.2", "2.3", "2.17"] {
        assert_eq!(keys(&notification("a.csv", version, "ObjectCreated:Copy")), ["a.csv"]);
    }
    let records = parse(&notification("a.csv", "3.0", "ObjectCreated:Put")).unwrap();
    assert!(matches!(&records[..], [Record::Bad(_)]), "{records:?}");
}

#[test]
fn other_events_folder_markers_and_test_events_are_nothing() {
    let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z",
        "Bucket":"bucketname","RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR"}"#;
    for body in [
        test.to_owned(),
        notification("a/", "2.1", "ObjectCreated:Put"),
        notification("a.csv", "2.1", "ObjectRemoved:Delete"),
        notification("a.csv", "2.2", "ObjectRestore:Completed"),
    ] {
        let records = parse(&body).unwrap();
        assert!(matches!(&records[..], [Record::Nothing(_)]), "{records:?}");
    }
    assert_eq!(parse(r#"{"Records":[]}"#).unwrap(), []);
}

#[test]
fn every_record_counts() {
    let one = notification("1.csv", "2.1", "ObjectCreated:Put");
    let two = notification("2.csv", "2.1", "ObjectCreated:Put");
    let inner = |text: &str| text[12..text.len() - 2].to_owned();
    let body =
        format!(r#"{{"Records":[{},{{"eventSource":"aws:ses"}},{}]}}"#, inner(&one), inner(&two));
    let keys = keys(&body);
    assert_eq!((keys[0].as_str(), keys[2].as_str(), keys.len()), ("1.csv", "2.csv", 3));
    assert!(keys[1].starts_with("Bad"), "{keys:?}");
}

#[test]
fn sns_with_and_without_raw_delivery() {
    let s3 = notification("a+b.csv", "2.1", "ObjectCreated:Put");
    let sns = serde_json::json!({
        "Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:us-west-2:1:t",
        "Subject": "Amazon S3 Notification", "Message": s3, "Timestamp": "2012-04-25T21:49:25.719Z",
        "SignatureVersion": "1", "Signature": "x", "SigningCertURL": "x", "UnsubscribeURL": "x",
    });
    assert_eq!(keys(&sns.to_string()), ["a b.csv"]);
    assert_eq!(keys(&s3), ["a b.csv"]);
}

#[test]
fn event_bridge_does_not_encode_keys() {
    let event = |kind: &str| {
        serde_json::json!({
            "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": kind,
            "source": "aws.s3", "account": "111122223333", "time": "2021-11-12T00:00:00Z",
            "region": "ca-central-1", "resources": ["arn:aws:s3:::amzn-s3-demo-bucket1"],
            "detail": {
                "version": "0", "bucket": {"name": "raw"},
                "object": {"key": "a+b %41.csv", "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184",
                    "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", "sequencer": "617f08299329d189"},
                "request-id": "N4N7GDK58NMKJ12R", "requester": "123456789012",
                "source-ip-address": "1.2.3.4", "reason": "PutObject"
            }
        })
        .to_string()
    };
    assert_eq!(keys(&event("Object Created")), ["a+b %41.csv"]);
    assert!(matches!(parse(&event("Object Deleted")).unwrap()[..], [Record::Nothing(_)]));
}

#[test]
fn the_sqs_event_of_lambda() {
    let body = notification("a.csv", "2.1", "ObjectCreated:Put");
    let event = serde_json::json!({"Records": [
        {"messageId": "1", "receiptHandle": "r", "body": body, "eventSource": "aws:sqs"},
        {"messageId": "2", "receiptHandle": "r", "body": "hello", "eventSource": "aws:sqs"},
    ]});
    let keys = keys(&event.to_string());
    assert_eq!(keys[0], "a.csv");
    assert!(keys[1].starts_with("Bad"), "{keys:?}");
}

#[test]
fn a_dead_letter_goes_to_its_pipeline_only() {
    let object = ObjectEvent {
        bucket: "raw".into(),
        key: "a\u{FFFF}\u{1}é+%41.csv".into(),
        etag: Some("e".into()),
        version_id: None,
        size: Some(1),
        sequencer: Some("A1".into()),
        event_time: None,
        again: Some(chrono::DateTime::UNIX_EPOCH),
        replayed: false,
    };
    let origin = Origin { id: "m".into(), receive_count: 1 };
    let stamp = ("id".to_owned(), chrono::DateTime::UNIX_EPOCH);
    let why = (Reason::SchemaChanged, "its columns changed");
    let dead_letter = DeadLetter::of_object(stamp, Some("orders"), object.clone(), why, origin);
    let json = dead_letter.to_json();
    assert!(!json.contains(['\u{FFFF}', '\u{1}']), "{json}");
    assert_eq!(
        parse(&json).unwrap(),
        [Record::Created {
            object: ObjectEvent { replayed: true, ..object },
            pipeline: Some("orders".into())
        }]
    );
    let newer = json.replace("\"silversmith_dead_letter\":1", "\"silversmith_dead_letter\":2");
    assert_eq!(parse(&newer), Err(NotAnEvent::TooNew(2)));
}

#[test]
fn a_dead_letter_of_a_body_is_that_body_again() {
    let origin = || Origin { id: "m".into(), receive_count: 1 };
    let stamp = || ("id".to_owned(), chrono::DateTime::UNIX_EPOCH);
    let body = notification("a.csv", "2.1", "ObjectCreated:Put");
    const LIMIT: usize = 256 * 1024;
    let of = |body: &str| {
        DeadLetter::of_body(stamp(), body, (Reason::NotAnEvent, "why"), origin(), LIMIT)
    };
    assert_eq!(keys(&of(&body).to_json()), ["a.csv"]);
    // However a character is written in JSON, the dead letter is as long as it may be, and no longer.
    for character in ["x", "é", "\u{1}", "\n", "\"", "\u{7f}", "\u{FFFF}"] {
        let dead_letter = of(&character.repeat(LIMIT));
        let bytes = dead_letter.to_json().len();
        assert!(dead_letter.truncated && bytes <= LIMIT, "{character:?}: {bytes}");
        assert!(bytes > LIMIT - 10, "{character:?}: {bytes}");
        assert!(parse(&dead_letter.to_json()).is_err());
    }
}

#[test]
fn what_is_not_an_event_is_an_error() {
    for body in ["", "hello", "[]", "1", "{}", r#"{"Records":1}"#, r#"{"Type":"Notification"}"#] {
        assert!(matches!(parse(body), Err(NotAnEvent::Unknown(_))), "{body}");
    }
    let mut body = notification("a.csv", "2.1", "ObjectCreated:Put");
    for _ in 0..6 {
        body = serde_json::json!({"Type": "Notification", "Message": body}).to_string();
    }
    assert!(parse(&body).is_err(), "nested too deeply");
}

fn encoded(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'*' | b'/');
    let each = key.bytes().map(|b| match b {
        b' ' => "+".to_owned(),
        b if plain(b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    });
    each.collect()
}

proptest! {
    #[test]
    fn any_key_comes_out_as_it_went_in(key in "[^/]{1,40}") {
        prop_assert_eq!(keys(&notification(&encoded(&key), "2.1", "ObjectCreated:Put")), [key]);
    }

    #[test]
    fn no_body_makes_the_parser_panic(body in ".{0,200}") {
        let _ = parse(&body);
    }

    #[test]
    fn no_damage_to_an_event_makes_the_parser_panic(at in 0usize..700, with in "[\\PC\"{}]{0,3}") {
        let mut body = notification("a.csv", "2.1", "ObjectCreated:Put");
        let at = at.min(body.len());
        body.insert_str(at, &with);
        let _ = parse(&body);
    }
}
