//! Readable scenarios: what users are promised, step by step, on a lake in memory.

mod announcing;
mod bad_input;
mod checkpoints;
mod convergence;
mod events;
mod expiry;
mod foreign_deletes;
mod gold;
mod ledger;
mod ledger_files;
mod leftovers;
mod listing;
mod loads;
mod merge_on_read;
mod newer_words;
mod other_writers;
mod partitions;
mod publishing;
mod rivals;
mod schema;
mod silver;
mod time_travel;
mod worker;
