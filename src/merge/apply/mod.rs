//! Carrying out a plan: which files are written for it.

pub(super) mod copy_on_write;
