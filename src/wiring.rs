//! Settings → backends: the one place that names them all.

use std::path::Path;
use std::sync::Arc;

use crate::ambient::{SharedAmbient, SystemAmbient};
use crate::aws::Aws;
use crate::bronze::Bronze;
use crate::checkpoint::{CheckpointStore, LocalCheckpoints, S3Checkpoints};
use crate::config::settings::{
    CatalogSettings, PipelineSettings, Place, QueueSettings, SourceSettings,
};
use crate::config::{Settings, environment};
use crate::gold::Gold;
use crate::lake::catalog::{Catalog, CatalogError, JdbcCatalog};
use crate::lake::{FileIO, Lake, local_files, s3_files};
use crate::queue::{EventQueue, SqsQueue};
use crate::silver::Silver;
use crate::silver::engine::LocalEngine;
use crate::source::{DirectoryStore, RawStore, S3Store};

/// One route, ready to run.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// What was configured.
    pub settings: PipelineSettings,
    /// Raw → bronze.
    pub bronze: Bronze,
    /// Bronze → silver.
    pub silver: Option<Silver>,
    /// Silver → gold.
    pub gold: Vec<Gold>,
    /// The checkpoints, and the lock beside them.
    pub checkpoints: Arc<dyn CheckpointStore>,
}

/// What a worker watches.
#[derive(Debug, Clone)]
pub enum Intake {
    /// A folder, by listing it.
    Directory,
    /// A queue.
    Queue(Queues),
    /// Nothing: listings are asked for one by one.
    Listing,
}

/// The queues.
#[derive(Debug, Clone)]
pub struct Queues {
    /// What was configured.
    pub settings: QueueSettings,
    /// Events.
    pub queue: Arc<dyn EventQueue>,
    /// Dead letters.
    pub dlq: Arc<dyn EventQueue>,
}

/// Everything, connected.
#[derive(Debug, Clone)]
pub struct Wired {
    /// What was configured.
    pub settings: Arc<Settings>,
    /// The lake.
    pub lake: Lake,
    /// The raw zone.
    pub source: Arc<dyn RawStore>,
    /// What a worker watches.
    pub intake: Intake,
    /// The checkpoints.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// The routes.
    pub pipelines: Vec<Pipeline>,
}

/// Why nothing could be connected.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A folder that is to be made.
    #[error("folder {path} cannot be made")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// AWS is needed, and nobody has said where.
    #[error("no AWS region is set: set AWS_REGION, or a region in the AWS profile")]
    NoRegion,
    /// There is nothing to look at.
    #[error("there is no lake at {0} yet: `silversmith run` or `silversmith bronze` makes it")]
    NoLake(String),
}

/// Whether a lake that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Its folders and its catalog are made.
    Make,
    /// That is an error: somebody only wants to look.
    Refuse,
}

/// Connects what the settings name, with the machine's own clock.
pub async fn wire(settings: Settings, missing: Missing) -> Result<Wired, WiringError> {
    let ambient: SharedAmbient = Arc::new(SystemAmbient);
    let catalog = catalog(&settings, missing).await?;
    let aws = aws(&settings).await?;
    let aws = aws.as_ref();
    let (source, intake) = source(&settings, aws, &ambient)?;
    let files = files(&settings, aws)?;
    let lake = Lake::new(catalog, files, &settings.lake.warehouse.to_string(), ambient);
    let checkpoints = checkpoints(&settings, aws)?;
    Ok(assemble(settings, lake, source, checkpoints, intake))
}

/// AWS, if anything that was configured is there.
async fn aws(settings: &Settings) -> Result<Option<Aws>, WiringError> {
    let places = [&settings.lake.warehouse, &settings.lake.checkpoints];
    let local = matches!(settings.source, SourceSettings::Directory { .. })
        && places.iter().all(|place| matches!(place, Place::Folder(_)));
    if local {
        return Ok(None);
    }
    let aws = Aws::connect(environment::s3_endpoint().as_deref()).await;
    if !aws.has_region() {
        return Err(WiringError::NoRegion);
    }
    Ok(Some(aws))
}

