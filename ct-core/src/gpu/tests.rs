//! One machine on which gres number, device file, NVML index and place in a cgroup all differ.

use super::*;

/// GPUs by NVML index: UUID, N of `/dev/nvidiaN`. Gres numbers are in [`gres`].
const GPUS: [(&str, u32); 4] =
    [("GPU-aaaa-1", 2), ("GPU-bbbb-2", 3), ("GPU-cccc-3", 0), ("GPU-abcd-4", 1)];

struct Node {
    devices: Vec<Device>,
    partitions: Vec<Partition>,
    instances: Vec<Instance>,
    gres: Vec<Vec<DeviceFile>>,
}

impl Node {
    /// The meters have them in yet another order: by power last.
    fn new() -> Self {
        let gpu = |index: usize| Device {
            minor: Some(GPUS[index].1),
            index: u32::try_from(index).ok(),
            ..Device::new(Component::Gpu, "A100", GPUS[index].0, "nvml-energy")
        };
        let cpu = Device::new(Component::Cpu, "cpu:0", "rapl:package-0", "rapl");
        let mut devices = vec![cpu, gpu(3), gpu(0), gpu(1), gpu(2)];
        devices.extend([129, 128].map(|minor| Device {
            minor: Some(minor),
            ..Device::new(Component::Gpu, "MI250", &format!("amd-{minor}"), "hwmon")
        }));
        Self { devices, partitions: Vec::new(), instances: Vec::new(), gres: gres(&[1, 2, 3, 0]) }
    }

    /// The same with MIG instances of 3, 2 and 1 of 7 slices on `GPU-cccc-3`, `/dev/nvidia0`; each
    /// is a gres of its own, after those of the other GPUs.
    fn with_mig() -> Self {
        let mut node = Self::new();
        let names = ["MIG-3333-a", "MIG-2222-b", "MIG-2222-c"];
        let partition = |(uuid, slices): (&str, f64)| Partition {
            uuid: uuid.to_owned(),
            device_id: "GPU-cccc-3".to_owned(),
            share: slices / 7.0,
        };
        node.partitions = names.into_iter().zip([3.0, 2.0, 1.0]).map(partition).collect();
        // As read from a directory: in no order, with another GPU's.
        node.instances =
            vec![instance(0, 10, 90), instance(2, 1, 12), instance(0, 1, 12), instance(0, 3, 30)];
        node.gres.truncate(3);
        for capability in [30, 90, 12] {
            node.gres.push(vec![
                DeviceFile::Nvidia(0),
                DeviceFile::Capability(capability),
                DeviceFile::Capability(capability + 1),
            ]);
        }
        node
    }

    /// The same where Slurm knows of no GPU.
    fn unmanaged(mut self) -> Self {
        self.gres.clear();
        self
    }

    fn machine(&self) -> Machine<'_> {
        Machine {
            devices: &self.devices,
            partitions: &self.partitions,
            instances: &self.instances,
            gres: &self.gres,
        }
    }

    /// UUIDs held, with slices of seven where it is not the whole, and the warnings.
    fn resolve(&self, claim: &Claim<'_>) -> (String, Vec<String>) {
        let held = resolve(self.machine(), claim);
        assert!(held.warnings.iter().all(|w| w.starts_with(WARNING)), "{held:?}");
        let mut names: Vec<String> = held
            .gpus
            .iter()
            .map(|g| match g.share {
                1.0 => g.uuid.clone(),
                share => format!("{}*{:.0}", g.uuid, share * 7.0),
            })
            .collect();
        names.sort();
        (names.join(" "), held.warnings)
    }
}

fn gres(minors: &[u32]) -> Vec<Vec<DeviceFile>> {
    minors.iter().map(|minor| vec![DeviceFile::Nvidia(*minor)]).collect()
}

fn instance(gpu_minor: u32, gpu_instance: u32, capability: u32) -> Instance {
    let capabilities = [capability, capability + 1];
    Instance { gpu_minor, gpu_instance, compute_instance: 0, capabilities }
}

