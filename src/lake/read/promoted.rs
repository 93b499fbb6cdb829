//! Partition values under the types that their columns have now.
//!
//! A file keeps the partition values that it was written with. Where the type of a column was widened since
//! (Iceberg spec, "Schema Evolution"), its values are those of another type, and equal to no new one.

use iceberg::spec::{
    Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Struct, StructType, Type,
};

use crate::lake::Table;

/// The types of a partition spec's values, as the columns of a table are now; none where a column was dropped.
pub(in crate::lake) fn types_now(table: &Table, spec: &PartitionSpec) -> Option<StructType> {
    spec.partition_type(table.schema().iceberg()).ok()
}

/// A partition as values of these types.
pub(in crate::lake) fn promoted(partition: &Struct, types: Option<&StructType>) -> Struct {
    let Some(types) = types else { return partition.clone() };
    let values = partition.iter().zip(types.fields());
    values.map(|(value, field)| value.map(|value| wide(value, &field.field_type))).collect()
}

fn wide(value: &Literal, kind: &Type) -> Literal {
    match (value, kind.as_primitive_type()) {
        (Literal::Primitive(PrimitiveLiteral::Int(value)), Some(PrimitiveType::Long)) => {
            Literal::long(*value)
        }
        (Literal::Primitive(PrimitiveLiteral::Float(value)), Some(PrimitiveType::Double)) => {
            Literal::double(value.0)
        }
        _ => value.clone(),
    }
}
