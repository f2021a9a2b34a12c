//! Prints results. Rounding, scaling and neutralising of text happen here and nowhere else.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod sentence;
pub(crate) mod table;
pub(crate) mod text;
