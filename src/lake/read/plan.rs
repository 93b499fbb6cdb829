//! The live files of a snapshot, from its manifests: without those that cannot hold a requested row, each with
//! the deletes that apply to it (Iceberg spec, "Scan Planning").

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use futures::{StreamExt, TryStreamExt};
use iceberg::scan::FileScanTaskDeleteFile;
use iceberg::spec::{
    DataContentType, DataFile, Datum, Manifest, ManifestContentType, ManifestFile, PartitionSpec,
    PrimitiveLiteral, PrimitiveType, Struct, Transform, Type,
};
use iceberg::transform::create_transform_function;

use super::promoted::{promoted, types_now};
use super::scan::{Bounds, FileTask, datum};
use crate::lake::error::Doing;
use crate::lake::{Lake, LakeError, SnapshotId, Table};

/// The table property with the sequence number from which on the text bounds of files are sure. Older files
/// with several row groups may hold values outside their text bounds.
pub(in crate::lake) const SURE_BOUNDS: &str = "silversmith.sure-bounds-from-sequence-number";

const POSITIONS: DataContentType = DataContentType::PositionDeletes;
/// Manifests read at a time.
const AT_ONCE: usize = 8;
const DOING: &str = "planning a scan";

impl Lake {
    /// The live files of a snapshot of `table` (the current one unless given), sorted by path. Files that
    /// hold no row within `bounds`, by their partition and their metrics, are left out.
    pub async fn files_of(
        &self,
        table: &Table,
        snapshot: Option<SnapshotId>,
        bounds: &[Bounds],
    ) -> Result<Vec<FileTask>, LakeError> {
        let name = table.name();
        let metadata = table.metadata();
        let snapshot = match snapshot {
            Some(id) => metadata.snapshot_by_id(id.0).ok_or_else(|| LakeError::NoSnapshot {
                table: name.clone(),
                what: id.to_string(),
            })?,
            None => match metadata.current_snapshot() {
                Some(snapshot) => snapshot,
                None => return Ok(vec![]),
            },
        };
        let filter = Filter::new(table, bounds)?;
        let mut deletes = Deletes::default();
        let mut data = Vec::new();
        for manifest in self.manifests_of(table, snapshot).await? {
            let live = manifest.has_added_files() || manifest.has_existing_files();
            match manifest.content {
                _ if !live => {}
                ManifestContentType::Deletes => {
                    deletes.add(table, &*self.manifest(table, &manifest).await?, &manifest)
                }
                ManifestContentType::Data if filter.may_hold_manifest(&manifest) => {
                    data.push(manifest)
                }
                ManifestContentType::Data => {}
            }
        }
        let loaded: Vec<(Arc<Manifest>, ManifestFile)> = futures::stream::iter(data)
            .map(|manifest| async move {
                Ok::<_, LakeError>((self.manifest(table, &manifest).await?, manifest))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut files = Vec::new();
        for (manifest, of) in loaded {
            let spec = Arc::new(manifest.metadata().partition_spec().clone());
            let types = types_now(table, &spec);
            for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
                let (file, sequence) = (entry.data_file(), entry.sequence_number().unwrap_or(0));
                let at = At {
                    path: file.file_path(),
                    partition: &promoted(file.partition(), types.as_ref()),
                    spec: of.partition_spec_id,
                    sequence,
                };
                // What counts for its bounds is when the file was written, and not how old its rows are.
                let written = entry.file_sequence_number.unwrap_or(sequence);
                if filter.may_hold(file, &at, written) {
                    let deletes = deletes.of(&at);
                    let partition = at.partition.clone();
                    files.push(FileTask::live(file, table.schema(), (&spec, partition), deletes));
                }
            }
        }
        files.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(files)
    }
}

/// Where a data file is.
pub(super) struct At<'a> {
    pub(super) path: &'a str,
    /// As values of the types that its columns have now.
    pub(super) partition: &'a Struct,
    pub(super) spec: i32,
    /// The sequence number of its rows, which may be older than the file.
    pub(super) sequence: i64,
}

/// Delete files, and what they apply to.
#[derive(Default)]
pub(super) struct Deletes {
    /// Of one data file each, by its path: there may be as many as data files.
    of_files: HashMap<String, Vec<Delete>>,
    others: Vec<Delete>,
}

