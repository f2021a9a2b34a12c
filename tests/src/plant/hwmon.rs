//! Sensors of `/sys/class/hwmon`: GPUs of AMD and Intel, the power meters of Grace.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::live::{LiveFile, write, write_all};
use super::meter::Meter;
use super::readout::{Quantity, Readout};
use super::waveform::Waveform;

/// hwmon counts microjoules and microwatts (the kernel's hwmon/sysfs-interface).
const MICRO: f64 = 1e6;

/// A sensor with one energy counter, one power, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hwmon {
    /// The driver, as in the file `name`.
    pub name: String,
    /// The directory of its device, below `sys`.
    pub device: String,
    /// The power it measures.
    pub waveform: Waveform,
    /// The file of its energy counter, in µJ.
    #[serde(default)]
    pub energy: Option<String>,
    /// The file of its power, in µW.
    #[serde(default)]
    pub power: Option<String>,
    /// Other files of the sensor, by name.
    #[serde(default)]
    pub texts: BTreeMap<String, String>,
    /// Files of the device, by name.
    #[serde(default)]
    pub device_texts: BTreeMap<String, String>,
    /// Whether its files lie in the directory of the device, `hwmonN/device`.
    #[serde(default)]
    pub lies_in_device: bool,
    /// The N of its /sys/class/drm/cardN.
    #[serde(default)]
    pub drm_card: Option<usize>,
}

/// Names and texts as a map.
fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

impl Hwmon {
    fn new(name: &str, device: String, waveform: Waveform) -> Self {
        Self {
            name: name.to_owned(),
            device,
            waveform,
            energy: None,
            power: None,
            texts: BTreeMap::new(),
            device_texts: BTreeMap::new(),
            lies_in_device: false,
            drm_card: None,
        }
    }

    /// A GPU of AMD's at a PCI address such as `0000:c1:00.0`: it tells its power only.
    pub fn amdgpu(pci: &str, drm_card: usize, waveform: Waveform) -> Self {
        let id = format!("{:016x}", 0x7a8b_0000 + drm_card);
        Self {
            power: Some("power1_average".to_owned()),
            texts: texts(&[("power1_label", "PPT")]),
            device_texts: texts(&[("vendor", "0x1002"), ("device", "0x740f"), ("unique_id", &id)]),
            drm_card: Some(drm_card),
            ..Self::new("amdgpu", format!("devices/pci0000:c0/{pci}"), waveform)
        }
    }

    /// A GPU of Intel's at a PCI address: it counts its energy.
    pub fn intel_gpu(pci: &str, drm_card: usize, waveform: Waveform) -> Self {
        Self {
            energy: Some("energy1_input".to_owned()),
            texts: texts(&[("energy1_label", "card")]),
            device_texts: texts(&[("vendor", "0x8086"), ("device", "0x0bd5")]),
            drm_card: Some(drm_card),
            ..Self::new("xe", format!("devices/pci0000:a0/{pci}"), waveform)
        }
    }

    /// A power meter of ACPI's, number `instance`; Grace says in `oem_info` what it measures, such
    /// as `CPU Power Socket 0`.
    pub fn acpi_power_meter(instance: usize, oem_info: &str, waveform: Waveform) -> Self {
        Self {
            power: Some("power1_average".to_owned()),
            texts: texts(&[("power1_oem_info", oem_info), ("power1_average_interval", "50")]),
            lies_in_device: true,
            ..Self::new("power_meter", acpi_device(instance), waveform)
        }
    }

    /// Adds an energy counter, where there is none.
    pub fn counting_energy(mut self) -> Self {
        self.energy.get_or_insert_with(|| "energy1_input".to_owned());
        self
    }
}

fn acpi_device(instance: usize) -> String {
    format!("devices/LNXSYSTM:00/LNXSYBUS:00/ACPI000D:{instance:02x}")
}

/// Makes `hwmon<index>` and the files that show it.
pub(super) fn make(root: &Path, index: usize, sensor: &Hwmon) -> Result<Vec<Readout>> {
    let sys = root.join("sys");
    let device = sys.join(&sensor.device);
    let place = Path::new(&sensor.device).join(format!("hwmon/hwmon{index}"));
    let dir = if sensor.lies_in_device { device.clone() } else { sys.join(&place) };
    write(&dir.join("name"), &format!("{}\n", sensor.name))?;
    write_all(&dir, &sensor.texts)?;
    write_all(&device, &sensor.device_texts)?;
    make_link(&sys, "hwmon", &place)?;
    if let Some(card) = sensor.drm_card {
        make_link(&sys, "drm", &Path::new(&sensor.device).join(format!("drm/card{card}")))?;
    }
    let meter = Meter::Hwmon(index);
    let files = [(&sensor.energy, Quantity::Energy), (&sensor.power, Quantity::Power)];
    let readout = |(name, quantity): (&Option<String>, Quantity)| {
        let file = LiveFile::number(&dir.join(name.as_ref()?));
        Some(file.map(|file| Readout::new(meter, quantity, MICRO, file)))
    };
    files.into_iter().filter_map(readout).collect()
}

/// Makes the directory of a class's device, its link `device` to the hardware two levels up, and
/// its link in the class, as sysfs does.
fn make_link(sys: &Path, class: &str, place: &Path) -> Result<()> {
    let name = place.file_name().context("a place in sysfs has a name")?;
    let class = sys.join("class").join(class);
    std::fs::create_dir_all(sys.join(place))?;
    std::fs::create_dir_all(&class)?;
    symlink("../..", sys.join(place).join("device"))
        .and_then(|()| symlink(Path::new("../..").join(place), class.join(name)))
        .with_context(|| format!("cannot link {} in {}", place.display(), class.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(root: &Path, path: &str) -> String {
        let text = fs::read_to_string(root.join("sys/class").join(path));
        text.unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    }

    #[test]
    fn sensors_lie_where_the_kernel_puts_them() {
        let root = tempfile::tempdir().unwrap();
        let watts = || Waveform::Constant { watts: 1.0 };
        let sensors = [
            Hwmon::amdgpu("0000:c1:00.0", 1, watts()),
            Hwmon::intel_gpu("0000:a1:00.0", 2, watts()),
            Hwmon::acpi_power_meter(0, "CPU Power Socket 0", watts()),
        ];
        let n_files = |(n, sensor)| make(root.path(), n, sensor).unwrap().len();
        assert_eq!(sensors.iter().enumerate().map(n_files).collect::<Vec<_>>(), [1, 1, 1]);
        let read = |path| read(root.path(), path);
        assert_eq!(read("hwmon/hwmon0/name"), "amdgpu");
        assert_eq!(read("hwmon/hwmon0/device/vendor"), "0x1002");
        assert_eq!(read("drm/card1/device/hwmon/hwmon0/power1_label"), "PPT");
        assert_eq!(read("hwmon/hwmon1/energy1_input"), "000000000000000");
        assert_eq!(read("hwmon/hwmon2/device/power1_oem_info"), "CPU Power Socket 0");
    }
}
