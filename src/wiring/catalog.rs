//! The catalog of the settings, with its login.

use std::path::Path;
use std::sync::Arc;

use super::{Missing, WiringError};
use crate::ambient::SharedAmbient;
use crate::aws::Aws;
use crate::aws::signing::Signer;
use crate::config::settings::{CatalogSettings, RestAuth};
use crate::config::{Settings, environment};
#[cfg(not(all(feature = "glue", feature = "s3tables")))]
use crate::features::Part;
#[cfg(feature = "glue")]
use crate::lake::catalog::GlueCatalog;
#[cfg(feature = "s3tables")]
use crate::lake::catalog::S3TablesCatalog;
use crate::lake::catalog::{Catalog, JdbcCatalog, Login, RestCatalog, RestSettings, Secret};

pub(super) async fn catalog(
    settings: &Settings,
    missing: Missing,
    aws: Option<&Aws>,
    ambient: &SharedAmbient,
) -> Result<Arc<dyn Catalog>, WiringError> {
    let jdbc = async |url: &str| JdbcCatalog::connect(url, &settings.lake.name).await;
    Ok(match &settings.lake.catalog {
        CatalogSettings::Postgres(url) => Arc::new(jdbc(url).await?),
        CatalogSettings::Sqlite(path) => {
            if missing == Missing::Refuse && !path.exists() {
                return Err(WiringError::NoLake(path.display().to_string()));
            }
            make_parent(path)?;
            Arc::new(jdbc(&format!("sqlite:{}", path.display())).await?)
        }
        #[cfg(feature = "s3tables")]
        CatalogSettings::S3Tables(arn) => {
            let aws = aws.ok_or(WiringError::NoRegion)?;
            same_region(arn.split(':').nth(3), aws, arn)?;
            Arc::new(S3TablesCatalog::new(aws.service("S3Tables", ambient.clone())?, arn))
        }
        #[cfg(not(feature = "s3tables"))]
        CatalogSettings::S3Tables(_) => return Err(Part::S3Tables.missing().into()),
        #[cfg(feature = "glue")]
        CatalogSettings::Glue(id) => {
            let aws = aws.ok_or(WiringError::NoRegion)?;
            Arc::new(GlueCatalog::new(aws.service("Glue", ambient.clone())?, id))
        }
        #[cfg(not(feature = "glue"))]
        CatalogSettings::Glue(_) => return Err(Part::Glue.missing().into()),
        CatalogSettings::Rest(rest) => {
            let settings = RestSettings {
                uri: rest.uri.clone(),
                warehouse: rest.warehouse.clone(),
                login: login(&rest.auth, &rest.uri, aws, ambient)?,
                places_tables: settings.lake.warehouse.is_some(),
            };
            Arc::new(RestCatalog::connect(settings, ambient).await?)
        }
    })
}

/// The login of a REST catalog, with the secrets from the environment.
fn login(
    auth: &RestAuth,
    uri: &str,
    aws: Option<&Aws>,
    ambient: &SharedAmbient,
) -> Result<Login, WiringError> {
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
            let credentials = aws.credentials().ok_or(WiringError::NoCredentials)?;
            let region = aws.region().ok_or(WiringError::NoRegion)?;
            Login::SigV4(Arc::new(Signer::new(credentials, region, service, ambient.clone())))
        }
    })
}

/// A signature is for one region, and table files are read in the region of the catalog.
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