type Delete = (FileScanTaskDeleteFile, DeleteScope);

struct DeleteScope {
    sequence: i64,
    spec: i32,
    partition: Struct,
}

impl Deletes {
    pub(super) fn add(&mut self, table: &Table, manifest: &Manifest, of: &ManifestFile) {
        let types = types_now(table, manifest.metadata().partition_spec());
        for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file();
            let task = FileScanTaskDeleteFile::builder()
                .with_file_path(file.file_path().to_owned())
                .with_file_size_in_bytes(file.file_size_in_bytes())
                .with_file_type(file.content_type())
                .with_partition_spec_id(of.partition_spec_id)
                .with_equality_ids(file.equality_ids())
                .build();
            let scope = DeleteScope {
                sequence: entry.sequence_number().unwrap_or(0),
                spec: of.partition_spec_id,
                partition: promoted(file.partition(), types.as_ref()),
            };
            match file.referenced_data_file().filter(|_| task.file_type == POSITIONS) {
                Some(path) => self.of_files.entry(path).or_default().push((task, scope)),
                None => self.others.push((task, scope)),
            }
        }
    }

    /// Equality deletes apply to files with a smaller sequence number, position deletes also to files
    /// with the same; equality deletes without a partition apply everywhere.
    pub(super) fn of(&self, file: &At<'_>) -> Vec<FileScanTaskDeleteFile> {
        let applies = |(task, scope): &&Delete| {
            let same = scope.spec == file.spec && scope.partition == *file.partition;
            match task.file_type {
                DataContentType::EqualityDeletes => {
                    scope.sequence > file.sequence && (same || scope.partition.fields().is_empty())
                }
                _ => scope.sequence >= file.sequence && same,
            }
        };
        let own = self.of_files.get(file.path).into_iter().flatten();
        let applying = self.others.iter().chain(own).filter(applies);
        applying.map(|(task, _)| task.clone()).collect()
    }
}

/// Which files may hold a row within bounds.
struct Filter {
    conditions: Vec<Condition>,
    /// By partition spec: the index of a partition field, its type, and the values that it may have.
    by_spec: HashMap<i32, Vec<PartitionRange>>,
    sure_from: i64,
}

/// A side without a value is open.
struct Condition {
    id: i32,
    least: Option<Datum>,
    greatest: Option<Datum>,
}

struct PartitionRange {
    index: usize,
    kind: PrimitiveType,
    least: Option<PrimitiveLiteral>,
    greatest: Option<PrimitiveLiteral>,
}

impl PartitionRange {
    /// Whether a value may be in it that is at most `upper` and at least `lower`, as far as these are known.
    fn may_hold(&self, lower: Option<&PrimitiveLiteral>, upper: Option<&PrimitiveLiteral>) -> bool {
        let below = upper.zip(self.least.as_ref()).is_some_and(|(upper, least)| upper < least);
        let above =
            lower.zip(self.greatest.as_ref()).is_some_and(|(lower, greatest)| lower > greatest);
        !below && !above
    }

    fn value(&self, bytes: Option<&Vec<u8>>) -> Option<Datum> {
        Datum::try_from_bytes(bytes?, self.kind.clone()).ok()
    }
}

impl Filter {
    fn new(table: &Table, bounds: &[Bounds]) -> Result<Self, LakeError> {
        let conditions: Vec<Condition> = bounds
            .iter()
            .filter_map(|b| {
                let id = table.schema().id_of(&b.column)?;
                let kind = table.schema().iceberg().field_by_id(id)?.field_type.as_ref();
                let of = |value: &Option<ArrayRef>| match value {
                    Some(value) => datum(value).map(|value| Some(as_column(value, kind))),
                    None => Some(None),
                };
                Some(Condition { id, least: of(&b.least)?, greatest: of(&b.greatest)? })
            })
            .collect();
        let mut by_spec = HashMap::new();
        for spec in table.metadata().partition_specs_iter() {
            let ranges = partition_ranges(table, spec, &conditions)?;
            by_spec.insert(spec.spec_id(), ranges);
        }
        let sure_from = table.property(SURE_BOUNDS).and_then(|text| text.parse().ok());
        Ok(Self { conditions, by_spec, sure_from: sure_from.unwrap_or(i64::MAX) })
    }