#[test]
fn the_four_numbers_of_each_gpu_differ() {
    let node = Node::new();
    for (index, (uuid, minor)) in GPUS.into_iter().enumerate() {
        let files = [DeviceFile::Nvidia(minor)];
        let number = node.gres.iter().position(|g| g[..] == files).unwrap();
        assert!(number != index && number != minor as usize && index != minor as usize, "{uuid}");
    }
}

#[test]
fn whole_gpus_by_table() {
    let (node, unmanaged) = (Node::new(), Node::new().unmanaged());
    let allowed = [DeviceFile::Nvidia(3), DeviceFile::Nvidia(0)];
    let other = [DeviceFile::Nvidia(1)];
    // SLURM_JOB_GPUS, SLURM_STEP_GPUS, CUDA_VISIBLE_DEVICES, cgroup, GPUs, warnings.
    for (job, step, cuda, cgroup, expected, n_warnings) in [
        // Gres 2 is nvidia3, index 1; gres 3 is nvidia0, index 2; 0 and 1 are places in the cgroup.
        (Some("2,3"), None, Some("0,1"), None, "GPU-bbbb-2 GPU-cccc-3", 0),
        (Some("2,3"), None, Some("0,1"), Some(&allowed[..]), "GPU-bbbb-2 GPU-cccc-3", 0),
        (Some("2,3"), Some("2"), Some("0"), None, "GPU-bbbb-2 GPU-cccc-3", 0),
        (None, Some("0"), Some("0"), None, "GPU-abcd-4", 0),
        // A step has fewer than the job whose cgroup it is.
        (None, Some("2"), Some("0"), Some(&allowed[..]), "GPU-bbbb-2 GPU-cccc-3", 0),
        // The kernel allows others than Slurm names.
        (Some("2,3"), None, None, Some(&other[..]), "GPU-abcd-4", 1),
        // UUIDs in step with the numbers: they agree, and they do not.
        (Some("1"), None, Some("GPU-aaaa-1"), None, "GPU-aaaa-1", 0),
        (Some("1"), None, Some("GPU-bbbb-2"), None, "GPU-aaaa-1", 1),
        // A number that slurmd does not know, with and without a UUID.
        (Some("7"), None, Some("GPU-bbbb-2"), None, "GPU-bbbb-2", 0),
        (Some("7"), None, Some("0"), None, "", 1),
        (Some("GPU-aaaa-1"), None, None, None, "GPU-aaaa-1", 0),
        // Without Slurm's list: indices in NVML's order, or places in the cgroup.
        (None, None, Some("0,2"), None, "GPU-aaaa-1 GPU-cccc-3", 0),
        (Some(""), None, Some("0,1"), Some(&allowed[..]), "GPU-bbbb-2 GPU-cccc-3", 0),
        (None, None, Some("1"), Some(&allowed[..]), "GPU-cccc-3", 0),
        (None, None, Some("2"), Some(&allowed[..]), "", 1),
        (None, None, Some("GPU-aaaa-1"), Some(&allowed[..]), "", 1),
        (None, None, Some("1,-1,2"), None, "GPU-bbbb-2", 0),
        (None, None, Some("1,1"), None, "GPU-bbbb-2", 0),
        (None, None, Some("9"), None, "", 1),
        // Abbreviated UUIDs.
        (None, None, Some("GPU-cc, GPU-b"), None, "GPU-bbbb-2 GPU-cccc-3", 0),
        (None, None, Some("GPU-a"), None, "", 1),
        (None, None, Some("GPU-"), None, "", 1),
        (None, None, Some("GPU-dddd"), None, "", 1),
        // None at all.
        (None, None, None, Some(&allowed[..]), "", 0),
        (None, None, Some(""), None, "", 0),
        (Some("NoDevFiles"), None, Some("NoDevFiles"), None, "", 0),
        (None, None, Some("-1"), None, "", 0),
        (None, None, Some("gpu0"), None, "", 1),
    ] {
        let claim =
            Claim { job_gpus: job, step_gpus: step, cuda, allowed: cgroup, ..Claim::default() };
        let is_slurms = claim.numbers().is_some();
        let (held, warnings) = if is_slurms { &node } else { &unmanaged }.resolve(&claim);
        assert_eq!(held, expected, "{claim:?}: {warnings:?}");
        assert_eq!(warnings.len(), n_warnings, "{claim:?}: {warnings:?}");
    }
}

