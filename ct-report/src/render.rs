//! Prints results. Rounding, scaling and neutralising of text happen here and nowhere else.

pub(crate) mod bins;
pub(crate) mod chart;
pub(crate) mod csv;
mod fit;
pub(crate) mod html;
pub(crate) mod job;
pub(crate) mod job_charts;
pub(crate) mod json;
#[cfg(feature = "pdf")]
pub(crate) mod pdf;
pub(crate) mod sentence;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod terminal;
