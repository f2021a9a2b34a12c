//! Sums of rows by group, column by column: only the columns that are needed have any, and the sums
//! of one column lie side by side.

use super::lane::Lanes;
use crate::aggregate::jobs::Jobs;
use crate::aggregate::part::{ClusterHash, End, JobRef};
use crate::aggregate::{ExactSum, Sums, add_known};

/// A row that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// Its place among the rows that were read last.
    pub(super) row: u32,
    /// The group it goes to.
    pub(super) group: u32,
    /// The number of its record.
    pub(super) record: u64,
}

/// The sums of all groups, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Totals {
    jobs: Vec<Jobs>,
    /// In microjoules, as [`Lanes::energies`] has them.
    energies: [Vec<u128>; 8],
    failed_uj: Vec<u128>,
    cancelled_uj: Vec<u128>,
    /// As [`Lanes::amounts`] has them.
    amounts: [Vec<ExactSum>; 5],
    /// As [`Lanes::known`] has them.
    known: [Vec<Option<ExactSum>>; 2],
}

impl Totals {
    /// Adds rows of a cluster.
    pub(super) fn add(
        &mut self,
        lanes: &Lanes,
        rows: &[Counted],
        n_groups: usize,
        cluster: ClusterHash,
    ) {
        for (sums, lane) in self.energies.iter_mut().zip(&lanes.energies) {
            add_column(sums, n_groups, rows, lane.values(), |sum, uj| *sum += microjoules(*uj));
        }
        for (sums, lane) in self.amounts.iter_mut().zip(&lanes.amounts) {
            add_column(sums, n_groups, rows, lane.values(), |sum, amount| *sum += *amount);
        }
        for (sums, lane) in self.known.iter_mut().zip(&lanes.known) {
            add_column(sums, n_groups, rows, lane.values(), |sum, known| add_known(sum, *known));
        }
        self.add_jobs(lanes, rows, n_groups, cluster);
    }

    fn add_jobs(&mut self, lanes: &Lanes, rows: &[Counted], n_groups: usize, cluster: ClusterHash) {
        if lanes.job_id.values().is_empty() {
            return;
        }
        self.jobs.resize_with(n_groups, Jobs::default);
        let elapsed_s = lanes.amounts[0].values();
        for Counted { row, group, record } in rows {
            let row = *row as usize;
            let small = |values: &[i64]| u32::try_from(values[row]).unwrap_or_default();
            let job = JobRef {
                cluster,
                job_id: small(lanes.job_id.values()),
                restart: small(lanes.restart.values()),
                // Commands outside of Slurm are on one node, and not looked for on others.
                start_ms: 0,
                n_nodes: small(lanes.n_nodes.values()),
                end: End::Other,
                split_id: lanes.split_id.values()[row],
            };
            let elapsed_s = elapsed_s.get(row).copied().unwrap_or_default();
            self.jobs[*group as usize].add(*record, &job, elapsed_s);
        }
    }

    /// Adds the energy of rows once more, to what failed or was cancelled.
    pub(super) fn add_ends(
        &mut self,
        lanes: &Lanes,
        rows: &[Counted],
        n_groups: usize,
        end: impl Fn(usize) -> End,
    ) {
        self.failed_uj.resize(n_groups, 0);
        self.cancelled_uj.resize(n_groups, 0);
        let energies = lanes.energies[0].values();
        for Counted { row, group, .. } in rows {
            let (row, group) = (*row as usize, *group as usize);
            let uj = energies.get(row).map_or(0, |uj| microjoules(*uj));
            match end(row) {
                End::Failed => self.failed_uj[group] += uj,
                End::Cancelled => self.cancelled_uj[group] += uj,
                End::Other => {}
            }
        }
    }

    /// The sums of each group, in the order of their numbers.
    pub(super) fn into_sums(self, n_groups: usize) -> impl Iterator<Item = Sums> {
        let Self { jobs, energies, failed_uj, cancelled_uj, amounts, known } = self;
        let mut jobs = jobs.into_iter();
        (0..n_groups).map(move |group| {
            let [energy_uj, cpu, dram, gpu, rest, allocated_uj, gpu_unused_uj, measured_uj] =
                energies.each_ref().map(|sums| at(sums, group));
            let [node_s, covered_s, core_s, gpu_s, co2e_g] =
                amounts.each_ref().map(|sums| at(sums, group));
            let [embodied_g, water_l] = known.each_ref().map(|sums| at(sums, group));
            Sums {
                jobs: jobs.next().unwrap_or_default(),
                energy_uj,
                by_component_uj: [cpu, dram, gpu, rest],
                measured_uj,
                allocated_uj,
                gpu_unused_uj,
                failed_uj: at(&failed_uj, group),
                cancelled_uj: at(&cancelled_uj, group),
                co2e_g,
                embodied_g,
                water_l,
                core_s,
                gpu_s,
                covered_s,
                node_s,
                ..Sums::default()
            }
        })
    }
}

/// A group's sum; nothing where the column is not needed.
fn at<T: Copy + Default>(sums: &[T], group: usize) -> T {
    sums.get(group).copied().unwrap_or_default()
}

fn microjoules(uj: i64) -> u128 {
    u128::try_from(uj).unwrap_or_default()
}

/// Adds the values of a column that is needed.
fn add_column<T, S: Clone + Default>(
    sums: &mut Vec<S>,
    n_groups: usize,
    rows: &[Counted],
    values: &[T],
    add: impl Fn(&mut S, &T),
) {
    if values.is_empty() {
        return;
    }
    sums.resize(n_groups, S::default());
    for Counted { row, group, .. } in rows {
        add(&mut sums[*group as usize], &values[*row as usize]);
    }
}
