//! Which GPUs each job holds: what hooks told, slurmd's list, NVML's partitions and processes, put
//! before [`ct_core::gpu`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use ct_core::energy::Component;
use ct_core::gpu::{Claim, DeviceFile, Held, Machine, WARNING, resolve};
use ct_core::job::Job;
use ct_core::protocol::JobFacts;
use ct_core::record::GpuShare;
use ct_core::sampler::now;
use ct_core::source::gpu_files::{Allowed, read_allowed, read_instances};
use ct_core::source::processes::{read_cgroup_pids, read_tree_pids};
use ct_core::source::{GpuProcess, Partition};

use super::Station;

/// Tells the device files of each gres number.
pub type GresList = Box<dyn FnMut(Ask) -> Vec<Vec<DeviceFile>>>;

/// How slurmd's list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// slurmd was started, and the list may be another.
    Anew,
    /// A job needs it: the first answer is waited for, a little.
    ForJob,
    /// As it is known now.
    AsKnown,
}

/// The longest time between two looks at the processes of a job with `devices_by_pid`.
pub(super) const LOOK_AT_PROCESSES: Duration = Duration::from_secs(2);
/// The shortest time between two looks for a GPU that is missing, and that a job was given.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(60);
const LOOK_FOR_JOB: Duration = Duration::from_secs(10);
/// Slurm writes a job's devices.list after its first step has told us of the job.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);

/// What is known of jobs' GPUs beside their own state.
#[derive(Default)]
pub(super) struct Gpus {
    gres: Option<GresList>,
    /// By job with `devices_by_pid`: GPUs its processes used at the last look, and at the one before.
    by_pid: BTreeMap<u32, [Vec<GpuShare>; 2]>,
}

impl Station {
    /// Says how slurmd's list of GPUs is found out.
    pub fn number_gpus_with(&mut self, list: GresList) {
        self.gpus.gres = Some(list);
    }

    /// slurmd was started: its list of GPUs may be another.
    pub fn slurmd_has_started(&mut self) {
        if let Some(list) = &mut self.gpus.gres {
            list(Ask::Anew);
        }
    }

    /// Looks for GPUs again where slurmd's list or a job names one that no meter counts: its driver
    /// may have come since.
    pub(super) fn look_for_missing_gpus(&mut self) {
        if !self.sampler.may_look_for_gpus(LOOK_FOR_MISSING) {
            return;
        }
        let gres = self.gpus.gres.as_mut().map(|list| list(Ask::AsKnown)).unwrap_or_default();
        let devices = self.sampler.devices();
        let machine = Machine { devices, partitions: &[], instances: &[], gres: &gres };
        if !machine.has_all_of_gres() || self.jobs.values().any(has_no_gpu) {
            self.sampler.look_for_gpus();
        }
    }

    /// GPUs were found: some may be those of jobs that run.
    pub(super) fn find_new_gpus(&mut self) {
        let jobs = self.jobs.values().filter(|job| names_gpus(&job.facts));
        let jobs: Vec<u32> = jobs.map(|job| job.facts.job_id).collect();
        for job_id in jobs {
            let held = |station: &Self| station.jobs.get(&job_id).map(|job| job.gpus.len());
            let before = held(self);
            self.resolve_gpus(job_id, None);
            self.confirm_gpus(job_id);
            let is_new = held(self) != before;
            if let (true, Some(job)) = (is_new, self.jobs.get_mut(&job_id)) {
                // They are read with the sample that is being made.
                let at = now().wall.format("%Y-%m-%dT%H:%M:%SZ");
                job.warnings
                    .insert(format!("energy of GPUs found at {at} is included from then on"));
            }
        }
    }

    /// Device files by their number in slurmd's list, as far as it has told it.
    pub(super) fn gres_numbers(&mut self) -> Vec<Vec<DeviceFile>> {
        self.gpus.gres.as_mut().map(|list| list(Ask::AsKnown)).unwrap_or_default()
    }

