//! Why the settings could not be connected to their backends.

#[cfg(any(feature = "glue", feature = "s3tables"))]
use crate::aws::service::ServiceError;
use crate::config::environment::Variable;
use crate::error::Kind;
#[cfg(not(all(feature = "glue", feature = "s3tables")))]
use crate::features::NotBuilt;
use crate::lake::catalog::CatalogError;

/// Why the settings could not be connected to their backends.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A folder that is missing.
    #[error("folder {path} cannot be created")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A catalog of AWS cannot be called.
    #[cfg(any(feature = "glue", feature = "s3tables"))]
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The catalog is of a kind that this build is without.
    #[cfg(not(all(feature = "glue", feature = "s3tables")))]
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// AWS is needed, and no region is set.
    #[error("no AWS region is set: set AWS_REGION, or a region in the AWS profile")]
    NoRegion,
    /// AWS is needed, and there are no credentials.
    #[error("there are no AWS credentials in the environment or the AWS profile")]
    NoCredentials,
    /// The catalog is in another region.
    #[error(
        "{catalog} is in region {region}, and the region that is set is {set}: set AWS_REGION={region}"
    )]
    OtherRegion {
        /// The catalog.
        catalog: String,
        /// Its region.
        region: String,
        /// The region that is set.
        set: String,
    },
    /// A secret of the environment is missing.
    #[error(
        "lake.rest.auth requires the environment variable {}, as {}: it is missing or malformed",
        .0.name,
        .0.form.replace('`', "")
    )]
    NoSecret(&'static Variable),
    /// The lake does not exist, and the command only reads.
    #[error("there is no lake at {0} yet: `silversmith run` or `silversmith bronze` creates it")]
    NoLake(String),
}

impl WiringError {
    /// What an operator does next.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Catalog(_) | Self::Folder { .. } | Self::NoLake(_) => Kind::Look,
            _ => Kind::Configuration,
        }
    }
}
