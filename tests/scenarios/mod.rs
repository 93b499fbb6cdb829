//! Readable scenarios: what users were promised, step by step, on a lake in memory.

mod announcing;
mod bad_input;
mod checkpoints;
mod convergence;
mod events;
mod gold;
mod ledger;
mod listing;
mod newer_words;
mod schema;
mod silver;
mod time_travel;
mod worker;
