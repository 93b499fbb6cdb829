//! Partitioning: which rows share data files, by transforms of columns (Iceberg spec, "Partitioning").

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use iceberg::TableRequirement;
use iceberg::spec::{TableMetadata, Transform, UnboundPartitionSpec};

use super::catalog::Proposal;
use super::error::Doing;
use super::write::uncommitted::Written;
use super::{Lake, LakeError, Table, TableName, TableSchema};

/// One field of a partitioning: a transform of a column, such as `day(_event_time)` or `bucket(16, customer_id)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    column: String,
    transform: Transform,
}

/// A text that is no partition field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no partition field: {why}. Write a column, or year(c), month(c), day(c), hour(c), bucket(16, c), truncate(4, c)"
)]
pub struct BadPartitionField {
    text: String,
    why: &'static str,
}

impl FromStr for PartitionField {
    type Err = BadPartitionField;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why| BadPartitionField { text: text.to_owned(), why };
        let Some((function, rest)) = text.split_once('(') else {
            let column = column(text).ok_or_else(|| bad("it names no column"))?;
            return Ok(Self { column, transform: Transform::Identity });
        };
        let inside = rest.trim_end().strip_suffix(')').ok_or_else(|| bad("`)` is missing"))?;
        let (number, name) = match inside.split_once(',') {
            Some((number, name)) => (Some(number.trim()), name),
            None => (None, inside),
        };
        let number = number.map(|n| n.parse::<u32>().ok().filter(|n| *n > 0)).map(|n| {
            n.filter(|n| *n <= i32::MAX as u32)
                .ok_or_else(|| bad("its number is not a positive integer"))
        });
        let number = number.transpose()?;
        let transform = match (function.trim().to_ascii_lowercase().as_str(), number) {
            ("identity", None) => Transform::Identity,
            ("year" | "years", None) => Transform::Year,
            ("month" | "months", None) => Transform::Month,
            ("day" | "days", None) => Transform::Day,
            ("hour" | "hours", None) => Transform::Hour,
            ("bucket", Some(buckets)) => Transform::Bucket(buckets),
            ("truncate", Some(width)) => Transform::Truncate(width),
            ("bucket" | "truncate", None) => return Err(bad("its number is missing")),
            _ => return Err(bad("there is no such transform")),
        };
        let column = column(name).ok_or_else(|| bad("it names no column"))?;
        Ok(Self { column, transform })
    }
}

fn column(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = |c: char| !c.is_whitespace() && !"(),\"'".contains(c);
    (!text.is_empty() && text.chars().all(fits)).then(|| text.to_owned())
}

impl fmt::Display for PartitionField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = &self.column;
        match self.transform {
            Transform::Identity => f.write_str(column),
            Transform::Bucket(buckets) => write!(f, "bucket({buckets}, {column})"),
            Transform::Truncate(width) => write!(f, "truncate({width}, {column})"),
            other => write!(f, "{other}({column})"),
        }
    }
}

impl PartitionField {
    fn refused(&self, table: &TableName, is: String) -> LakeError {
        LakeError::Schema {
            table: table.clone(),
            column: self.column.clone(),
            is,
            requested: format!("partition_by `{self}`"),
        }
    }

    /// The name of the field, as Iceberg's own writers choose it.
    fn name(&self) -> String {
        let column = &self.column;
        match self.transform {
            Transform::Identity => column.clone(),
            Transform::Bucket(_) => format!("{column}_bucket"),
            Transform::Truncate(_) => format!("{column}_trunc"),
            other => format!("{column}_{other}"),
        }
    }
}

/// A partitioning, bound to the columns of a schema.
///
/// # Errors
/// A column that is missing, or whose type the transform does not take.
pub(super) fn spec(
    table: &TableName,
    schema: &TableSchema,
    fields: &[PartitionField],
) -> Result<UnboundPartitionSpec, LakeError> {
    let mut spec = UnboundPartitionSpec::builder();
    for field in fields {
        let Some(column) = schema.iceberg().field_by_name(&field.column) else {
            return Err(field.refused(table, "missing".to_owned()));
        };
        if field.transform.result_type(&column.field_type).is_err() {
            return Err(field.refused(table, column.field_type.to_string()));
        }
        let taken =
            |name: &str| field.transform != Transform::Identity && schema.id_of(name).is_some();
        let mut name = field.name();
        while taken(&name) {
            name.push('_');
        }
        spec = spec
            .add_partition_field(column.id, name, field.transform)
            .doing(table, "partitioning it")?;
    }
    Ok(spec.build())
}

/// Whether new files of the table are partitioned by these fields.
fn is_partitioned_by(table: &Table, fields: &[PartitionField]) -> bool {
    let now = table.metadata().default_partition_spec();
    let now = now.fields().iter().filter(|field| field.transform != Transform::Void);
    let now = now.map(|field| (Some(field.source_id), field.transform));
    now.eq(fields.iter().map(|field| (table.schema().id_of(&field.column), field.transform)))
}

