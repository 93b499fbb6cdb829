//! Settings → backends: the one place that names them all.

use std::path::Path;
use std::sync::Arc;

use crate::ambient::{SharedAmbient, SystemAmbient};
use crate::announce::{Announcer, EventBridge, EventBus, NoticeKind};
use crate::aws::Aws;
use crate::bronze::Bronze;
use crate::checkpoint::{CheckpointStore, LocalCheckpoints, S3Checkpoints};
use crate::config::environment::Variable;
use crate::config::settings::{
    CatalogSettings, LakeSettings, PipelineSettings, Place, QueueSettings, RestAuth, SourceSettings,
};
use crate::config::{Settings, environment};
use crate::gold::Gold;
use crate::lake::catalog::{
    Catalog, CatalogError, GlueCatalog, JdbcCatalog, Login, RestCatalog, RestSettings,
    S3TablesCatalog, Secret,
};
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
    /// Tells of its commits, where somebody wants to be told.
    pub announcer: Option<Announcer>,
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
    /// Where commits are announced.
    pub bus: Option<Arc<dyn EventBus>>,
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
    /// AWS is needed, and nobody has said who we are.
    #[error("there are no AWS credentials in the environment or the AWS profile")]
    NoCredentials,
    /// The catalog is elsewhere.
    #[error(
        "{catalog} is in region {region}, and the region that is set is {set}: set AWS_REGION={region}"
    )]
    OtherRegion {
        /// The catalog.
        catalog: String,
        /// Its region.
        region: String,
        /// Ours.
        set: String,
    },
    /// A secret of the environment is missing.
    #[error(
        "lake.rest.auth needs the environment variable {}, as {}: it is not set, or not of that form",
        .0.name,
        .0.form.replace('`', "")
    )]
    NoSecret(&'static Variable),
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
    let aws = aws(&settings).await?;
    let aws = aws.as_ref();
    let catalog = catalog(&settings, missing, aws).await?;
    let (source, intake) = source(&settings, aws, &ambient)?;
    let files = files(&settings, aws)?;
    let warehouse = settings.lake.warehouse.as_ref().map(Place::to_string);
    let lake = Lake::new(catalog, files, &warehouse.unwrap_or_default(), ambient);
    let checkpoints = checkpoints(&settings, aws)?;
    let bus = settings.lake.event_bus.clone();
    let wired = assemble(settings, lake, source, checkpoints, intake);
    Ok(match (bus, aws) {
        (Some(bus), Some(aws)) => {
            wired.announcing_on(&(Arc::new(EventBridge::new(aws.eventbridge(), &bus)) as _))
        }
        _ => wired,
    })
}

impl Wired {
    /// The same, with its commits announced on a bus.
    pub fn announcing_on(mut self, bus: &Arc<dyn EventBus>) -> Self {
        for pipeline in &mut self.pipelines {
            let PipelineSettings { name, bronze, silver, gold, .. } = &pipeline.settings;
            let mut tables = vec![
                (NoticeKind::BronzeCommitted, bronze.table.clone()),
                (NoticeKind::ObjectRejected, pipeline.bronze.ledger().table().clone()),
            ];
            tables.extend(silver.iter().map(|s| (NoticeKind::SilverMerged, s.table.clone())));
            tables.extend(gold.iter().map(|g| (NoticeKind::GoldRefreshed, g.table.clone())));
            pipeline.announcer = Some(Announcer::new(
                &self.lake,
                &self.settings.lake.name,
                name,
                bus.clone(),
                self.checkpoints.clone(),
                tables,
            ));
        }
        self.bus = Some(bus.clone());
        self
    }
}

