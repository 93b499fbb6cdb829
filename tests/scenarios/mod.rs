//! Readable scenarios: what users are promised, step by step, on a lake in memory.

mod announcing;
mod bad_input;
mod checkpoints;
mod convergence;
mod events;
mod expiry;
mod foreign_deletes;
mod gold;
mod histories;
mod ledger;
mod leftovers;
mod listing;
mod loads;
mod newer_words;
mod publishing;
mod rivals;
mod schema;
mod silver;
mod time_travel;
mod upkeep;
mod worker;
