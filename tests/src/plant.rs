//! The power plant: a simulated machine whose meters run at known watts.
//!
//! A [`Spec`] says what the machine has and how much each meter draws; [`PowerPlant`] runs
//! `ct-plant`, a process of its own, which keeps the files of a tree current:
//!
//! ```text
//! <root>/sys/class/powercap, sys/devices/virtual/powercap    RAPL, linked and nested as in sysfs
//! <root>/sys/devices/system/cpu                              topology
//! <root>/sys/class/hwmon, sys/class/drm                      GPUs of AMD and Intel, power meters
//! <root>/sys/cray/pm_counters                                a Cray's node
//! <root>/proc/stat, proc/cpuinfo                             CPU time in ticks of 10 ms
//! <root>/nvml/gpu<index>/                                    what libfake_nvml.so answers from
//! <root>/proc/driver/nvidia/capabilities/gpu<minor>/mig      MIG instances, as the driver shows them
//! <root>/truth.json                                          joules so far, at exit and on demand
//! ```
//!
//! The energy of a meter is a function of the time since the start, not a sum over updates, so
//! nothing drifts. A file is up to [`Spec::update_ms`] behind that function: at 100 W and 10 ms
//! one joule. Files are opened once and overwritten in place with sixteen bytes of text, so
//! that a reader that keeps them open sees whole numbers, as it does in sysfs.
//!
//! Over its standard input a plant is asked for the truth at any instant, and told to let a meter
//! go wrong ([`Fault`]); see [`Generator::answer`].
//!
//! The plant deliberately does without the units and readers of the code under test: a wrong
//! factor there must not cancel itself out here.

mod cpu;
mod cray;
mod generator;
mod handle;
mod hwmon;
mod live;
mod meter;
mod rapl;
mod readout;
mod request;
mod spec;
mod tree;
mod waveform;

pub use self::cray::Cray;
pub use self::generator::Generator;
pub use self::handle::PowerPlant;
pub use self::hwmon::Hwmon;
pub use self::meter::{Meter, Truth};
pub use self::readout::Fault;
pub use self::spec::{CpuTime, Domain, Gpu, MigInstance, Package, Spec};
pub use self::waveform::{Step, Waveform};