/// AWS, if anything that was configured is there.
async fn aws(settings: &Settings) -> Result<Option<Aws>, WiringError> {
    let LakeSettings { catalog, warehouse, checkpoints, event_bus, .. } = &settings.lake;
    let own_catalog = match catalog {
        CatalogSettings::Sqlite(_) | CatalogSettings::Postgres(_) => true,
        CatalogSettings::Rest(rest) => !matches!(rest.auth, RestAuth::SigV4 { .. }),
        CatalogSettings::S3Tables(_) | CatalogSettings::Glue(_) => false,
    };
    let local = own_catalog
        && matches!(settings.source, SourceSettings::Directory { .. })
        && matches!(warehouse, Some(Place::Folder(_)))
        && matches!(checkpoints, Place::Folder(_))
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
        Some(Place::Folder(_)) => local_files(),
        Some(Place::S3 { .. }) | None => {
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
            announcer: None,
        })
        .collect();
    Wired { settings: Arc::new(settings), lake, source, intake, checkpoints, bus: None, pipelines }
}

async fn catalog(
    settings: &Settings,
    missing: Missing,
    aws: Option<&Aws>,
) -> Result<Arc<dyn Catalog>, WiringError> {
    let jdbc = async |url: &str| JdbcCatalog::connect(url, &settings.lake.name).await;
    let connected = || aws.ok_or(WiringError::NoRegion);
    Ok(match &settings.lake.catalog {
        CatalogSettings::Postgres(url) => Arc::new(jdbc(url).await?),
        CatalogSettings::Sqlite(path) => {
            if missing == Missing::Refuse && !path.exists() {
                return Err(WiringError::NoLake(path.display().to_string()));
            }
            make_parent(path)?;
            Arc::new(jdbc(&format!("sqlite:{}", path.display())).await?)
        }
        CatalogSettings::S3Tables(arn) => {
            let aws = connected()?;
            same_region(arn.split(':').nth(3), aws, arn)?;
            Arc::new(S3TablesCatalog::new(aws.s3tables(), arn))
        }
        CatalogSettings::Glue(id) => Arc::new(GlueCatalog::new(connected()?.glue(), id)),
        CatalogSettings::Rest(rest) => {
            let settings = RestSettings {
                uri: rest.uri.clone(),
                warehouse: rest.warehouse.clone(),
                login: login(&rest.auth, &rest.uri, aws)?,
                places_tables: settings.lake.warehouse.is_some(),
            };
            Arc::new(RestCatalog::connect(settings).await?)
        }
    })
}

/// How a REST catalog is logged in to, with the secrets of the environment.
fn login(auth: &RestAuth, uri: &str, aws: Option<&Aws>) -> Result<Login, WiringError> {
    Ok(match auth {
        RestAuth::None => Login::None,
        RestAuth::Token => {
            let token =
                environment::rest_token().ok_or(WiringError::NoSecret(&environment::REST_TOKEN))?;
            Login::Token(Secret::new(token))
        }
        RestAuth::OAuth2 { server, scope } => {
            let (client_id, secret) = environment::rest_credential()
                .ok_or(WiringError::NoSecret(&environment::REST_CREDENTIAL))?;
            Login::OAuth2 {
                server: server.clone(),
                client_id,
                client_secret: Secret::new(secret),
                scope: scope.clone(),
            }
        }
        RestAuth::SigV4 { service, region } => {
            let aws = aws.ok_or(WiringError::NoRegion)?;
            same_region(region.as_deref(), aws, uri)?;
            Login::SigV4 {
                credentials: aws.credentials().ok_or(WiringError::NoCredentials)?,
                region: aws.region().ok_or(WiringError::NoRegion)?.to_owned(),
                service: service.clone(),
            }
        }
    })
}

/// A signature is for a region, and tables' files are read where the catalog is.
fn same_region(region: Option<&str>, aws: &Aws, catalog: &str) -> Result<(), WiringError> {
    match (region, aws.region()) {
        (Some(region), Some(set)) if region != set => Err(WiringError::OtherRegion {
            catalog: catalog.to_owned(),
            region: region.to_owned(),
            set: set.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn make_parent(path: &Path) -> Result<(), WiringError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent)
        .map_err(|source| WiringError::Folder { path: parent.display().to_string(), source })
}
