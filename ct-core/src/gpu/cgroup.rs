//! The GPUs that a job's cgroup allows: `devices.list` of cgroup v1. Version 2 has no such file.

use super::DeviceFile;

/// Major number of `/dev/dri/*`.
const MAJOR_DRM: u32 = 226;
/// Major number of `/dev/nvidiaN` where /proc/devices does not say.
const MAJOR_NVIDIA: u32 = 195;
/// Minors of that major from here on are `nvidia-modeset` and `nvidiactl`, no GPUs.
const FIRST_CONTROL_MINOR: u32 = 254;
/// Minors of render nodes begin here; below are `cardN`, which come with them.
const FIRST_RENDER_MINOR: u32 = 128;

/// Major numbers of NVIDIA's character devices on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Majors {
    /// Of `/dev/nvidiaN`.
    pub nvidia: u32,
    /// Of `/dev/nvidia-caps/*`, which the kernel chooses; `None` without MIG.
    pub capabilities: Option<u32>,
}

impl Majors {
    /// Reads the text of /proc/devices.
    pub fn parse(text: &str) -> Self {
        let major = |names: &[&str]| {
            text.lines().find_map(|line| {
                let (major, name) = line.trim().split_once(' ')?;
                names.contains(&name.trim()).then(|| major.parse().ok()).flatten()
            })
        };
        Self {
            // The latter is the name of older drivers.
            nvidia: major(&["nvidia", "nvidia-frontend"]).unwrap_or(MAJOR_NVIDIA),
            capabilities: major(&["nvidia-caps"]),
        }
    }
}

/// The device files of GPUs that `devices.list` allows; `None` where it allows all.
///
/// A cgroup that was only ever denied single devices shows `a *:* rwm` all the same: Slurm 22.05
/// does it so, and its list says nothing.
pub fn parse_devices_list(text: &str, majors: Majors) -> Option<Vec<DeviceFile>> {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let (Some(kind), Some(number), Some(access)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (major, minor) = number.split_once(':')?;
        let is_ours = |number: u32| major == "*" || major.parse() == Ok(number);
        if kind == "a" || (kind == "c" && minor == "*" && is_ours(majors.nvidia)) {
            return None;
        }
        let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else { continue };
        if kind != "c" || !access.contains(['r', 'w']) {
            continue;
        }
        if major == majors.nvidia && minor < FIRST_CONTROL_MINOR {
            out.push(DeviceFile::Nvidia(minor));
        } else if Some(major) == majors.capabilities {
            out.push(DeviceFile::Capability(minor));
        } else if major == MAJOR_DRM && minor >= FIRST_RENDER_MINOR {
            out.push(DeviceFile::Render(minor));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_those_of_proc_devices() {
        let text = "Character devices:\n  1 mem\n195 nvidia-frontend\n237 nvidia-caps\n\nBlock devices:\n  8 sd\n";
        assert_eq!(Majors::parse(text), Majors { nvidia: 195, capabilities: Some(237) });
        let text = "Character devices:\n240 nvidia\n";
        assert_eq!(Majors::parse(text), Majors { nvidia: 240, capabilities: None });
        assert_eq!(Majors::parse(""), Majors { nvidia: 195, capabilities: None });
    }

    #[test]
    fn lists_by_table() {
        use DeviceFile::{Capability, Nvidia, Render};
        let majors = Majors { nvidia: 195, capabilities: Some(237) };
        for (text, files) in [
            ("a *:* rwm\n", None),
            ("c 195:* rw\n", None),
            ("c *:* m\n", None),
            ("c 1:3 rwm\nc 195:2 rw\nc 195:255 rw\nb 195:1 rw\nc 195:0 m\n", Some(vec![Nvidia(2)])),
            ("c 195:0 rwm\nc 237:30 r\nc 226:129 rw\nc 226:1 rw\n", {
                Some(vec![Nvidia(0), Capability(30), Render(129)])
            }),
            ("c 1:* rwm\n", Some(vec![])),
            ("", Some(vec![])),
            ("garbage\nc x:y rw\nc 195:-1 rw\n", Some(vec![])),
        ] {
            assert_eq!(parse_devices_list(text, majors), files, "{text}");
        }
    }
}