#[test]
fn a_gpu_that_slurm_manages_is_not_had_by_setting_a_variable() {
    let mut node = Node::new();
    // All but GPU-abcd-4, /dev/nvidia1.
    node.gres.remove(0);
    let claim = Claim { cuda: Some("0,GPU-abcd-4"), ..Claim::default() };
    let (held, warnings) = node.resolve(&claim);
    assert_eq!((held.as_str(), warnings.len()), ("GPU-abcd-4", 1), "{warnings:?}");
}

#[test]
fn instances_by_table() {
    let (node, unmanaged) = (Node::with_mig(), Node::with_mig().unmanaged());
    // Instances 1, 3 and 10 are those of 3, 2 and 1 slices; gres 4, 5 and 3 in the order made.
    let two = [12, 13, 90, 91].map(DeviceFile::Capability);
    let two: Vec<_> = two.into_iter().chain([DeviceFile::Nvidia(0)]).collect();
    let one = [DeviceFile::Nvidia(0), DeviceFile::Capability(30), DeviceFile::Capability(31)];
    let beside: Vec<_> = one.iter().copied().chain([DeviceFile::Nvidia(2)]).collect();
    let no_right = [DeviceFile::Nvidia(0), DeviceFile::Capability(30)];
    for (job, cuda, cgroup, expected, n_warnings) in [
        (Some("5"), Some("MIG-3333-a"), None, "GPU-cccc-3*3", 0),
        (Some("3,4"), None, None, "GPU-cccc-3*3", 0),
        (Some("4,5"), None, Some(&two[..]), "GPU-cccc-3*4", 0),
        (Some("5"), None, Some(&one[..]), "GPU-cccc-3*2", 1),
        (Some("1,3"), None, Some(&beside[..]), "GPU-aaaa-1 GPU-cccc-3*2", 0),
        (None, Some("MIG-3333-a"), None, "GPU-cccc-3*3", 0),
        (None, Some("MIG-3,MIG-2222-c"), None, "GPU-cccc-3*4", 0),
        (None, Some("MIG-2222"), None, "", 1),
        (None, Some("MIG-9999"), None, "", 1),
        (None, Some("MIG-"), None, "", 1),
        (None, Some("MIG-GPU-cccc-3/10/0"), None, "GPU-cccc-3*1", 0),
        (None, Some("MIG-GPU-cccc-3/3/0"), Some(&one[..]), "GPU-cccc-3*2", 0),
        (None, Some("MIG-GPU-cccc-3/3/1"), None, "", 1),
        (None, Some("MIG-GPU-aaaa-1/1/0"), None, "", 1),
        (None, Some("MIG-GPU-cccc-3/x"), None, "", 1),
        // The UUID of the GPU is the whole of it; its index is not.
        (None, Some("GPU-cccc-3"), None, "GPU-cccc-3", 0),
        (None, Some("2"), None, "", 1),
        (None, Some("0"), None, "GPU-aaaa-1", 0),
        // Half of the rights to an instance is none to the GPU.
        (Some("3"), None, Some(&no_right[..]), "", 1),
    ] {
        let claim = Claim { job_gpus: job, cuda, allowed: cgroup, ..Claim::default() };
        let (held, warnings) = if job.is_some() { &node } else { &unmanaged }.resolve(&claim);
        assert_eq!(held, expected, "{claim:?}: {warnings:?}");
        assert_eq!(warnings.len(), n_warnings, "{claim:?}: {warnings:?}");
    }
}

