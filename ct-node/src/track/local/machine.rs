//! What a command has where there is no Slurm to say so: the whole machine.

use ct_core::energy::Component;
use ct_core::protocol::JobFacts;
use ct_core::sampler::Sampler;
use ct_core::source::Device;
use nix::unistd::{User, getegid, geteuid};

/// The whole machine, this user, this directory.
pub(super) fn facts(job_id: u32, sampler: &Sampler) -> JobFacts {
    let uid = geteuid();
    let user = User::from_uid(uid).ok().flatten().map(|u| u.name);
    let millis = chrono::Utc::now().timestamp_millis();
    let ze = visible("ZE_AFFINITY_MASK");
    JobFacts {
        job_id,
        uid: uid.as_raw(),
        gid: getegid().as_raw(),
        // Upstream's second number is random; ours tells two runs with one pid apart.
        restart: u32::try_from(millis.rem_euclid(999_999)).ok(),
        user,
        n_nodes: Some(1),
        work_dir: std::env::current_dir().ok(),
        alloc_cpus: Some(sampler.n_cpus()),
        // Where nothing is said, every GPU of the machine is the command's.
        cuda_visible_devices: visible("CUDA_VISIBLE_DEVICES").or(Some(all_of_nvidia(sampler))),
        rocr_visible_devices: visible("ROCR_VISIBLE_DEVICES")
            .or_else(|| ze.is_none().then(|| all_of_others(sampler))),
        ze_affinity_mask: ze,
        ..JobFacts::default()
    }
}

/// A variable that says which GPUs the command may use.
fn visible(name: &str) -> Option<String> {
    std::env::var_os(name).map(|list| list.to_string_lossy().into_owned())
}

/// All GPUs of NVIDIA, by their UUIDs.
fn all_of_nvidia(sampler: &Sampler) -> String {
    let ids = gpus(sampler).filter(|d| d.method.starts_with("nvml")).map(|d| d.id.as_str());
    ids.collect::<Vec<_>>().join(",")
}

/// All GPUs of others, by their indices.
fn all_of_others(sampler: &Sampler) -> String {
    let n = gpus(sampler).filter(|d| !d.method.starts_with("nvml")).count();
    (0..n).map(|index| index.to_string()).collect::<Vec<_>>().join(",")
}

fn gpus(sampler: &Sampler) -> impl Iterator<Item = &Device> {
    sampler.devices().iter().filter(|d| d.component == Component::Gpu)
}
