//! What the catalogs of AWS have in common.

use super::{CatalogError, RequestFailure};
use crate::aws::service::CallError;
use crate::error::Kind;
use crate::lake::TableName;

/// What to do where Lake Formation refuses, and not IAM.
const GRANT: &str = "grant the role CREATE_TABLE and DESCRIBE on the database, all rights on its tables, and \
    DATA_LOCATION_ACCESS where the location is registered";

/// The error of a call that failed.
pub(super) fn failed(catalog: &str, doing: &'static str, error: &CallError) -> CatalogError {
    let mut message = error.to_string();
    if message.contains("Lake Formation") {
        message = format!("{message}: {GRANT}");
    }
    let failure = RequestFailure::new(catalog, doing, message, error.kind());
    failure.determinate(error.is_refusal())
}

/// Namespaces of S3 Tables and Glue have one level.
pub(super) fn one_level(catalog: &str, table: &TableName) -> Result<(), CatalogError> {
    if !table.namespace().contains('.') {
        return Ok(());
    }
    let message = format!("{table}: this catalog has no namespaces within namespaces");
    Err(CatalogError::refused(catalog, "create a table", message, Kind::Configuration))
}
