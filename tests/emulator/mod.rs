//! The whole pipeline on stand-ins for S3 and SQS, as users run it: the binary, real notifications.

pub mod announcing;
mod catalogs;
mod dead_letters;
mod deliveries;
mod events;
mod faults;
mod fleet;
mod infra;
mod lambda;
mod listing;
mod looking;
mod program;
pub mod stand;
