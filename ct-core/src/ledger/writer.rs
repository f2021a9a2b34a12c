//! Appends records to the ledger.
