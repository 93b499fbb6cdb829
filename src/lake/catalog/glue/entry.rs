//! The entry of a table in the Glue Data Catalog, in the layout of Iceberg's Java `GlueCatalog`.

use std::collections::BTreeMap;

use iceberg::spec::{NestedFieldRef, PrimitiveType, TableMetadata, Type};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lake::TableName;
use crate::lake::catalog::{Pointer, Proposal};

const TABLE_TYPE: &str = "table_type";
const ICEBERG: &str = "ICEBERG";
const METADATA_LOCATION: &str = "metadata_location";
const PREVIOUS_METADATA_LOCATION: &str = "previous_metadata_location";
/// The longest comment that Glue takes.
const COMMENT_BYTES: usize = 255;

/// The parameters of an entry.
pub(super) type Parameters = BTreeMap<String, String>;

/// An entry of the catalog ([Table](https://docs.aws.amazon.com/glue/latest/webapi/API_Table.html)), as far as it is
/// read or carried over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Table {
    description: Option<String>,
    owner: Option<String>,
    retention: Option<i64>,
    version_id: Option<String>,
    parameters: Option<Parameters>,
    storage_descriptor: Option<StorageDescriptor>,
}

/// What an entry is created with and updated to
/// ([TableInput](https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html)).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TableInput {
    name: String,
    table_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    retention: i64,
    parameters: Parameters,
    storage_descriptor: StorageDescriptor,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StorageDescriptor {
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    columns: Option<Vec<Column>>,
    /// What other programs wrote there.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Column {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
}

impl Table {
    /// Where the entry points to, and its version; none where it is no Iceberg table.
    pub(super) fn pointer(&self) -> Option<(&str, &str)> {
        let parameters = self.parameters.as_ref().filter(|it| is_iceberg(Some(it)))?;
        Some((parameters.get(METADATA_LOCATION)?, self.version_id.as_deref()?))
    }
}

/// Whether the parameters are those of an Iceberg table.
pub(super) fn is_iceberg(parameters: Option<&Parameters>) -> bool {
    let kind = parameters.and_then(|parameters| parameters.get(TABLE_TYPE));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(ICEBERG))
}

impl TableInput {
    /// The entry of a table, with what the entry had before.
    pub(super) fn new(
        table: &TableName,
        next: &Proposal,
        before: Option<(&Table, &Pointer)>,
    ) -> Self {
        let there = before.map(|(there, _)| there);
        let mut parameters = there.and_then(|t| t.parameters.clone()).unwrap_or_default();
        parameters.insert(TABLE_TYPE.to_owned(), ICEBERG.to_owned());
        parameters.insert(METADATA_LOCATION.to_owned(), next.metadata_location.clone());
        if let Some((_, base)) = before {
            let location = base.metadata_location.clone();
            parameters.insert(PREVIOUS_METADATA_LOCATION.to_owned(), location);
        }
        let mut storage = there.and_then(|t| t.storage_descriptor.clone()).unwrap_or_default();
        storage.location = Some(next.metadata.location().to_owned());
        let known = storage.columns.unwrap_or_default();
        storage.columns = Some(columns(&next.metadata, &known));
        Self {
            name: table.table().to_owned(),
            table_type: "EXTERNAL_TABLE",
            description: there.and_then(|t| t.description.clone()),
            owner: there.and_then(|t| t.owner.clone()),
            retention: there.and_then(|t| t.retention).unwrap_or(0),
            parameters,
            storage_descriptor: storage,
        }
    }
}

/// The columns as Glue shows them; engines read the metadata file.
fn columns(metadata: &TableMetadata, before: &[Column]) -> Vec<Column> {
    let said = |name: &str| before.iter().find(|c| c.name == name)?.comment.clone();
    let fields = metadata.current_schema().as_struct().fields();
    let column = |field: &NestedFieldRef| Column {
        name: field.name.clone(),
        r#type: Some(hive_type(&field.field_type)),
        comment: said(&field.name).or(field.doc.as_deref().map(comment)),
        parameters: Some(BTreeMap::from([
            ("iceberg.field.id".to_owned(), field.id.to_string()),
            ("iceberg.field.current".to_owned(), "true".to_owned()),
            ("iceberg.field.optional".to_owned(), (!field.required).to_string()),
        ])),
    };
    fields.iter().map(column).collect()
}

/// A comment that Glue takes: one line, of a length (Column structure, `SingleLineString`).
fn comment(doc: &str) -> String {
    let line = doc.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut comment = String::new();
    for c in line {
        if comment.len() + c.len_utf8() > COMMENT_BYTES {
            break;
        }
        comment.push(c);
    }
    comment
}

