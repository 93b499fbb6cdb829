//! silversmith loads CSV files from S3 or a folder into Apache Iceberg tables: bronze by exactly-once
//! micro-batches, silver by merging what bronze gained, gold by SQL over silver.
//!
//! # How data flows
//!
//! ```text
//!  queue ──► event ──► worker::queue (route, lanes, tickets) ──┐       ┌──► settle: delete, or dead letter
//!  (messages)  (pure)                                          ▼       │    (only what is durable, I1)
//!  source ──list──► batch ──► bronze::stage ──► bronze::commit ──► ledger::publish
//!  (raw files)      (pure)    csv → Parquet      one append,         (objects table)
//!                                                checked against           │
//!                                                the ledger                ▼
//!                                                    │              checkpoint (JSON)
//!                             lake::read::diff (start, end]│                     ▲
//!                                                    ▼                     │
//!                     merge: select → newest per key → lookup → apply ──► silver commit + position
//!                                                                                      │
//!                                                       gold: SQL over silver ◄────────┘
//!
//!  announce: each table's new snapshots ──► event bus, after the commits and beside the work
//!  telemetry: logs, metrics, traces, health
//! ```
//!
//! It runs as a worker (`silversmith run`), as one-shot steps, and as a Lambda function (`lambda`, over
//! [`queue::InvocationQueue`]): the same pipeline code.
//!
//! # Guarantees
//!
//! `docs/guarantees.md` says of each how it is kept, which tests show it, and what is not promised.
//!
//! | | guarantee | |
//! |---|---|---|
//! | **I1** | *durable before delete* | a message is deleted only when every outcome in it is durable |
//! | **I2** | *exactly once* | an object version's rows are in bronze once, for good |
//! | **I3** | *one commit point* | the bronze commit decides; the rest can be rebuilt from the tables |
//! | **I4** | *silver knows where it stands* | the position merged through is in the commit of the merge |
//! | **I5** | *convergent* | silver is a function of the set of bronze rows |
//! | **I6** | *unknown is not failed* | a commit whose answer was lost is resolved by reading the table |
//! | **I7** | *bounded* | memory follows the settings |
//! | **I8** | *bad input is contained* | a bad file gets a clear outcome, and the others go on |
//!
//! # Modules
//!
//! `ARCHITECTURE.md` has the map, room by room. Imports run one way, which a test checks (`tests/house.rs`). Each port
//! is a trait in its folder's `mod.rs`, its contract in prose; each backend is a file named for the technology.

pub mod ambient;
pub mod announce;
pub mod aws;
pub mod backoff;
pub mod batch;
pub mod bronze;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod dead_letters;
pub mod error;
pub mod event;
pub mod features;
pub mod format;
pub mod gold;
pub mod key_index;
pub mod lake;
#[cfg(feature = "lambda")]
mod lambda;
pub mod ledger;
pub mod merge;
pub mod pipeline;
pub mod queue;
pub mod reason;
pub mod silver;
pub mod source;
pub mod sql;
pub mod telemetry;
pub mod tls;
pub mod upkeep;
pub mod wiring;
pub mod worker;
