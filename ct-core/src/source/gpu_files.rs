//! What the kernel and NVIDIA's driver show of GPUs in files: MIG capabilities, major numbers, and
//! the devices a job's cgroup allows.

use std::fs;
use std::path::Path;

use crate::gpu::{DeviceFile, Instance, Majors, parse_capability, parse_devices_list};
use crate::slurm::CgroupPaths;

/// Reads the MIG instances below `/proc/driver/nvidia/capabilities`; none where MIG is off.
pub fn read_instances(procfs: &Path) -> Vec<Instance> {
    let root = procfs.join("driver/nvidia/capabilities");
    let mut out = Vec::new();
    for (gpu_minor, gpu) in numbered(&root, "gpu") {
        for (gpu_instance, instance) in numbered(&gpu.join("mig"), "gi") {
            let Some(own) = read_capability(&instance) else { continue };
            for (compute_instance, compute) in numbered(&instance, "ci") {
                let Some(of_compute) = read_capability(&compute) else { continue };
                let capabilities = [own, of_compute];
                out.push(Instance { gpu_minor, gpu_instance, compute_instance, capabilities });
            }
        }
    }
    out
}

/// Entries named by a prefix and a number.
fn numbered(dir: &Path, prefix: &str) -> Vec<(u32, std::path::PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
        Some((number, entry.path()))
    };
    entries.filter_map(number).collect()
}

fn read_capability(dir: &Path) -> Option<u32> {
    parse_capability(&fs::read_to_string(dir.join("access")).ok()?)
}

/// What a job's cgroup says of its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// There is no such cgroup, yet or any more.
    Absent,
    /// It does not say: cgroup v2, or a list of all devices.
    Unsaid,
    /// It allows these.
    Only(Vec<DeviceFile>),
}

/// Reads the devices that a job's cgroup (v1) allows.
pub fn read_allowed(cgroup: &CgroupPaths, cgroupfs: &Path, procfs: &Path) -> Allowed {
    let CgroupPaths::V1(job) = cgroup else { return Allowed::Unsaid };
    let list = cgroupfs.join("devices").join(job).join("devices.list");
    let Ok(list) = fs::read_to_string(list) else { return Allowed::Absent };
    let devices = fs::read_to_string(procfs.join("devices")).unwrap_or_default();
    parse_devices_list(&list, Majors::parse(&devices)).map_or(Allowed::Unsaid, Allowed::Only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn instances_are_those_of_the_drivers_tree() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read_instances(root.path()), []);
        let mig = root.path().join("driver/nvidia/capabilities/gpu2/mig");
        let access =
            |n| format!("DeviceFileMinor: {n}\nDeviceFileMode: 256\nDeviceFileModify: 1\n");
        write(&mig.join("config"), &access(1));
        write(&mig.join("gi3/access"), &access(30));
        write(&mig.join("gi3/ci0/access"), &access(31));
        // An instance that is just being made, and a garbled one.
        write(&mig.join("gi4/ci0/access"), &access(41));
        write(&mig.join("gi5/access"), "DeviceFileMinor: x\n");
        let instance =
            Instance { gpu_minor: 2, gpu_instance: 3, compute_instance: 0, capabilities: [30, 31] };
        assert_eq!(read_instances(root.path()), [instance]);
    }

    #[test]
    fn what_a_cgroup_allows_by_version_and_form() {
        let root = tempfile::tempdir().unwrap();
        let (v1, v2) = (CgroupPaths::V1("slurm/job_1".into()), CgroupPaths::V2("job_1".into()));
        let read = |cgroup| read_allowed(cgroup, root.path(), &root.path().join("proc"));
        assert_eq!(read(&v1), Allowed::Absent);
        assert_eq!(read(&v2), Allowed::Unsaid);
        let list = root.path().join("devices/slurm/job_1/devices.list");
        write(&list, "a *:* rwm\n");
        assert_eq!(read(&v1), Allowed::Unsaid);
        write(&list, "c 240:2 rwm\n");
        assert_eq!(read(&v1), Allowed::Only(vec![]));
        write(&root.path().join("proc/devices"), "Character devices:\n240 nvidia\n");
        assert_eq!(read(&v1), Allowed::Only(vec![DeviceFile::Nvidia(2)]));
    }
}
