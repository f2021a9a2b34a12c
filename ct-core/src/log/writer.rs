//! Writes logs in carbontracker's format.
