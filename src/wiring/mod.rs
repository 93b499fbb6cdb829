//! Settings → backends: the only folder that names them all.

mod catalog;
mod consumers;
mod error;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::ambient::{SharedAmbient, SystemAmbient};
use crate::announce::EventBridge;
use crate::aws::Aws;
use crate::bronze::Bronze;
use crate::checkpoint::{CheckpointStore, LocalCheckpoints, S3Checkpoints};
use crate::config::settings::{
    CatalogSettings, KeepSnapshots, LakeSettings, Location, PipelineSettings, RestAuth,
    SourceSettings,
};
use crate::config::{Settings, environment};
use crate::gold::{Gold, GoldSettings, order};
use crate::lake::catalog::WithDeadline;
use crate::lake::{FileIO, FileListing, Lake, local_files, local_listing, s3_files, s3_listing};
use crate::merge::{IndexSettings, IndexUse, LocalEngine};
use crate::pipeline::{Intake, Pipeline, Queues, Wired};
use crate::queue::SqsQueue;
use crate::silver::Silver;
use crate::source::{DirectoryStore, RawStore, S3Store};
use consumers::PipelineConsumers;
pub use error::WiringError;

/// What happens where a lake does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Its folders and its catalog are created.
    Make,
    /// That is an error: the command only reads.
    Refuse,
}

/// How long a request to the catalog may take. Through a slow REST catalog the commit of a large table takes
/// seconds; what takes longer than this has hung.
const CATALOG_DEADLINE: Duration = Duration::from_secs(60);

/// Connects the backends that the settings name, with the machine's own clock.
pub async fn wire(settings: Settings, missing: Missing) -> Result<Wired, WiringError> {
    let ambient: SharedAmbient = Arc::new(SystemAmbient);
    let aws = aws(&settings).await?;
    let aws = aws.as_ref();
    let inner = catalog::catalog(&settings, missing, aws, &ambient).await?;
    let catalog = Arc::new(WithDeadline::new(inner, CATALOG_DEADLINE, ambient.clone()));
    let (source, intake) = source(&settings, aws, &ambient)?;
    let (files, listing) = files(&settings, aws, &ambient)?;
    let warehouse = settings.lake.warehouse.as_ref().map(Location::to_string);
    let checkpoints = checkpoints(&settings, aws, &ambient)?;
    let lake = Lake::new(catalog, files, &warehouse.unwrap_or_default(), ambient);
    lake.list_by(listing);
    let bus = settings.lake.event_bus.clone();
    let wired = assemble(settings, lake, source, checkpoints, intake);
    let wired = match (bus, aws) {
        (Some(bus), Some(aws)) => {
            wired.announcing_on(&(Arc::new(EventBridge::new(aws.eventbridge(), &bus)) as _))
        }
        _ => wired,
    };
    expire_behind(&wired);
    Ok(wired)
}

/// AWS, if anything in the settings is on AWS.
async fn aws(settings: &Settings) -> Result<Option<Aws>, WiringError> {
    let LakeSettings { catalog, warehouse, checkpoints, event_bus, .. } = &settings.lake;
    let own_catalog = match catalog {
        CatalogSettings::Sqlite(_) | CatalogSettings::Postgres(_) => true,
        CatalogSettings::Rest(rest) => !matches!(rest.auth, RestAuth::SigV4 { .. }),
        CatalogSettings::S3Tables(_) | CatalogSettings::Glue(_) => false,
    };
    let local = own_catalog
        && matches!(settings.source, SourceSettings::Directory { .. })
        && matches!(warehouse, Some(Location::Folder(_)))
        && matches!(checkpoints, Location::Folder(_))
        && event_bus.is_none();
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
    let s3 = || {
        let client = aws.ok_or(WiringError::NoRegion)?.s3();
        Ok::<_, WiringError>(Arc::new(S3Store::new(client, ambient.clone())))
    };
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

fn files(
    settings: &Settings,
    aws: Option<&Aws>,
    ambient: &SharedAmbient,
) -> Result<(FileIO, Arc<dyn FileListing>), WiringError> {
    Ok(match &settings.lake.warehouse {
        Some(Location::Folder(_)) => (local_files(), local_listing()),
        Some(Location::S3 { .. }) | None => {
            let s3 = aws.ok_or(WiringError::NoRegion)?.s3();
            let files = s3_files(s3.clone(), settings.memory().metadata(), ambient);
            (files, s3_listing(s3))
        }
    })
}

fn checkpoints(
    settings: &Settings,
    aws: Option<&Aws>,
    ambient: &SharedAmbient,
) -> Result<Arc<dyn CheckpointStore>, WiringError> {
    Ok(match &settings.lake.checkpoints {
        Location::Folder(folder) => Arc::new(LocalCheckpoints::new(folder)),
        Location::S3 { bucket, prefix } => {
            let s3 = aws.ok_or(WiringError::NoRegion)?.s3();
            Arc::new(S3Checkpoints::new(s3, bucket, prefix, ambient.clone()))
        }
    })
}

/// From now on commits expire the snapshots that no pipeline needs any more, unless the settings say never.
pub fn expire_behind(wired: &Wired) {
    let kept = match wired.settings.lake.upkeep.snapshots {
        KeepSnapshots::Always => return,
        KeepSnapshots::AsTheTableSays => None,
        KeepSnapshots::For(kept) => Some(kept),
    };
    wired.lake.expire_behind(Arc::new(PipelineConsumers(wired.pipelines.clone())), kept);
}

/// What merges, with a key index where there is a disk for it.
fn engine(settings: &Settings, lake: &Lake) -> Arc<LocalEngine> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let memory = settings.memory().queries();
    let engine = LocalEngine::new(lake, memory, threads);
    Arc::new(match &settings.worker.state {
        Some(state) => engine.with_index(IndexSettings {
            folder: state.join("index"),
            // Its rows are sorted while no query runs; the other half is what the readers hold.
            memory: memory / 2,
            when: IndexUse::default(),
        }),
        None => engine,
    })
}

/// Builds the pipelines of the settings on the given ports.
pub fn assemble(
    settings: Settings,
    lake: Lake,
    source: Arc<dyn RawStore>,
    checkpoints: Arc<dyn CheckpointStore>,
    intake: Intake,
) -> Wired {
    let engine = engine(&settings, &lake);
    let all_gold: Vec<&GoldSettings> = settings.pipelines.iter().flat_map(|p| &p.gold).collect();
    // The configuration has refused circles.
    let in_order = order::in_order(&all_gold).unwrap_or(all_gold);
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
            gold: golds(&lake, &in_order, |gold| gold.pipeline == settings.name),
            followers: followers(&lake, &in_order, settings),
            checkpoints: checkpoints.clone(),
            announcer: None,
        })
        .collect();
    Wired { settings: Arc::new(settings), lake, source, intake, checkpoints, bus: None, pipelines }
}

fn golds(lake: &Lake, all: &[&GoldSettings], which: impl Fn(&GoldSettings) -> bool) -> Vec<Gold> {
    let these = all.iter().filter(|gold| which(gold));
    these.map(|gold| Gold::new(lake, (*gold).clone())).collect()
}

/// The gold tables that follow a pipeline's tables; its own among them, whatever they are computed from.
fn followers(lake: &Lake, all: &[&GoldSettings], pipeline: &PipelineSettings) -> Vec<Gold> {
    let moving = pipeline.tables().into_iter().map(|(_, table)| table);
    let following: HashSet<_> =
        order::downstream(all, moving).into_iter().map(|gold| gold.table.clone()).collect();
    golds(lake, all, |gold| gold.pipeline == pipeline.name || following.contains(&gold.table))
}
