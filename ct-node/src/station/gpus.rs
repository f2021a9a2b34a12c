//! Which GPUs a job holds: gres device numbers, UUIDs and indices to the meters' identities.

use ct_core::energy::Component;
use ct_core::protocol::JobFacts;
use ct_core::record::GpuShare;
use ct_core::source::Device;

/// The GPUs of a job, and what could not be resolved.
///
/// `SLURM_JOB_GPUS` and `SLURM_STEP_GPUS` hold gres device numbers, that is `/dev/nvidiaN` minors,
/// not NVML indices. `CUDA_VISIBLE_DEVICES` is asked only for UUIDs: its indices may be renumbered
/// from 0 inside a device cgroup. What cannot be resolved is reported, never replaced by "all".
pub(super) fn resolve(facts: &JobFacts, devices: &[Device]) -> (Vec<GpuShare>, Vec<String>) {
    let sources = [&facts.job_gpus, &facts.step_gpus];
    let Some(list) = sources.into_iter().flatten().find(|l| !l.trim().is_empty()) else {
        return by_uuid(facts.cuda_visible_devices.as_deref().unwrap_or_default(), devices);
    };
    let (mut held, mut warnings) = (Vec::new(), Vec::new());
    for word in words(list) {
        let found = match word.parse::<u32>() {
            Ok(minor) => gpus(devices).find(|d| d.minor == Some(minor)),
            Err(_) => gpus(devices).find(|d| is_uuid(&d.id, word)),
        };
        match found {
            Some(device) => held.push(whole(device)),
            None => warnings.push(format!("GPU {word:?} of the job has no meter; not included")),
        }
    }
    (held, warnings)
}

fn by_uuid(list: &str, devices: &[Device]) -> (Vec<GpuShare>, Vec<String>) {
    let uuids = words(list).filter(|w| w.starts_with("GPU-"));
    let (mut held, mut warnings) = (Vec::new(), Vec::new());
    for word in uuids {
        match gpus(devices).find(|d| is_uuid(&d.id, word)) {
            Some(device) => held.push(whole(device)),
            None => warnings.push(format!("GPU {word:?} of the job has no meter; not included")),
        }
    }
    (held, warnings)
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|w| !w.is_empty())
}

fn gpus(devices: &[Device]) -> impl Iterator<Item = &Device> {
    devices.iter().filter(|d| d.component == Component::Gpu)
}

/// CUDA takes an abbreviated UUID, too.
fn is_uuid(id: &str, word: &str) -> bool {
    word.len() > "GPU-".len() && word.starts_with("GPU-") && id.starts_with(word)
}

fn whole(device: &Device) -> GpuShare {
    GpuShare { uuid: device.id.clone(), name: device.name.clone(), share: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Device> {
        // NVML indices 0, 1, 2 are minors 2, 0, 1.
        [("GPU-aaaa-1", 2), ("GPU-bbbb-2", 0), ("GPU-cccc-3", 1)]
            .map(|(uuid, minor)| Device {
                minor: Some(minor),
                ..Device::new(Component::Gpu, "A100", uuid, "nvml-energy")
            })
            .to_vec()
    }

    fn held(facts: &JobFacts) -> (Vec<String>, usize) {
        let (held, warnings) = resolve(facts, &machine());
        (held.into_iter().map(|g| g.uuid).collect(), warnings.len())
    }

    #[test]
    fn gpus_by_table() {
        let some = |s: &str| Some(s.to_owned());
        for (job, step, cuda, expected, n_warnings) in [
            (some("0,2"), None, some("0,1"), vec!["GPU-bbbb-2", "GPU-aaaa-1"], 0),
            (None, some("1"), some("0"), vec!["GPU-cccc-3"], 0),
            (some(""), None, None, vec![], 0),
            (None, None, some("GPU-cccc"), vec!["GPU-cccc-3"], 0),
            (None, None, some("GPU-dddd"), vec![], 1),
            // Indices alone may be renumbered: nothing is charged on their word.
            (None, None, some("0,1"), vec![], 0),
            (some("7"), None, None, vec![], 1),
        ] {
            let facts = JobFacts {
                job_gpus: job,
                step_gpus: step,
                cuda_visible_devices: cuda,
                ..Default::default()
            };
            let (uuids, warnings) = held(&facts);
            assert_eq!(uuids, expected, "{facts:?}");
            assert_eq!(warnings, n_warnings, "{facts:?}");
        }
    }
}
