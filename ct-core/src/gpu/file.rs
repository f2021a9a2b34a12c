//! Device files of GPUs by name, and slurmd's list of them.

use crate::slurm::expand_hostlist;

/// A device file of a GPU, by what its number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFile {
    /// `/dev/nvidiaN`.
    Nvidia(u32),
    /// `/dev/nvidia-caps/nvidia-capN`: the right to use a MIG instance.
    Capability(u32),
    /// `/dev/dri/renderDN` or `cardN`: a GPU of AMD or Intel.
    Render(u32),
}

impl DeviceFile {
    /// The file by the number at the end of its name; `None` where there is none.
    pub fn from_path(path: &str) -> Option<Self> {
        let name = path.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = path[name.len()..].parse().ok()?;
        Some(if path.contains("nvidia-cap") {
            Self::Capability(number)
        } else if path.contains("/dri/") {
            Self::Render(number)
        } else {
            Self::Nvidia(number)
        })
    }
}

/// The device files of each gres number, from what `slurmd -G` prints; empty where it lists no GPU.
///
/// The lines are in slurmd's own order, which follows the types in slurm.conf, the lines of
/// gres.conf, and NVML's order with `AutoDetect=nvml`. A gres with `MultipleFiles`, such as a MIG
/// instance, is one number; else every file is. The field `Index` is not that number.
pub fn parse_slurmd_gres(text: &str) -> Vec<Vec<DeviceFile>> {
    let mut out = Vec::new();
    for line in text.lines() {
        let Some((_, fields)) = line.split_once("Gres Name=gpu ") else { continue };
        let field = |key: &str| fields.split_whitespace().find_map(|f| f.strip_prefix(key));
        let count = field("Count=").and_then(|n| n.parse().ok()).unwrap_or(1_usize);
        let files = field("File=").filter(|f| *f != "(null)").map(expand_hostlist);
        let files = files.unwrap_or_default();
        if files.len() == count {
            out.extend(files.iter().map(|f| DeviceFile::from_path(f).into_iter().collect()));
        } else if count == 1 {
            out.push(files.iter().filter_map(|f| DeviceFile::from_path(f)).collect());
        } else {
            out.extend((0..count.min(MOST_GPUS)).map(|_| Vec::new()));
        }
    }
    out
}

/// More GPUs than a node has, instances counted: a line may claim any number of them.
const MOST_GPUS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        for (path, file) in [
            ("/dev/nvidia10", Some(DeviceFile::Nvidia(10))),
            ("/tmp/ct-071/dev/fakegpu2", Some(DeviceFile::Nvidia(2))),
            ("/dev/nvidia-caps/nvidia-cap21", Some(DeviceFile::Capability(21))),
            ("/dev/dri/renderD128", Some(DeviceFile::Render(128))),
            ("/dev/dri/card0", Some(DeviceFile::Render(0))),
            ("/dev/kfd", None),
            ("/dev/nvidia99999999999", None),
            ("", None),
        ] {
            assert_eq!(DeviceFile::from_path(path), file, "{path}");
        }
    }

    #[test]
    fn slurmds_lines_are_numbered_in_their_order() {
        use DeviceFile::{Capability, Nvidia};
        // Slurm 22.05 with two types; slurm.conf has gpu:b before gpu:a.
        let old = "slurmd: Gres Name=gpu Type=b Count=2 Index=0 ID=7696487 File=/dev/nvidia[2-3] (null)\n\
             slurmd: Gres Name=gpu Type=a Count=1 Index=0 ID=7696487 File=/dev/nvidia0 (null)\n\
             slurmd: Gres Name=shard Count=8 Index=0 ID=1 File=/dev/nvidia1 (null)\n";
        assert_eq!(parse_slurmd_gres(old), [vec![Nvidia(2)], vec![Nvidia(3)], vec![Nvidia(0)]]);
        // A later one with AutoDetect=nvml and a MIG instance.
        let new = "slurmd-n1: Gres Name=gpu Type=a100 Count=1 Index=0 ID=7696487 File=/dev/nvidia1 Links=(null) Flags=HAS_FILE\n\
             slurmd-n1: Gres Name=gpu Type=3g Count=1 Index=1 ID=7696487 File=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap30,/dev/nvidia-caps/nvidia-cap31 Links=(null)\n";
        let instance = vec![Nvidia(0), Capability(30), Capability(31)];
        assert_eq!(parse_slurmd_gres(new), [vec![Nvidia(1)], instance]);
        for nothing in ["", "slurmd: error: x\n", "Gres Name=gpu", "slurmd: Gres Name=nic Count=1"]
        {
            assert!(parse_slurmd_gres(nothing).is_empty(), "{nothing}");
        }
        // Without files Slurm counts GPUs and names none.
        let counted = "slurmd: Gres Name=gpu Type=(null) Count=2 Index=0 ID=1 File=(null) (null)\n";
        assert_eq!(parse_slurmd_gres(counted), [vec![], vec![]]);
        let many = "slurmd: Gres Name=gpu Count=99999999999 File=(null)\n";
        assert_eq!(parse_slurmd_gres(many).len(), MOST_GPUS);
    }
}