fn source(
    settings: &Settings,
    aws: Option<&Aws>,
    ambient: &SharedAmbient,
) -> Result<(Arc<dyn RawStore>, Intake), WiringError> {
    let s3 =
        || Ok::<_, WiringError>(Arc::new(S3Store::new(aws.ok_or(WiringError::NoRegion)?.s3())));
    Ok(match &settings.source {
        SourceSettings::Directory { directory, settle } => {
            let store = DirectoryStore::new(&settings.base, directory, *settle, ambient.clone());
            (Arc::new(store), Intake::Directory)
        }
        SourceSettings::Listing => (s3()?, Intake::Listing),
        SourceSettings::Queue(queue) => {
            let sqs = aws.ok_or(WiringError::NoRegion)?.sqs();
            let queues = Queues {
                settings: queue.clone(),
                queue: Arc::new(SqsQueue::new(sqs.clone(), &queue.queue)),
                dlq: Arc::new(SqsQueue::new(sqs, &queue.dlq)),
            };
            (s3()?, Intake::Queue(queues))
        }
    })
}

/// The metadata of tables that is kept in memory: a sixteenth of what the process may use.
const METADATA_SHARE: u64 = 16;

fn files(settings: &Settings, aws: Option<&Aws>) -> Result<FileIO, WiringError> {
    Ok(match &settings.lake.warehouse {
        Place::Folder(_) => local_files(),
        Place::S3 { .. } => {
            let s3 = aws.ok_or(WiringError::NoRegion)?.s3();
            s3_files(s3, settings.worker.memory / METADATA_SHARE)
        }
    })
}

fn checkpoints(
    settings: &Settings,
    aws: Option<&Aws>,
) -> Result<Arc<dyn CheckpointStore>, WiringError> {
    Ok(match &settings.lake.checkpoints {
        Place::Folder(folder) => Arc::new(LocalCheckpoints::new(folder)),
        Place::S3 { bucket, prefix } => {
            let s3 = aws.ok_or(WiringError::NoRegion)?.s3();
            Arc::new(S3Checkpoints::new(s3, bucket, prefix))
        }
    })
}

/// Puts the pipelines of the settings on the given ports.
pub fn assemble(
    settings: Settings,
    lake: Lake,
    source: Arc<dyn RawStore>,
    checkpoints: Arc<dyn CheckpointStore>,
    intake: Intake,
) -> Wired {
    let lanes = std::thread::available_parallelism().map_or(2, usize::from);
    let engine = Arc::new(LocalEngine::new(&lake, (settings.worker.memory / 4) as usize, lanes));
    let pipelines = settings
        .pipelines
        .iter()
        .map(|settings| Pipeline {
            settings: settings.clone(),
            bronze: Bronze::new(
                &lake,
                source.clone(),
                checkpoints.clone(),
                settings.bronze.clone(),
            ),
            silver: settings
                .silver
                .clone()
                .map(|silver| Silver::new(&lake, checkpoints.clone(), engine.clone(), silver)),
            gold: settings.gold.iter().map(|gold| Gold::new(&lake, gold.clone())).collect(),
            checkpoints: checkpoints.clone(),
        })
        .collect();
    Wired { settings: Arc::new(settings), lake, source, intake, checkpoints, pipelines }
}

async fn catalog(settings: &Settings, missing: Missing) -> Result<Arc<dyn Catalog>, WiringError> {
    let name = &settings.lake.name;
    let url = match &settings.lake.catalog {
        CatalogSettings::Postgres(url) => url.clone(),
        CatalogSettings::Sqlite(path) => {
            if missing == Missing::Refuse && !path.exists() {
                return Err(WiringError::NoLake(path.display().to_string()));
            }
            make_parent(path)?;
            format!("sqlite:{}", path.display())
        }
    };
    Ok(Arc::new(JdbcCatalog::connect(&url, name).await?))
}

fn make_parent(path: &Path) -> Result<(), WiringError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent)
        .map_err(|source| WiringError::Folder { path: parent.display().to_string(), source })
}
