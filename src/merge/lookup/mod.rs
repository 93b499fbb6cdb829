//! Finding the rows of the target whose keys a merge brings.

pub(super) mod scan;