#[test]
fn an_instance_without_capability_files_is_known_by_its_uuid_alone() {
    let mut node = Node::with_mig();
    node.instances.clear();
    let claim = Claim { job_gpus: Some("5"), cuda: Some("MIG-3333-a"), ..Claim::default() };
    assert_eq!(node.resolve(&claim), ("GPU-cccc-3*3".to_owned(), vec![]));
    let (held, warnings) = node.resolve(&Claim { cuda: None, ..claim });
    assert_eq!((held.as_str(), warnings.len()), ("", 1), "the GPU is not held whole");
    // A driver before R470: its UUIDs are the old names.
    node.gres.clear();
    node.partitions[1].uuid = "MIG-GPU-cccc-3/3/0".to_owned();
    let claim = Claim { cuda: Some("MIG-GPU-cccc-3/3/0"), ..Claim::default() };
    assert_eq!(node.resolve(&claim), ("GPU-cccc-3*2".to_owned(), vec![]));
}

#[test]
fn numbers_are_those_of_device_files_where_slurmds_list_is_not_known() {
    let mut node = Node::new();
    node.gres.clear();
    let claim = Claim { job_gpus: Some("2"), ..Claim::default() };
    let (held, warnings) = node.resolve(&claim);
    assert_eq!((held.as_str(), warnings.len()), ("GPU-aaaa-1", 1), "unsure, and said so");
    // Where the driver counts as the files do, there is nothing to doubt.
    for device in &mut node.devices {
        device.index = device.minor.filter(|_| device.index.is_some());
    }
    assert_eq!(node.resolve(&claim), ("GPU-aaaa-1".to_owned(), vec![]));
    let (held, warnings) = node.resolve(&Claim { job_gpus: Some("9"), ..claim });
    assert_eq!((held.as_str(), warnings.len()), ("", 1));
}

#[test]
fn gpus_of_other_makers_have_their_own_variables_and_files() {
    let mut node = Node::new().unmanaged();
    let resolve = |node: &Node, claim| node.resolve(&claim).0;
    let rocr = |list| Claim { rocr: Some(list), ..Claim::default() };
    assert_eq!(resolve(&node, rocr("0")), "amd-128");
    assert_eq!(resolve(&node, rocr("1,0")), "amd-128 amd-129");
    assert_eq!(resolve(&node, rocr("2")), "");
    let ze = Claim { ze: Some("1.0,1.1"), ..Claim::default() };
    assert_eq!(resolve(&node, ze), "amd-129");
    node.gres = vec![vec![DeviceFile::Render(129)], vec![DeviceFile::Render(0)]];
    // Slurm sets all three variables alike: only its own list counts.
    let both = Claim { job_gpus: Some("1"), cuda: Some("0"), rocr: Some("0"), ..Claim::default() };
    assert_eq!(resolve(&node, both), "amd-128");
    assert_eq!(resolve(&node, Claim { job_gpus: Some("0"), ..Claim::default() }), "amd-129");
    // A counter of the node's, which does not say whose GPU it is.
    node.devices.retain(|d| d.method == "rapl");
    node.devices.push(Device {
        minor: Some(1),
        index: Some(1),
        ..Device::new(Component::Gpu, "accel1", "pm_counters:accel1", "pm_counters")
    });
    for file in [DeviceFile::Render(129), DeviceFile::Nvidia(1)] {
        node.gres = vec![vec![file]];
        let claim = Claim { job_gpus: Some("0"), ..Claim::default() };
        assert_eq!(resolve(&node, claim), "pm_counters:accel1", "{file:?}");
    }
}

#[test]
fn indices_on_a_node_with_several_models_are_said_to_be_unsure() {
    let mut node = Node::new().unmanaged();
    node.devices[1].name = "T4".to_owned();
    let claim = Claim { cuda: Some("0"), ..Claim::default() };
    let (held, warnings) = node.resolve(&claim);
    assert_eq!((held.as_str(), warnings.len()), ("GPU-aaaa-1", 1));
    let claim = Claim { cuda: Some("GPU-aaaa-1"), ..Claim::default() };
    assert!(node.resolve(&claim).1.is_empty());
}
