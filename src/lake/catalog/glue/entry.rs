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

/// An entry of the catalog ([Table](https://docs.aws.amazon.com/glue/latest/webapi/API_Table.html)), as far as it is
/// read or carried over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Table {
    pub(super) name: String,
    description: Option<String>,
    owner: Option<String>,
    retention: Option<i64>,
    version_id: Option<String>,
    parameters: Option<BTreeMap<String, String>>,
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
    parameters: BTreeMap<String, String>,
    storage_descriptor: StorageDescriptor,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StorageDescriptor {
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    columns: Option<Vec<Column>>,
    /// What other programs have written there.
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
    parameters: Option<BTreeMap<String, String>>,
}

impl Table {
    /// Where the entry points to, and its version; none where it is no Iceberg table.
    pub(super) fn pointer(&self) -> Option<(&str, &str)> {
        let parameters = self.parameters.as_ref().filter(|_| self.is_iceberg())?;
        Some((parameters.get(METADATA_LOCATION)?, self.version_id.as_deref()?))
    }

    /// Whether it is an Iceberg table.
    pub(super) fn is_iceberg(&self) -> bool {
        let kind = self.parameters.as_ref().and_then(|parameters| parameters.get(TABLE_TYPE));
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case(ICEBERG))
    }
}

impl TableInput {
    /// The entry of a table, with what stood in the entry before.
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
