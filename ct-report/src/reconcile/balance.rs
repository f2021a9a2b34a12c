//! The sums of a row.

use std::ops::AddAssign;

/// What was counted and what it was for, in microjoules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Counted by the meters.
    pub(crate) meter_uj: u128,
    /// Of the records of jobs.
    pub(crate) jobs_uj: u128,
    /// Of the system.
    pub(crate) system_uj: u128,
    /// Held by no job.
    pub(crate) unallocated_uj: u128,
    /// Charged to jobs by lines of the node, of jobs that have no record yet.
    pub(crate) open_uj: u128,
    /// In records, for a time no line of the node covers yet.
    pub(crate) pending_uj: u128,
    /// Time in milliseconds for which a meter did not answer, or nobody read it.
    pub(crate) gap_ms: u64,
    /// Whether some of it was attributed by the policy `node`, with which parts do not add up.
    pub(crate) has_whole_nodes: bool,
}

impl Balance {
    /// What the meters counted beyond all that is known of it; below zero where more is known than
    /// was counted. `None` where the parts are not meant to add up.
    pub(crate) fn difference_uj(&self) -> Option<i128> {
        let known = [self.jobs_uj, self.system_uj, self.unallocated_uj, self.open_uj];
        let known = known.into_iter().map(signed).sum::<i128>() - signed(self.pending_uj);
        (!self.has_whole_nodes).then(|| signed(self.meter_uj) - known)
    }

    /// Time without meters in seconds, rounded up: a gap is never none.
    pub(crate) fn gap_s(&self) -> u64 {
        self.gap_ms.div_ceil(1000)
    }
}

/// A sum of microjoules, of which 2^127 are more than the sun gives the earth in a million years.
pub(super) fn signed(uj: u128) -> i128 {
    i128::try_from(uj).unwrap_or(i128::MAX)
}

impl AddAssign<&Self> for Balance {
    fn add_assign(&mut self, other: &Self) {
        self.meter_uj += other.meter_uj;
        self.jobs_uj += other.jobs_uj;
        self.system_uj += other.system_uj;
        self.unallocated_uj += other.unallocated_uj;
        self.open_uj += other.open_uj;
        self.pending_uj += other.pending_uj;
        self.gap_ms = self.gap_ms.saturating_add(other.gap_ms);
        self.has_whole_nodes |= other.has_whole_nodes;
    }
}
