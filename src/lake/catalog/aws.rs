//! What the catalogs of AWS have in common.

use super::CatalogError;
use crate::aws::{Answer, Failed, ProvideErrorMetadata, told};
use crate::error::Kind;
use crate::lake::TableName;

/// The error of a request through the SDK.
pub(super) fn failed<E>(catalog: &str, doing: &'static str, error: Failed<E>) -> CatalogError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let answer = Answer::of(&error);
    let certain = answer.is_no();
    let lost = CatalogError::lost(catalog, doing, told(error).to_string(), answer.kind());
    CatalogError { certain, ..lost }
}

/// Namespaces of S3 Tables and Glue have one level.
pub(super) fn one_level(catalog: &str, table: &TableName) -> Result<(), CatalogError> {
    if !table.namespace().contains('.') {
        return Ok(());
    }
    let message = format!("{table}: this catalog has no namespaces within namespaces");
    Err(CatalogError::no(catalog, "create a table", message, Kind::Configuration))
}
