//! silversmith turns CSV objects landing in a raw zone into medallion tables in Apache Iceberg:
//! bronze by exactly-once micro-batches, silver by merging the snapshot diff of bronze, gold by SQL.
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
//!                     merge: select → newest per key → probe → rewrite ──► silver commit + mark
//!                                                                                      │
//!                                                       gold: SQL over silver ◄────────┘
//!
//!  announce: each table's new snapshots ──► event bus, after the commits and beside the work
//!  telemetry: logs, metrics, traces, health
//! ```
//!
//! It runs as a worker (`silversmith run`), as one-shot steps, and as a Lambda function (`cli::lambda`, over
//! [`queue::InvocationQueue`]): the same pipeline code.
//!
//! # Guarantees
//!
//! | | guarantee | shown by |
//! |---|---|---|
//! | **I1** | *durable before delete*: a message is deleted only when every outcome in it is durable | `src/worker/events/delivery.rs`, `tests/scenarios/events.rs`, `tests/faults/crash_points.rs`, `tests/emulator/lambda.rs` |
//! | **I2** | *exactly once*: an object version's rows are in bronze once, for good | `tests/scenarios/ledger.rs`, `tests/emulator/events.rs`, `tests/emulator/fleet.rs`, `tests/faults/kill.rs` |
//! | **I3** | *one commit point*: the bronze commit decides; all else can be rebuilt from the tables | `tests/scenarios/ledger.rs`, `tests/faults/crash_points.rs` |
//! | **I4** | *silver knows where it stands*: the position merged through is in the commit of the merge | `tests/scenarios/checkpoints.rs`, `tests/scenarios/ledger.rs` |
//! | **I5** | *convergent*: silver is a function of the set of bronze rows | `tests/scenarios/convergence.rs` |
//! | **I6** | *unknown is not failed*: a commit whose answer was lost is settled by looking | `tests/contract/commit.rs`, `tests/contract/rest.rs` |
//! | **I7** | *bounded*: memory follows the settings | `tests/scenarios/silver.rs` (passes), `src/csv/reader.rs` (limits), `src/worker/events/hand.rs` (in hand) |
//! | **I8** | *bad input is contained*: a clear outcome, the others go on | `tests/scenarios/bad_input.rs`, `tests/scenarios/schema.rs`, `tests/emulator/dead_letters.rs` |
//!
//! # Modules
//!
//! Imports run one way: `cli` → `wiring`, `worker`, `dead_letters` → layers → `lake`, `ledger`, `csv`, `source`,
//! `queue` → `event`, `batch`, `checkpoint`; a test checks it (`tests/house.rs`). Each port is a trait in its folder's `mod.rs`,
//! its contract in prose; each backend is a file named for the technology.

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
pub mod format;
pub mod gold;
pub mod lake;
mod lambda;
pub mod ledger;
pub mod merge;
pub mod pipeline;
pub mod queue;
pub mod silver;
pub mod source;
pub mod sql;
pub mod telemetry;
pub mod tls;
pub mod wiring;
pub mod worker;