/// Those of the requested fields that new files of a table can have, whose schema is about to be `coming`: a column
/// that comes with the next commit is of use after it.
///
/// # Errors
/// A column that neither schema has.
fn usable(
    table: &Table,
    requested: &[PartitionField],
    coming: &TableSchema,
) -> Result<Vec<PartitionField>, LakeError> {
    let stays = |field: &&PartitionField| {
        let now = table.schema().id_of(&field.column);
        now.is_some() && now == coming.id_of(&field.column)
    };
    match requested.iter().find(|field| coming.id_of(&field.column).is_none()) {
        Some(missing) => Err(missing.refused(table.name(), "missing".to_owned())),
        None => Ok(requested.iter().filter(stays).cloned().collect()),
    }
}

/// The table's own fields without those whose column the coming schema drops; none where it drops none.
fn without_dropped(table: &Table, coming: &TableSchema) -> Option<Vec<PartitionField>> {
    let spec = table.metadata().default_partition_spec();
    let own = || spec.fields().iter().filter(|field| field.transform != Transform::Void);
    let column = |schema: &TableSchema, id| schema.iceberg().field_by_id(id).cloned();
    if own().all(|field| column(coming, field.source_id).is_some()) {
        return None;
    }
    let stays = own().filter_map(|field| {
        let column = column(coming, field.source_id)?.name.clone();
        Some(PartitionField { column, transform: field.transform })
    });
    Some(stays.collect())
}

impl Lake {
    /// The table with new files partitioned by these fields from now on (none: as it is, without columns that the
    /// coming schema drops); files that it has stay as they are (Iceberg spec, "Partition Evolution"). No snapshot is
    /// made. A column that the coming schema adds counts once it is in the table.
    ///
    /// # Errors
    /// [`LakeError::Schema`] where a column is missing or of a wrong type; [`LakeError::Contended`].
    pub async fn partitioned(
        &self,
        mut table: Table,
        fields: Option<&[PartitionField]>,
        coming: &TableSchema,
    ) -> Result<Table, LakeError> {
        const MAX_CONFLICTS: u32 = 100;
        let (mut conflicts, began) = (0, self.ambient.now());
        loop {
            let usable = match fields {
                Some(requested) => Some(usable(&table, requested, coming)?),
                None => without_dropped(&table, coming),
            };
            let Some(usable) = usable.filter(|usable| !is_partitioned_by(&table, usable)) else {
                return Ok(table);
            };
            if conflicts == MAX_CONFLICTS {
                return Err(self.contended(table.name(), conflicts, began));
            }
            if conflicts > 0 {
                self.wait_after_conflict(conflicts).await;
            }
            conflicts += 1;
            table = self.propose_partitioning(table, &usable).await?;
        }
    }

    /// The table after one attempt to partition it, whether it was the first or not.
    async fn propose_partitioning(
        &self,
        table: Table,
        fields: &[PartitionField],
    ) -> Result<Table, LakeError> {
        let proposal = self.repartition(&table, fields)?;
        let mut wrote = Written::nothing(self);
        if !self.catalog.writes_metadata() {
            wrote.push(proposal.metadata_location.clone());
        }
        self.write_metadata(table.name(), &proposal).await?;
        // From here on the catalog may name it.
        let wrote = wrote.keep();
        let answer = self.catalog.swap(table.name(), table.pointer(), &proposal).await;
        // Whatever the answer is, the table decides (I6): the change may be proposed twice.
        let now = self.load(table.name()).await?;
        let has_moved = now.pointer().token != table.pointer().token;
        match answer {
            Err(source) if !has_moved => {
                return Err(LakeError::Catalog { table: table.name().clone(), source });
            }
            _ if has_moved && !now.descends_from(&proposal.metadata_location) => {
                self.delete_unnamed(wrote).await;
            }
            _ => {}
        }
        Ok(now)
    }

    fn repartition(&self, table: &Table, fields: &[PartitionField]) -> Result<Proposal, LakeError> {
        let name = table.name();
        let location = self.next_metadata_location(table)?;
        let metadata: &TableMetadata = table.metadata();
        let built = metadata
            .clone()
            .into_builder(Some(table.metadata_location().to_owned()))
            .add_default_partition_spec(spec(name, table.schema(), fields)?)
            .and_then(|builder| builder.build())
            .doing(name, "partitioning it")?;
        Ok(Proposal {
            requirements: vec![
                TableRequirement::UuidMatch { uuid: metadata.uuid() },
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: metadata.current_schema_id(),
                },
                TableRequirement::DefaultSpecIdMatch {
                    default_spec_id: metadata.default_partition_spec_id(),
                },
            ],
            updates: built.changes,
            metadata: Arc::new(built.metadata),
            metadata_location: location.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_written_as_sql_has_them() {
        for (text, shown, name) in [
            ("city", "city", "city"),
            ("identity(city)", "city", "city"),
            ("day(_event_time)", "day(_event_time)", "_event_time_day"),
            ("Hours( at )", "hour(at)", "at_hour"),
            ("bucket(16, customer_id)", "bucket(16, customer_id)", "customer_id_bucket"),
            ("truncate(4,name)", "truncate(4, name)", "name_trunc"),
        ] {
            let field: PartitionField = text.parse().unwrap();
            assert_eq!(
                (field.to_string().as_str(), field.name().as_str()),
                (shown, name),
                "{text}"
            );
        }
        for text in [
            "",
            "day(",
            "day()",
            "bucket(c)",
            "bucket(0, c)",
            "bucket(-1, c)",
            "week(c)",
            "a b",
            "day(a, b)",
            "void(c)",
        ] {
            let error = text.parse::<PartitionField>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
