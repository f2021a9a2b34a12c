//! The node's power by its BMC: IPMI DCMI, "Get Power Reading", over `/dev/ipmi0`.
//!
//! Watts of the whole node as its power supplies see it, once a second at most: a BMC is slow, and
//! others ask it too. The bytes are those of DCMI 1.5, section 6.6.1.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ct_ipmi::{Ipmi, Request};

use super::file::entries;
use super::hwmon::start;
use super::integrator::{Integrator, Sensor};
use super::{Device, ReadError};
use crate::energy::Component;
use crate::units::Watts;

/// Time between two questions.
const STEP: Duration = Duration::from_secs(1);
/// How long the BMC may take; the kernel gives up a request after 5 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// DCMI's group extension: first byte of every request and answer.
const DCMI: u8 = 0xdc;
/// Get Power Reading, mode "system power statistics"; the bytes after it are reserved.
const GET_POWER_READING: Request<'_> =
    Request { netfn: 0x2c, cmd: 0x02, data: &[DCMI, 0x01, 0x00, 0x00] };
/// Completion code, group extension, four powers, time stamp, period, state.
const ANSWER_BYTES: usize = 19;
/// Bit 6 of the state: power is being measured.
const IS_MEASURING: u8 = 1 << 6;

/// The answer to Get Power Reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PowerReading {
    current_w: u16,
    is_measuring: bool,
}

/// Why an answer holds no power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The BMC's completion code.
    Code(u8),
    /// It is not what was asked for.
    Garbled,
}

fn decode(answer: &[u8]) -> Result<PowerReading, Refusal> {
    match answer {
        [code, ..] if *code != 0 => Err(Refusal::Code(*code)),
        [0, DCMI, low, high, ..] if answer.len() >= ANSWER_BYTES => Ok(PowerReading {
            current_w: u16::from_le_bytes([*low, *high]),
            is_measuring: answer[ANSWER_BYTES - 1] & IS_MEASURING != 0,
        }),
        _ => Err(Refusal::Garbled),
    }
}

/// The completion codes of IPMI 2.0, table 5-2, that a BMC may answer with here.
fn name_of(code: u8) -> &'static str {
    match code {
        0xc0 => "node busy",
        0xc1 => "invalid command: the BMC has no DCMI power reading",
        0xc2 => "command invalid for given LUN",
        0xc3 => "timeout while processing command",
        0xc4 => "out of space",
        0xc6 => "request data truncated",
        0xc7 => "request data length invalid",
        0xc8 => "request data field length limit exceeded",
        0xc9 => "parameter out of range",
        0xca => "cannot return number of requested data bytes",
        0xcb => "requested sensor, data, or record not present",
        0xcc => "invalid data field in request",
        0xcd => "command illegal for specified sensor or record type",
        0xce => "command response could not be provided",
        0xcf => "cannot execute duplicated request",
        0xd0 => "SDR repository in update mode",
        0xd1 => "device in firmware update mode",
        0xd2 => "BMC initialization in progress",
        0xd3 => "destination unavailable",
        0xd4 => "insufficient privilege level",
        0xd5 => "not supported in present state",
        0xd6 => "command sub-function disabled or unavailable",
        0xff => "unspecified error",
        _ => "a code of the maker's own",
    }
}

/// The BMCs' devices of the tree, by their names in `/dev`; none where Linux has no driver for one.
pub fn discover(sysfs: &Path) -> Option<PathBuf> {
    let first = entries(&sysfs.join("class/ipmi")).into_iter().next()?;
    Some(Path::new("/dev").join(first.file_name()?))
}

/// Opens the BMC's device, which is root's, and asks it nothing yet; `None` where it is not there.
///
/// # Errors
///
/// [`ReadError::Open`] where it cannot be opened.
pub fn open(path: &Path) -> Result<Option<Bmc>, ReadError> {
    match Ipmi::open(path) {
        Ok(ipmi) => Ok(Some(Bmc { ipmi, path: path.to_owned() })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReadError::Open { path: path.to_owned(), source }),
    }
}

/// Who answers the request.
trait Answer: Send {
    fn ask(&mut self) -> io::Result<Vec<u8>>;
}

/// A BMC whose device is open.
pub struct Bmc {
    ipmi: Ipmi,
    path: PathBuf,
}

impl Bmc {
    /// Asks for its power and integrates it; `None` where it has no power reading.
    ///
    /// # Errors
    ///
    /// [`ReadError`] where it does not answer or refuses.
    pub fn start(self) -> Result<Option<Integrator>, ReadError> {
        let path = self.path.clone();
        integrate(Box::new(self), &path)
    }
}

impl Answer for Bmc {
    fn ask(&mut self) -> io::Result<Vec<u8>> {
        self.ipmi.ask(GET_POWER_READING, PATIENCE)
    }
}

fn integrate(mut bmc: Box<dyn Answer>, path: &Path) -> Result<Option<Integrator>, ReadError> {
    let path = path.to_owned();
    match bmc.ask().map(|answer| decode(&answer)) {
        // Most BMCs of workstations.
        Ok(Err(Refusal::Code(0xc1))) => return Ok(None),
        answer => power(answer, &path)?,
    };
    let sensor: Sensor = Box::new(move || power(bmc.ask().map(|answer| decode(&answer)), &path));
    let device = Device::new(Component::Rest, "rest", "dcmi:node", "dcmi");
    match start("dcmi", STEP, vec![(device, sensor)], Vec::new()) {
        (_, mut problems) if !problems.is_empty() => Err(problems.remove(0)),
        (source, _) => Ok(source),
    }
}

