//! Contract suites: each port's promises, kept by the fake and by every real backend.

pub mod backings;
mod catalog;
mod checkpoints;
mod commit;
mod corpus;
mod deadline;
mod denied;
mod event_bus;
mod files;
mod ground;
mod jdbc;
mod key_lookup;
mod lock;
mod merge_engine;
mod metrics;
mod queue;
mod raw_store;
mod rest;
mod row_reader;

pub use backings::{Backing, backings, postgres_url, rest_url};