    fn ranges(&self, spec: i32) -> &[PartitionRange] {
        self.by_spec.get(&spec).map_or(&[], Vec::as_slice)
    }

    fn may_hold_manifest(&self, manifest: &ManifestFile) -> bool {
        let Some(summaries) = &manifest.partitions else { return true };
        self.ranges(manifest.partition_spec_id).iter().all(|range| {
            let Some(summary) = summaries.get(range.index) else { return true };
            let upper = range.value(summary.upper_bound.as_deref());
            let lower = range.value(summary.lower_bound.as_deref());
            range.may_hold(lower.as_ref().map(Datum::literal), upper.as_ref().map(Datum::literal))
        })
    }

    fn may_hold(&self, file: &DataFile, at: &At<'_>, written: i64) -> bool {
        let in_partition = self.ranges(at.spec).iter().all(|range| {
            match at.partition.fields().get(range.index) {
                Some(Some(value)) => value
                    .as_primitive_literal()
                    .is_none_or(|value| range.may_hold(Some(&value), Some(&value))),
                // A null partition value: the column is null, which is in no range.
                Some(None) => false,
                None => true,
            }
        });
        in_partition && self.conditions.iter().all(|c| self.meets(c, file, written))
    }

    fn meets(&self, condition: &Condition, file: &DataFile, written: i64) -> bool {
        let Condition { id, least, greatest } = condition;
        let count = |counts: &HashMap<i32, u64>| counts.get(id).copied();
        let values = count(file.value_counts());
        if values.is_some_and(|v| v > 0) && values == count(file.null_value_counts()) {
            return false;
        }
        let is_text =
            |end: &Datum| matches!(end.data_type(), PrimitiveType::String | PrimitiveType::Binary);
        let text = least.iter().chain(greatest).any(is_text);
        if text && has_groups(file) && written < self.sure_from {
            return true;
        }
        let upper = file.upper_bounds().get(id).zip(least.as_ref());
        let lower = file.lower_bounds().get(id).zip(greatest.as_ref());
        !upper.is_some_and(|(upper, least)| upper < least)
            && !lower.is_some_and(|(lower, greatest)| lower > greatest)
    }
}

/// A bound as a value of its column's type. The column may be about to be widened: values of the type that it will
/// have are then compared with those of the type that it has.
fn as_column(bound: Datum, column: &Type) -> Datum {
    match (bound.literal(), column.as_primitive_type()) {
        (PrimitiveLiteral::Long(value), Some(PrimitiveType::Int)) => {
            Datum::int((*value).clamp(i32::MIN.into(), i32::MAX.into()) as i32)
        }
        (PrimitiveLiteral::Int(value), Some(PrimitiveType::Long)) => Datum::long(*value),
        _ => bound,
    }
}

/// Whether a file may have several row groups.
pub(super) fn has_groups(file: &DataFile) -> bool {
    file.split_offsets().map_or(2, <[i64]>::len) > 1
}

/// What the conditions say about the fields of a partition spec whose transforms keep the order.
fn partition_ranges(
    table: &Table,
    spec: &PartitionSpec,
    conditions: &[Condition],
) -> Result<Vec<PartitionRange>, LakeError> {
    let name = table.name();
    // The types of a column that was dropped since are no longer known.
    let Ok(types) = spec.partition_type(table.schema().iceberg()) else { return Ok(vec![]) };
    let mut ranges = Vec::new();
    for (index, field) in spec.fields().iter().enumerate() {
        if !field.transform.preserves_order() || field.transform == Transform::Void {
            continue;
        }
        let kind = types.fields().get(index).map(|field| field.field_type.as_ref().clone());
        let Some(Type::Primitive(kind)) = kind else { continue };
        let transform = create_transform_function(&field.transform).doing(name, DOING)?;
        for condition in conditions.iter().filter(|c| c.id == field.source_id) {
            let at = |value: &Option<Datum>| {
                let value = value.as_ref().map(|value| transform.transform_literal(value));
                let value = value.transpose().doing(name, DOING)?.flatten();
                Ok::<_, LakeError>(value.map(|value| value.literal().clone()))
            };
            let (least, greatest) = (at(&condition.least)?, at(&condition.greatest)?);
            ranges.push(PartitionRange { index, kind: kind.clone(), least, greatest });
        }
    }
    Ok(ranges)
}
