//! The columns that Slurm's accounting adds.

use clap::ValueEnum;

use super::Sums;
use crate::row::Cell;

/// A value of a group, by Slurm's accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Accounted {
    SacctJobs,
    UnseenJobs,
    SacctElapsedH,
    SacctCoreHours,
    SacctGpuHours,
}

impl Accounted {
    /// What is shown unless columns are named.
    pub(crate) const DEFAULT: [Self; 3] = [Self::SacctJobs, Self::UnseenJobs, Self::SacctElapsedH];

    /// The name used in headers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SacctJobs => "sacct_jobs",
            Self::UnseenJobs => "unseen_jobs",
            Self::SacctElapsedH => "sacct_elapsed_h",
            Self::SacctCoreHours => "sacct_core_hours",
            Self::SacctGpuHours => "sacct_gpu_hours",
        }
    }

    /// How early it is left out on a narrow terminal.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::UnseenJobs => 2,
            Self::SacctJobs => 3,
            _ => 5,
        }
    }

    /// Its cell in the row of a group: of all allocations, and of those the tracker never saw.
    pub(crate) fn cell(self, all: Option<&Sums>, unseen: Option<&Sums>) -> Cell {
        let number = |value: fn(&Sums) -> f64| Cell::Number(Some(all.map_or(0.0, value)), 4);
        match self {
            Self::SacctJobs => Cell::Count(all.map_or(0, Sums::n_jobs)),
            Self::UnseenJobs => Cell::Count(unseen.map_or(0, Sums::n_jobs)),
            Self::SacctElapsedH => number(Sums::elapsed_h),
            Self::SacctCoreHours => number(Sums::core_hours),
            Self::SacctGpuHours => number(Sums::gpu_hours),
        }
    }
}
