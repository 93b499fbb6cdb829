//! Schemas: Iceberg's, with field ids, and Arrow's, by name.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use iceberg::arrow::{
    arrow_schema_to_schema_auto_assign_ids, arrow_type_to_type, schema_to_arrow_schema,
};
use iceberg::spec::{NestedField, Schema};

use super::error::Doing;
use super::{LakeError, TableName};

/// The key under which an Arrow field carries the documentation of its Iceberg field.
pub(crate) const DOC: &str = "doc";

/// A table's schema with its field ids, and the Arrow schema that batches for it carry.
#[derive(Debug, Clone)]
pub struct TableSchema {
    iceberg: Arc<Schema>,
    arrow: SchemaRef,
}

impl TableSchema {
    pub(super) fn new(table: &TableName, iceberg: Arc<Schema>) -> Result<Self, LakeError> {
        let arrow = schema_to_arrow_schema(&iceberg).doing(table, "reading its schema")?;
        Ok(Self { iceberg, arrow: Arc::new(arrow) })
    }

    /// The names of its columns, in their order.
    pub fn column_names(&self) -> Vec<String> {
        self.arrow.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The schema of a new table: ids from 1, in the order of the columns.
    pub(super) fn first(table: &TableName, columns: &ArrowSchema) -> Result<Self, LakeError> {
        if let Some(nested) = columns.fields().iter().find(|f| f.data_type().is_nested()) {
            return Err(LakeError::Schema {
                table: table.clone(),
                column: nested.name().clone(),
                is: nested.data_type().to_string(),
                requested: "a column: lists and structs are not supported".to_owned(),
            });
        }
        let schema =
            arrow_schema_to_schema_auto_assign_ids(columns).doing(table, "making its schema")?;
        Self::new(table, Arc::new(schema))
    }

    /// This schema with the columns of `requested` that it lacks, as optional columns at the end with fresh ids
    /// above `last_id`, and its own columns with the wider type that `requested` has (Iceberg spec, "Schema
    /// Evolution"); `None` when nothing changes. A narrower type fits the wider one that is there.
    ///
    /// # Errors
    /// [`LakeError::Schema`] when a column of that name has a type that neither fits nor widens.
    pub fn extended(
        &self,
        table: &TableName,
        requested: &ArrowSchema,
        last_id: i32,
    ) -> Result<Option<Self>, LakeError> {
        let mut fields = self.iceberg.as_struct().fields().to_vec();
        let mut id = last_id.max(self.iceberg.highest_field_id());
        for column in requested.fields() {
            let Ok(present) = self.arrow.field_with_name(column.name()) else {
                id += 1;
                fields.push(Arc::new(optional_field(table, id, column)?));
                continue;
            };
            let common = widened(present.data_type(), column.data_type());
            let common = common.ok_or_else(|| LakeError::Schema {
                table: table.clone(),
                column: column.name().clone(),
                is: type_name(present.data_type()),
                requested: type_name(column.data_type()),
            })?;
            let own = fields.iter_mut().find(|field| field.name == *column.name());
            if let (Some(own), true) = (own, common != *present.data_type()) {
                let kind = arrow_type_to_type(&common).doing(table, "widening a column")?;
                *own = Arc::new(NestedField { field_type: Box::new(kind), ..own.as_ref().clone() });
            }
        }
        if fields == self.iceberg.as_struct().fields() {
            return Ok(None);
        }
        self.with_fields(table, fields).map(Some)
    }

    /// A schema of the columns of `requested` only; a column that exists here with the same type keeps its id.
    /// `None` when the columns are the same already.
    pub fn replaced(
        &self,
        table: &TableName,
        requested: &ArrowSchema,
        last_id: i32,
    ) -> Result<Option<Self>, LakeError> {
        let mut id = last_id.max(self.iceberg.highest_field_id());
        let mut fields = Vec::with_capacity(requested.fields().len());
        for column in requested.fields() {
            let same = self.arrow.field_with_name(column.name()).ok();
            let kept = same
                .filter(|present| present.data_type() == column.data_type())
                .and_then(|_| self.iceberg.field_by_name(column.name()));
            fields.push(match kept {
                Some(field) => field.clone(),
                None => {
                    id += 1;
                    Arc::new(optional_field(table, id, column)?)
                }
            });
        }
        if fields == self.iceberg.as_struct().fields() {
            return Ok(None);
        }
        self.with_fields(table, fields).map(Some)
    }

    fn with_fields(
        &self,
        table: &TableName,
        fields: Vec<Arc<NestedField>>,
    ) -> Result<Self, LakeError> {
        // The fields by which a program identifies rows stay so, as long as they are there.
        let identifiers: Vec<i32> = (self.iceberg.identifier_field_ids())
            .filter(|id| fields.iter().any(|field| field.id == *id))
            .collect();
        let schema = Schema::builder()
            .with_schema_id(self.iceberg.schema_id())
            .with_fields(fields)
            .with_identifier_field_ids(identifiers)
            .build()
            .doing(table, "changing its schema")?;
        Self::new(table, Arc::new(schema))
    }

    /// The Arrow schema that batches for this table carry, field ids included.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Whether files written under this schema fit `other`: it has every column of this one, with the same name,
    /// id and documentation, and with its type or a wider one. Two writers may add a column of one name at a time,
    /// and mean different ones: the documentation says which.
    pub fn fits_into(&self, other: &Self) -> bool {
        self.iceberg.as_struct().fields().iter().all(|field| {
            other.iceberg.field_by_id(field.id).is_some_and(|o| {
                let same = (&o.name, &o.doc) == (&field.name, &field.doc);
                same && (o.field_type == field.field_type || self.widens_to(other, &o.name))
            })
        })
    }

    /// Whether the type of a column is the other schema's, or one that widens to it.
    fn widens_to(&self, other: &Self, column: &str) -> bool {
        let kind = |of: &Self| of.arrow.field_with_name(column).map(|f| f.data_type().clone()).ok();
        let (Some(own), Some(wider)) = (kind(self), kind(other)) else { return false };
        widened(&own, &wider) == Some(wider)
    }

    pub(super) fn iceberg(&self) -> &Arc<Schema> {
        &self.iceberg
    }

    pub(super) fn id_of(&self, column: &str) -> Option<i32> {
        self.iceberg.field_id_by_name(column)
    }
}

fn optional_field(table: &TableName, id: i32, column: &Field) -> Result<NestedField, LakeError> {
    let kind = arrow_type_to_type(column.data_type()).doing(table, "adding a column")?;
    let field = NestedField::optional(id, column.name(), kind);
    Ok(match column.metadata().get(DOC) {
        Some(doc) => field.with_doc(doc),
        None => field,
    })
}

/// The Arrow type of an Iceberg primitive type name (Iceberg spec, "Primitive Types"):
/// `boolean`, `int`, `long`, `float`, `double`, `decimal(p,s)`, `date`, `time`, `timestamp`,
/// `timestamptz`, `string`. `None` for anything else.
pub fn arrow_type(name: &str) -> Option<DataType> {
    Some(match name.trim() {
        "boolean" => DataType::Boolean,
        "int" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        "string" => DataType::Utf8,
        other => {
            let inside = other.strip_prefix("decimal(")?.strip_suffix(')')?;
            let (precision, scale) = inside.split_once(',')?;
            let precision: u8 = precision.trim().parse().ok()?;
            let scale: i8 = scale.trim().parse().ok()?;
            let sane = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
            sane.then_some(DataType::Decimal128(precision, scale))?
        }
    })
}

/// The type that holds the values of both, by the promotions that Iceberg allows (Iceberg spec, "Schema
/// Evolution"): int → long, float → double, a decimal of more digits. None for other types.
pub fn widened(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Float32, Float64, Int32, Int64};
    match (one, other) {
        _ if one == other => Some(one.clone()),
        (Int32, Int64) | (Int64, Int32) => Some(Int64),
        (Float32, Float64) | (Float64, Float32) => Some(Float64),
        (Decimal128(p, s), Decimal128(q, t)) if s == t => Some(Decimal128(*p.max(q), *s)),
        _ => None,
    }
}