/// The Hive name of a type, as Iceberg's Java `IcebergToGlueConverter` writes it.
fn hive_type(field: &Type) -> String {
    let primitive = match field {
        Type::Primitive(primitive) => primitive,
        Type::List(list) => return format!("array<{}>", hive_type(&list.element_field.field_type)),
        Type::Map(map) => {
            let (key, value) = (&map.key_field.field_type, &map.value_field.field_type);
            return format!("map<{},{}>", hive_type(key), hive_type(value));
        }
        Type::Struct(of) => {
            let fields =
                of.fields().iter().map(|f| format!("{}:{}", f.name, hive_type(&f.field_type)));
            return format!("struct<{}>", fields.collect::<Vec<_>>().join(","));
        }
    };
    match primitive {
        PrimitiveType::Boolean => "boolean".to_owned(),
        PrimitiveType::Int => "int".to_owned(),
        PrimitiveType::Long => "bigint".to_owned(),
        PrimitiveType::Float => "float".to_owned(),
        PrimitiveType::Double => "double".to_owned(),
        PrimitiveType::Date => "date".to_owned(),
        PrimitiveType::Timestamp
        | PrimitiveType::Timestamptz
        | PrimitiveType::TimestampNs
        | PrimitiveType::TimestamptzNs => "timestamp".to_owned(),
        PrimitiveType::Fixed(_) | PrimitiveType::Binary => "binary".to_owned(),
        PrimitiveType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        PrimitiveType::Time | PrimitiveType::String | PrimitiveType::Uuid => "string".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lake::catalog::Token;

    /// A table of one column, as a metadata file has it.
    fn metadata() -> TableMetadata {
        let text = json!({
            "format-version": 2, "table-uuid": "5117e250-0000-4000-8000-000000000001",
            "location": "s3://lake/orders", "last-sequence-number": 0, "last-updated-ms": 0,
            "last-column-id": 1, "current-schema-id": 0, "default-spec-id": 0,
            "last-partition-id": 999, "default-sort-order-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "id", "required": false, "type": "long", "doc": "the\nnumber"}
            ]}],
            "partition-specs": [{"spec-id": 0, "fields": []}],
            "sort-orders": [{"order-id": 0, "fields": []}]
        });
        serde_json::from_value(text).unwrap()
    }

    fn proposal() -> Proposal {
        let metadata_location = "s3://lake/orders/metadata/2.json".to_owned();
        Proposal {
            metadata: metadata().into(),
            metadata_location,
            requirements: vec![],
            updates: vec![],
        }
    }

    #[test]
    fn a_new_entry_has_the_columns_and_the_pointer() {
        let input = TableInput::new(&TableName::new("silver", "orders"), &proposal(), None);
        let expected = json!({
            "Name": "orders", "TableType": "EXTERNAL_TABLE", "Retention": 0,
            "Parameters": {
                "table_type": "ICEBERG", "metadata_location": "s3://lake/orders/metadata/2.json"
            },
            "StorageDescriptor": {"Location": "s3://lake/orders", "Columns": [{
                "Name": "id", "Type": "bigint", "Comment": "the number", "Parameters": {
                    "iceberg.field.id": "1", "iceberg.field.current": "true",
                    "iceberg.field.optional": "true"
                }
            }]}
        });
        assert_eq!(serde_json::to_value(input).unwrap(), expected);
    }

    #[test]
    fn what_other_programs_wrote_into_an_entry_is_carried_over() {
        let there: Table = serde_json::from_value(json!({
            "Name": "orders", "Description": "all orders", "Owner": "sales", "Retention": 7,
            "VersionId": "3", "CreateTime": 1.5, "CreatedBy": "an engine",
            "Parameters": {
                "table_type": "iceberg", "metadata_location": "s3://lake/orders/metadata/1.json",
                "other": "kept"
            },
            "StorageDescriptor": {
                "Columns": [{"Name": "id", "Type": "int", "Comment": "written by hand"}],
                "SerdeInfo": {"SerializationLibrary": "a library"}
            }
        }))
        .unwrap();
        let (location, version) = there.pointer().unwrap();
        assert_eq!((location, version), ("s3://lake/orders/metadata/1.json", "3"));
        let base = Pointer {
            metadata_location: location.to_owned(),
            token: Token("of this test".to_owned()),
        };
        let before = Some((&there, &base));
        let input = TableInput::new(&TableName::new("silver", "orders"), &proposal(), before);
        let input = serde_json::to_value(input).unwrap();
        for (path, expected) in [
            ("/Description", json!("all orders")),
            ("/Owner", json!("sales")),
            ("/Retention", json!(7)),
            ("/Parameters/other", json!("kept")),
            ("/Parameters/previous_metadata_location", json!("s3://lake/orders/metadata/1.json")),
            ("/Parameters/metadata_location", json!("s3://lake/orders/metadata/2.json")),
            ("/StorageDescriptor/SerdeInfo/SerializationLibrary", json!("a library")),
            ("/StorageDescriptor/Columns/0/Comment", json!("written by hand")),
            ("/StorageDescriptor/Columns/0/Type", json!("bigint")),
        ] {
            assert_eq!(input.pointer(path), Some(&expected), "{path}");
        }
        // Glue refuses what is not a TableInput's.
        assert_eq!(input.get("CreateTime"), None);
        assert_eq!(input.get("VersionId"), None);
    }

    #[test]
    fn an_entry_of_another_format_points_nowhere() {
        let parameters = json!({"classification": "csv", "metadata_location": "s3://b/1.json"});
        let entry = json!({"VersionId": "1", "Parameters": parameters});
        let there: Table = serde_json::from_value(entry).unwrap();
        assert_eq!(there.pointer(), None);
    }
}