fn power(
    answer: io::Result<Result<PowerReading, Refusal>>,
    path: &Path,
) -> Result<Watts, ReadError> {
    let said = |message: String| ReadError::Driver { device: "BMC".to_owned(), message };
    match answer {
        Err(e) if e.kind() == io::ErrorKind::TimedOut => {
            Err(ReadError::Silent { meter: "BMC".to_owned(), waited: PATIENCE })
        }
        Err(e) => Err(ReadError::from_io(path, e)),
        Ok(Err(Refusal::Code(code))) => {
            Err(said(format!("completion code 0x{code:02x}, {}", name_of(code))))
        }
        Ok(Err(Refusal::Garbled)) => Err(said("its answer is no power reading".to_owned())),
        Ok(Ok(reading)) if !reading.is_measuring => {
            Err(said("it does not measure power now".to_owned()))
        }
        Ok(Ok(reading)) => Ok(Watts::new(reading.current_w.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::Source;

    /// 214 W, at least 2 W, at most 468 W, 184 W in the mean, over 1000 ms, measuring.
    const ANSWER: [u8; ANSWER_BYTES] = [
        0x00, 0xdc, 0xd6, 0x00, 0x02, 0x00, 0xd4, 0x01, 0xb8, 0x00, 0xf4, 0x84, 0x37, 0x66, 0xe8,
        0x03, 0x00, 0x00, 0x40,
    ];

    struct Scripted(Vec<io::Result<Vec<u8>>>);

    impl Answer for Scripted {
        fn ask(&mut self) -> io::Result<Vec<u8>> {
            if self.0.len() > 1 {
                return self.0.remove(0);
            }
            self.0[0].as_ref().map(Clone::clone).map_err(|e| e.kind().into())
        }
    }

    fn opened(answers: Vec<io::Result<Vec<u8>>>) -> Result<Option<Integrator>, ReadError> {
        integrate(Box::new(Scripted(answers)), Path::new("/dev/ipmi0"))
    }

    #[test]
    fn the_request_is_that_of_dcmi_table_6_16() {
        assert_eq!((GET_POWER_READING.netfn, GET_POWER_READING.cmd), (0x2c, 0x02));
        assert_eq!(GET_POWER_READING.data, [0xdc, 0x01, 0x00, 0x00]);
    }

    #[test]
    fn answers_by_table() {
        let with = |index: usize, byte: u8| {
            let mut answer = ANSWER;
            answer[index] = byte;
            answer.to_vec()
        };
        let reading = |current_w, is_measuring| Ok(PowerReading { current_w, is_measuring });
        for (answer, expected) in [
            (ANSWER.to_vec(), reading(214, true)),
            // 0x04d6 = 1238
            (with(3, 0x04), reading(1238, true)),
            (with(18, 0x00), reading(214, false)),
            (with(18, 0xbf), reading(214, false)),
            // A maker's bytes at the end.
            ([ANSWER.as_slice(), &[1, 2]].concat(), reading(214, true)),
            (vec![0xc1], Err(Refusal::Code(0xc1))),
            (vec![0xd5, 0xdc], Err(Refusal::Code(0xd5))),
            (ANSWER[..18].to_vec(), Err(Refusal::Garbled)),
            (with(1, 0xdd), Err(Refusal::Garbled)),
            (vec![0x00], Err(Refusal::Garbled)),
            (vec![], Err(Refusal::Garbled)),
        ] {
            assert_eq!(decode(&answer), expected, "{answer:02x?}");
        }
    }

    #[test]
    fn the_nodes_power_is_integrated() {
        let mut node = opened(vec![Ok(ANSWER.to_vec())]).unwrap().unwrap();
        assert_eq!(node.devices()[0].component, Component::Rest);
        assert_eq!(node.devices()[0].method, "dcmi");
        let from = *node.read()[0].as_ref().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let drawn = (*node.read()[0].as_ref().unwrap() - from) as f64 * 1e-6;
        // 214 W for 50 ms or a little more.
        assert!((10.7..107.0).contains(&drawn), "{drawn}");
    }

    #[test]
    fn a_bmc_that_refuses_is_named_and_one_without_dcmi_is_none() {
        assert!(opened(vec![Ok(vec![0xc1])]).unwrap().is_none());
        let mut idle = ANSWER.to_vec();
        idle[18] = 0;
        for (answer, seen) in [
            (Ok(vec![0xd4]), "BMC: completion code 0xd4, insufficient privilege level"),
            (Ok(vec![0x81]), "completion code 0x81, a code of the maker's own"),
            (Ok(vec![0x00]), "BMC: its answer is no power reading"),
            (Ok(idle), "BMC: it does not measure power now"),
            (Err(io::ErrorKind::TimedOut.into()), "BMC did not answer within 2 s"),
            (Err(io::ErrorKind::PermissionDenied.into()), "/dev/ipmi0"),
        ] {
            let error = opened(vec![answer]).err().expect("an error").to_string();
            assert!(error.contains(seen), "{error}");
        }
    }

    #[test]
    fn a_node_without_a_bmc_has_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(discover(root.path()), None);
        fs::create_dir_all(root.path().join("class/ipmi/ipmi0")).unwrap();
        assert_eq!(discover(root.path()), Some("/dev/ipmi0".into()));
        assert!(open(&root.path().join("ipmi0")).unwrap().is_none());
        let error = open(root.path()).err().expect("a directory is no device").to_string();
        assert!(error.contains("cannot open energy counter"), "{error}");
    }
}
