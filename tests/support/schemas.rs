//! The JSON Schemas of announcements, as users get them.

use serde_json::Value;

/// Fails where an announcement does not fit its schema, or has more than the schema.
pub fn assert_documented(kind: &str, detail: &Value) {
    let path = format!("{}/infra/events/{kind}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let mut schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    schema["additionalProperties"] = false.into();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(detail).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{kind}: {wrong:?}\n{detail:#}");
}