    /// Whether the node has a GPU.
    pub fn has_gpus(&self) -> bool {
        self.sampler.devices().iter().any(|d| d.component == Component::Gpu)
    }

    /// Finds the GPUs of a job, unless they are known or are told by its processes.
    pub(super) fn find_gpus(&mut self, job_id: u32, is_new_step: bool) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        let is_by_steps = job.facts.job_gpus.is_none() && is_new_step;
        // Without Slurm nobody holds a GPU, and a command may say that its processes tell.
        let is_by_pid = self.is_local && job.settings.devices_by_pid;
        if is_by_pid || !(job.gpus.is_empty() || is_by_steps) {
            return;
        }
        self.resolve_gpus(job_id, None);
        let is_unknown = self.jobs.get(&job_id).is_some_and(has_no_gpu);
        if is_unknown && self.sampler.may_look_for_gpus(LOOK_FOR_JOB) {
            self.sampler.look_for_gpus();
        }
    }

    fn resolve_gpus(&mut self, job_id: u32, allowed: Option<&[DeviceFile]>) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        let facts = &job.facts;
        if !names_gpus(facts) {
            return;
        }
        let gres = self.gpus.gres.as_mut().map(|list| list(Ask::ForJob)).unwrap_or_default();
        // An administrator may have changed the partitions since the last job.
        let partitions = self.sampler.partitions();
        let machine = Machine {
            devices: self.sampler.devices(),
            partitions: &partitions,
            instances: &read_instances(&self.config.path.procfs),
            gres: &gres,
        };
        let Held { gpus, warnings } = resolve(machine, &Claim::of(facts, allowed));
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        job.gpus = gpus;
        job.warnings.retain(|warning| !warning.starts_with(WARNING));
        job.warnings.extend(warnings);
    }

    /// Looks at what may have changed since the last sample: devices of new cgroups, processes.
    pub(super) fn refresh_gpus(&mut self) {
        let jobs = self.jobs.values().filter(|job| is_to_be_confirmed(job));
        let jobs: Vec<u32> = jobs.map(|job| job.facts.job_id).collect();
        for job_id in jobs {
            self.confirm_gpus(job_id);
        }
        self.gpus.by_pid.retain(|job_id, _| self.jobs.contains_key(job_id));
        if self.jobs.values().any(|job| job.settings.devices_by_pid) {
            self.look_at_processes();
        }
    }

    /// Whether samples are to find out whose GPU is which.
    pub(super) fn is_looking_for_gpus(&self) -> bool {
        self.jobs.values().any(|job| job.settings.devices_by_pid || is_to_be_confirmed(job))
    }

    fn confirm_gpus(&mut self, job_id: u32) {
        let path = &self.config.path;
        let Some(job) = self.jobs.get(&job_id) else { return };
        let Some(cgroup) = &job.cgroup else { return };
        if let Allowed::Only(files) = read_allowed(cgroup, &path.cgroupfs, &path.procfs) {
            self.resolve_gpus(job_id, Some(&files));
        }
    }

    fn look_at_processes(&mut self) {
        let processes = self.sampler.gpu_processes();
        let is_partitioned = processes.iter().any(|p| p.partition.is_some());
        let partitions = if is_partitioned { self.sampler.partitions() } else { Vec::new() };
        let cgroupfs = self.config.path.cgroupfs.clone();
        for job in self.jobs.values_mut().filter(|job| job.settings.devices_by_pid) {
            let pids = pids(job, &cgroupfs);
            let of_job = processes.iter().filter(|p| pids.contains(&p.pid));
            let now = shares(of_job, &partitions, self.sampler.devices());
            for gpu in &now {
                if job.gpus.iter().any(|held| held.uuid == gpu.uuid) {
                    continue;
                }
                match job.used_gpus.iter_mut().find(|g| g.uuid == gpu.uuid) {
                    Some(known) => known.share = known.share.max(gpu.share),
                    None => job.used_gpus.push(gpu.clone()),
                }
            }
            let looks = self.gpus.by_pid.entry(job.facts.job_id).or_default();
            let last = std::mem::replace(&mut looks[0], now);
            looks[1] = last;
        }
    }

    /// The GPUs a job is charged for in the interval since the last sample: those that it holds, used
    /// or not. By processes also those on which one of them was at its start or its end.
    pub(super) fn gpus_of(&self, job: &Job) -> Vec<GpuShare> {
        let mut gpus = job.gpus.clone();
        if !job.settings.devices_by_pid {
            return gpus;
        }
        let looks = self.gpus.by_pid.get(&job.facts.job_id).into_iter().flatten();
        for used in looks.flatten() {
            if gpus.iter().all(|gpu| gpu.uuid != used.uuid) {
                gpus.push(used.clone());
            }
        }
        gpus
    }
}

