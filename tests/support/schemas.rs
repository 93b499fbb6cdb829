//! The JSON Schemas of announcements, as users get them.

use boon::{Compiler, Schemas};
use serde_json::Value;

/// Fails where an announcement does not fit its schema, or has more than the schema.
pub fn assert_documented(kind: &str, detail: &Value) {
    let path = format!("{}/infra/events/{kind}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let mut schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    schema["additionalProperties"] = false.into();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("schema.json", schema).unwrap();
    let known = compiler.compile("schema.json", &mut schemas).unwrap();
    if let Err(wrong) = schemas.validate(detail, known) {
        panic!("{kind}: {wrong:#}\n{detail:#}");
    }
}

#[test]
fn what_is_not_as_its_schema_says_is_found() {
    let right = serde_json::json!({
        "version": 1, "id": "t/1", "lake": "lake", "pipeline": "orders", "table": "bronze.orders",
        "table_uuid": "5117e250-0000-4000-8000-000000000001", "snapshot_id": "1", "sequence_number": 1,
        "committed_at": "2026-01-01T00:00:00Z", "batch_id": "b", "objects": 1, "rows": 1
    });
    assert_documented("bronze.committed", &right);
    for (key, wrong) in [
        ("version", 2.into()),
        ("table_uuid", "no uuid".into()),
        ("snapshot_id", "-1".into()),
        ("sequence_number", (-1).into()),
        ("committed_at", "yesterday".into()),
        ("rows", "1".into()),
        ("more", 1.into()),
    ] {
        let mut detail = right.clone();
        detail[key] = wrong;
        let found = std::panic::catch_unwind(|| assert_documented("bronze.committed", &detail));
        assert!(found.is_err(), "{key} is wrong, and was not found: {detail:#}");
    }
}
