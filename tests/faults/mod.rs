//! Crashes: the process dies at any effect, or is killed for real.

mod crash_points;
mod delivery_crash_points;
mod kill;
mod quarantine_crash_points;
mod queue_crash_points;
mod reingest_crash_points;
mod zone;
