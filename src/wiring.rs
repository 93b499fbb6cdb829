//! Settings → backends: the one place that names them all.

use std::path::Path;
use std::sync::Arc;

use crate::ambient::{SharedAmbient, SystemAmbient};
use crate::bronze::Bronze;
use crate::checkpoint::{CheckpointStore, LocalCheckpoints};
use crate::config::Settings;
use crate::config::settings::{CatalogSettings, PipelineSettings};
use crate::gold::Gold;
use crate::lake::catalog::{Catalog, CatalogError, JdbcCatalog};
use crate::lake::{Lake, local_files};
use crate::silver::Silver;
use crate::silver::engine::LocalEngine;
use crate::source::{DirectoryStore, RawStore};

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
    let source = Arc::new(DirectoryStore::new(
        &settings.base,
        &settings.source.directory,
        settings.source.settle,
        ambient.clone(),
    ));
    let checkpoints = Arc::new(LocalCheckpoints::new(&settings.lake.checkpoints));
    let warehouse = settings.lake.warehouse.to_string_lossy().into_owned();
    let lake = Lake::new(catalog, local_files(), &warehouse, ambient);
    Ok(assemble(settings, lake, source, checkpoints))
}

/// Puts the pipelines of the settings on the given ports.
pub fn assemble(
    settings: Settings,
    lake: Lake,
    source: Arc<dyn RawStore>,
    checkpoints: Arc<dyn CheckpointStore>,
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
        })
        .collect();
    Wired { settings: Arc::new(settings), lake, source, checkpoints, pipelines }
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