/// The schema with the types that an Iceberg table can hold for what a query returns.
pub fn storable(schema: &ArrowSchema) -> ArrowSchema {
    let fields = schema.fields().iter().map(|field| {
        let kind = match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
                DataType::Int32
            }
            DataType::UInt32 | DataType::UInt64 => DataType::Int64,
            DataType::Float16 => DataType::Float32,
            DataType::Date64 => DataType::Date32,
            DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(_, Some(_)) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
            }
            other => other.clone(),
        };
        Field::new(field.name(), kind, true)
    });
    ArrowSchema::new(fields.collect::<Vec<_>>())
}

/// The Iceberg name of an Arrow type, for people; the Arrow name where Iceberg has none.
pub fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_as_iceberg_allows_and_no_further() {
        let common = |one: &str, other: &str| {
            let kind = widened(&arrow_type(one).unwrap(), &arrow_type(other).unwrap());
            kind.map(|kind| type_name(&kind))
        };
        for (one, other, kind) in [
            ("int", "long", Some("long")),
            ("double", "float", Some("double")),
            ("decimal(9,2)", "decimal(18,2)", Some("decimal(18,2)")),
            ("decimal(9,2)", "decimal(18,3)", None),
            ("long", "double", None),
            ("long", "string", None),
            ("date", "date", Some("date")),
            ("timestamp", "timestamptz", None),
        ] {
            assert_eq!(common(one, other).as_deref(), kind, "{one}, {other}");
            assert_eq!(common(other, one).as_deref(), kind, "{other}, {one}");
        }
    }

    #[test]
    fn every_type_name_is_read_back() {
        for name in [
            "boolean",
            "int",
            "long",
            "float",
            "double",
            "decimal(9,2)",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "string",
        ] {
            assert_eq!(arrow_type(name).map(|t| type_name(&t)).as_deref(), Some(name));
        }
        for bad in ["", "varchar", "decimal(39,1)", "decimal(2,3)", "decimal(2)", "decimal(2,-1)"] {
            assert_eq!(arrow_type(bad), None, "{bad}");
        }
    }
}