/// Adds what a further step was given; whether that is new. Without `SLURM_JOB_GPUS` a job holds
/// what its steps hold together.
pub(super) fn add_step_gpus(facts: &mut JobFacts, more: Option<&str>) -> bool {
    let Some(list) = &mut facts.step_gpus else {
        facts.step_gpus = more.map(str::to_owned);
        return more.is_some();
    };
    let new: Vec<&str> = more
        .into_iter()
        .flat_map(|more| more.split(','))
        .filter(|word| !word.trim().is_empty() && list.split(',').all(|w| w.trim() != word.trim()))
        .collect();
    let is_new = !new.is_empty();
    for word in new.into_iter().map(str::to_owned).collect::<Vec<_>>() {
        list.push(',');
        list.push_str(&word);
    }
    is_new
}

/// Whether a job was given GPUs of which none was found.
fn has_no_gpu(job: &Job) -> bool {
    job.gpus.is_empty() && names_gpus(&job.facts)
}

/// Whether a job's GPUs are still compared with the device files that its processes may open.
fn is_to_be_confirmed(job: &Job) -> bool {
    job.elapsed() <= CONFIRM_WITHIN && names_gpus(&job.facts)
}

/// Whether a job was given GPUs, found or not.
pub(super) fn names_gpus(facts: &JobFacts) -> bool {
    let lists = [
        &facts.job_gpus,
        &facts.step_gpus,
        &facts.cuda_visible_devices,
        &facts.rocr_visible_devices,
        &facts.ze_affinity_mask,
    ];
    lists.into_iter().flatten().any(|list| !list.trim().is_empty())
}

/// The job's processes: those in its cgroup, else those that descend from its slurmstepds.
fn pids(job: &Job, cgroupfs: &Path) -> BTreeSet<u32> {
    let in_cgroup = job.cgroup.as_ref().and_then(|cgroup| read_cgroup_pids(cgroup, cgroupfs));
    in_cgroup.unwrap_or_else(|| read_tree_pids(&job.stepd_pids, Path::new("/proc")))
}

fn shares<'a>(
    processes: impl Iterator<Item = &'a GpuProcess>,
    partitions: &[Partition],
    devices: &[ct_core::source::Device],
) -> Vec<GpuShare> {
    let used: BTreeSet<(&str, Option<&str>)> =
        processes.map(|p| (p.device_id.as_str(), p.partition.as_deref())).collect();
    let mut out: Vec<GpuShare> = Vec::new();
    for (id, partition) in used {
        let Some(device) = devices.iter().find(|d| d.id == id) else { continue };
        let partition = partition.and_then(|uuid| partitions.iter().find(|p| p.uuid == uuid));
        let share = partition.map_or(1.0, |p| p.share);
        match out.iter_mut().find(|g| g.uuid == id) {
            Some(gpu) => gpu.share = (gpu.share + share).min(1.0),
            None => out.push(GpuShare { uuid: id.to_owned(), name: device.name.clone(), share }),
        }
    }
    out
}

#[cfg(test)]
mod tests;
