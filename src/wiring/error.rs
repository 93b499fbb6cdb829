//! Why nothing could be connected.

use crate::config::environment::Variable;
use crate::lake::catalog::CatalogError;

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
        "lake.rest.auth requires the environment variable {}, as {}: it is missing or malformed",
        .0.name,
        .0.form.replace('`', "")
    )]
    NoSecret(&'static Variable),
    /// There is nothing to look at.
    #[error("there is no lake at {0} yet: `silversmith run` or `silversmith bronze` makes it")]
    NoLake(String),
}
