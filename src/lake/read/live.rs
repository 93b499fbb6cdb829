//! The live files of a table as upkeep looks at them: where each belongs, and what has become of its rows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, Manifest, ManifestContentType, ManifestFile, PrimitiveType, Struct, Type,
};

use super::plan::{At, Deletes, SURE_BOUNDS, has_groups};
use super::promoted::{promoted, types_now};
use super::scan::FileTask;
use crate::lake::{Lake, LakeError, SequenceNumber, Table};

/// What is live in a state of a table.
#[derive(Debug, Default)]
pub struct Live {
    /// The data files, sorted by path.
    pub data: Vec<LiveFile>,
    /// The delete files, by path.
    pub deletes: BTreeSet<String>,
}

/// A live data file.
#[derive(Debug, Clone)]
pub struct LiveFile {
    /// The file, with the deletes that apply to it.
    pub task: FileTask,
    /// Where it is.
    pub partition: Partition,
    /// Its data sequence number.
    pub sequence: SequenceNumber,
    /// The delete files that apply to it, by path.
    pub deletes: BTreeSet<String>,
    /// Rows that the deletes for this file alone take out of it.
    pub deleted_rows: u64,
    /// Whether its text bounds may leave out a value.
    pub has_unsure_bounds: bool,
}

/// A partition of one of the table's partition specs, which may be an older one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Partition {
    spec: i32,
    values: Struct,
}

impl Live {
    /// The delete files that apply to no data file but these.
    pub fn deletes_of_none_but(&self, removed: &BTreeSet<String>) -> impl Iterator<Item = &String> {
        let stays = self.data.iter().filter(|file| !removed.contains(file.task.path()));
        let used: BTreeSet<&String> = stays.flat_map(|file| &file.deletes).collect();
        self.deletes.iter().filter(move |path| !used.contains(path))
    }
}

impl Lake {
    /// The sizes of the manifests of the table's current snapshot.
    pub async fn manifest_sizes(&self, table: &Table) -> Result<Vec<u64>, LakeError> {
        let Some(snapshot) = table.metadata().current_snapshot() else { return Ok(vec![]) };
        let manifests = self.manifests_of(table, snapshot).await?;
        Ok(manifests.iter().map(|manifest| manifest.manifest_length.max(0) as u64).collect())
    }

    /// What is live in the table's current snapshot.
    pub async fn live(&self, table: &Table) -> Result<Live, LakeError> {
        let mut live = Live::default();
        let Some(snapshot) = table.metadata().current_snapshot() else { return Ok(live) };
        let (mut deletes, mut deleted) = (Deletes::default(), HashMap::new());
        let mut data = Vec::new();
        for manifest in self.manifests_of(table, snapshot).await? {
            if !manifest.has_added_files() && !manifest.has_existing_files() {
                continue;
            }
            match manifest.content {
                ManifestContentType::Data => data.push(manifest),
                ManifestContentType::Deletes => {
                    let loaded = self.manifest(table, &manifest).await?;
                    deletes.add(table, &loaded, &manifest);
                    note_deletes(&loaded, &mut live.deletes, &mut deleted);
                }
            }
        }
        for of in data {
            let manifest = self.manifest(table, &of).await?;
            add_files(&mut live.data, table, (&manifest, &of), &deletes, &deleted);
        }
        live.data.sort_by(|a, b| a.task.path().cmp(b.task.path()));
        Ok(live)
    }
}

/// Adds the delete files of a manifest, and how many rows they take out of single files.
fn note_deletes(
    manifest: &Manifest,
    all: &mut BTreeSet<String>,
    deleted: &mut HashMap<String, u64>,
) {
    for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
        let file = entry.data_file();
        all.insert(file.file_path().to_owned());
        if let (DataContentType::PositionDeletes, Some(of)) =
            (file.content_type(), file.referenced_data_file())
        {
            *deleted.entry(of).or_default() += file.record_count();
        }
    }
}

fn add_files(
    files: &mut Vec<LiveFile>,
    table: &Table,
    (manifest, of): (&Manifest, &ManifestFile),
    deletes: &Deletes,
    deleted: &HashMap<String, u64>,
) {
    let spec = Arc::new(manifest.metadata().partition_spec().clone());
    let sure_from = table.property(SURE_BOUNDS).and_then(|text| text.parse().ok());
    let sure_from: i64 = sure_from.unwrap_or(i64::MAX);
    let types = types_now(table, &spec);
    for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
        let (file, sequence) = (entry.data_file(), entry.sequence_number().unwrap_or(0));
        let partition = promoted(file.partition(), types.as_ref());
        let at = At {
            path: file.file_path(),
            partition: &partition,
            spec: of.partition_spec_id,
            sequence,
        };
        let applying = deletes.of(&at);
        let is_text = |id: &i32| {
            let field = table.schema().iceberg().field_by_id(*id);
            let kind = field.map(|field| field.field_type.as_ref());
            matches!(kind, Some(Type::Primitive(PrimitiveType::String | PrimitiveType::Binary)))
        };
        let is_older = entry.file_sequence_number.unwrap_or(sequence) < sure_from;
        let unsure = is_older && has_groups(file) && file.lower_bounds().keys().any(is_text);
        files.push(LiveFile {
            deletes: applying.iter().map(|delete| delete.file_path.clone()).collect(),
            task: FileTask::live(file, table.schema(), (&spec, partition.clone()), applying),
            partition: Partition { spec: of.partition_spec_id, values: partition },
            sequence: SequenceNumber(sequence),
            deleted_rows: deleted.get(file.file_path()).copied().unwrap_or(0),
            has_unsure_bounds: unsure,
        });
    }
}
