//! What a sample costs with 1 to 500 jobs on a node, and how much memory ct-noded takes.
//!
//! The trees are made up: RAPL, `/proc/stat`, topology and a control group for every job. Prints
//! each figure beside its target and exits 1 where one is missed; run it by `tests/bench/node-scale`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ct_core::config::Config;
use ct_core::protocol::{JobFacts, Request, StepFacts, to_line};
use ct_core::sampler::Sampler;
use ct_node::station::Station;

const N_JOBS: [u32; 4] = [1, 10, 100, 500];
/// What one more job may add to a sample.
const MOST_PER_JOB: Duration = Duration::from_micros(20);
/// How much more than five times the cost of 100 jobs that of 500 may be.
const MOST_BEND: f64 = 1.5;
/// Memory of ct-noded with 500 jobs.
const MOST_RSS_KB: u64 = 16 * 1024;

/// A machine made of files.
struct Machine {
    name: &'static str,
    n_cpus: u32,
    n_packages: u32,
    is_v1: bool,
}

const MACHINES: [Machine; 2] = [
    Machine { name: "8 CPUs, 1 package, cgroup v2", n_cpus: 8, n_packages: 1, is_v1: false },
    Machine { name: "256 CPUs, 2 packages, cgroup v1", n_cpus: 256, n_packages: 2, is_v1: true },
];

fn main() -> Result<ExitCode> {
    let memory = Path::new("/dev/shm");
    let mut is_met = true;
    for machine in &MACHINES {
        let root =
            if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        // The service user passes through here.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
        machine.build(root.path())?;
        println!("{}", machine.name);
        is_met &= cost(machine, root.path())?;
        is_met &= resident(machine, root.path())?;
    }
    Ok(if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Machine {
    fn build(&self, root: &Path) -> Result<()> {
        write(root, "proc/stat", &self.stat())?;
        for cpu in 0..self.n_cpus {
            let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
            let package = cpu * self.n_packages / self.n_cpus;
            write(root, &format!("{topology}/physical_package_id"), &package.to_string())?;
            write(root, &format!("{topology}/core_id"), &cpu.to_string())?;
        }
        for package in 0..self.n_packages {
            let zone = format!("sys/class/powercap/intel-rapl:{package}");
            for (dir, name) in [
                (zone.clone(), format!("package-{package}")),
                (format!("{zone}/intel-rapl:{package}:0"), "dram".to_owned()),
            ] {
                write(root, &format!("{dir}/name"), &name)?;
                write(root, &format!("{dir}/max_energy_range_uj"), "262143328850\n")?;
                write(root, &format!("{dir}/energy_uj"), "1234567890\n")?;
            }
        }
        let most = N_JOBS.iter().max().copied().unwrap_or(0);
        (1..=most).try_for_each(|id| self.make_job(root, id))
    }

    fn stat(&self) -> String {
        let numbers = "1234567 2345 345678 98765432 12345 0 6789 0 0 0\n";
        let cpus: String = (0..self.n_cpus).map(|cpu| format!("cpu{cpu} {numbers}")).collect();
        // A line of a few thousand interrupts follows on such machines.
        format!("cpu  {numbers}{cpus}intr 987654321{}\nctxt 1\n", " 0".repeat(4000))
    }

    fn make_job(&self, root: &Path, id: u32) -> Result<()> {
        let cpu = id % self.n_cpus;
        if !self.is_v1 {
            let stat = "usage_usec 123456789\nuser_usec 1\nsystem_usec 2\nnr_periods 0\n";
            write(root, &format!("cgroup/job_{id}/cpu.stat"), stat)?;
            return write(
                root,
                &format!("cgroup/job_{id}/cpuset.cpus.effective"),
                &cpu.to_string(),
            );
        }
        let percpu = "123456789012 ".repeat(self.n_cpus as usize);
        write(root, &format!("cgroup/cpuacct/job_{id}/cpuacct.usage_percpu"), &percpu)?;
        write(root, &format!("cgroup/cpuacct/job_{id}/cpuacct.usage"), "123456789012\n")?;
        write(root, &format!("cgroup/cpuset/job_{id}/cpuset.effective_cpus"), &cpu.to_string())
    }

    fn config(&self, root: &Path) -> Config {
        let mut config = Config::default();
        config.path.sysfs = root.join("sys");
        config.path.procfs = root.join("proc");
        config.path.cgroupfs = root.join("cgroup");
        config.node.run_dir = root.join("run");
        config.node.state_dir = root.join("state");
        config.ledger.dir = root.join("ledger");
        config
    }

    fn job(&self, id: u32) -> (JobFacts, StepFacts) {
        let cgroup = if self.is_v1 { "4:cpuacct:" } else { "0::" };
        let job = JobFacts {
            job_id: id,
            uid: 1000,
            alloc_cpus: Some(1),
            alloc_mem_mb: Some(500),
            user: Some("ann".to_owned()),
            cluster: Some("lab".to_owned()),
            job_name: Some("train".to_owned()),
            option: Some("update_interval:3600".to_owned()),
            ..JobFacts::default()
        };
        let step = StepFacts {
            name: "batch".to_owned(),
            stepd_pid: std::process::id(),
            cgroup: format!("{cgroup}/job_{id}/step_batch\n"),
        };
        (job, step)
    }
}

fn write(root: &Path, path: &str, text: &str) -> Result<()> {
    let path = root.join(path);
    fs::create_dir_all(path.parent().context("it has one")?)?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// Time of a sample by the number of jobs; whether it meets its targets.
fn cost(machine: &Machine, root: &Path) -> Result<bool> {
    let config = machine.config(root);
    let sampler = Sampler::open(&config);
    ensure!(sampler.devices().iter().any(|d| d.method == "rapl"), "no meter found");
    let mut station = Station::new(config, "n1".to_owned(), sampler);
    let mut times = Vec::new();
    let mut next = 1;
    for n_jobs in N_JOBS {
        while next <= n_jobs {
            let (job, step) = machine.job(next);
            station.step_start(job, &step);
            next += 1;
        }
        times.push(time_of_a_sample(&mut station));
    }
    ensure!(station.jobs().values().all(|j| j.cpu_time.is_known()), "a cgroup was not read");
    for (n, time) in N_JOBS.iter().zip(&times) {
        println!("  a sample with {n:>3} jobs: {:>6} us", time.as_micros());
    }
    let added = times[3].saturating_sub(times[0]) / (N_JOBS[3] - N_JOBS[0]);
    let bend = times[3].as_secs_f64() / (times[2].as_secs_f64() * 5.0);
    println!("  a job adds {:.1} us; target: at most {} us", added.as_nanos() as f64 / 1e3, 20);
    println!("  500 jobs against five times 100: {bend:.2}; target: at most {MOST_BEND}");
    Ok(added <= MOST_PER_JOB && bend <= MOST_BEND)
}

/// The median CPU time of many, so that what else the machine does matters little; the trees lie in
/// memory, so nothing is waited for.
fn time_of_a_sample(station: &mut Station) -> Duration {
    let sample = |_| {
        let start = cpu_time();
        station.sample();
        cpu_time().saturating_sub(start)
    };
    let mut times: Vec<Duration> = (0..101).map(sample).collect();
    times.sort();
    times[times.len() / 2]
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Starts ct-noded, has it measure 500 jobs, and looks at its memory.
fn resident(machine: &Machine, root: &Path) -> Result<bool> {
    let mut daemon = Daemon::start(machine, root)?;
    let most = N_JOBS[3];
    for id in 1..=most {
        let (job, step) = machine.job(id);
        daemon.ask(&Request::StepStart { job: Box::new(job), step })?;
    }
    // Some more samples, and a state file or two.
    for id in 1..=20 {
        daemon.ask(&Request::Status { job_id: id })?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let rss_kb = daemon.memory_kb()?;
    println!("  ct-noded with {most} jobs: {rss_kb} kB; target: at most {MOST_RSS_KB} kB");
    Ok(rss_kb <= MOST_RSS_KB)
}

/// A running ct-noded, until it is dropped.
struct Daemon {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Daemon {
    fn start(machine: &Machine, root: &Path) -> Result<Self> {
        let config = machine.config(root);
        let file = root.join("carbontracker.toml");
        let (node, path) = (&config.node, &config.path);
        let text = format!(
            "[node]\nrun_dir = {:?}\nstate_dir = {:?}\n\
             [path]\nsysfs = {:?}\nprocfs = {:?}\ncgroupfs = {:?}\n[ledger]\ndir = {:?}\n",
            node.run_dir, node.state_dir, path.sysfs, path.procfs, path.cgroupfs, config.ledger.dir
        );
        fs::write(&file, text)?;
        let child = Command::new(noded()?)
            .args(["--node", "n1", "--config"])
            .arg(&file)
            .stderr(fs::File::create(root.join("noded.stderr"))?)
            .spawn()
            .context("cannot start ct-noded")?;
        let socket = config.node.run_dir.join("noded.sock");
        let end = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(e) if Instant::now() > end => {
                    return Err(e).context("ct-noded does not listen");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Ok(Self { child, stream: BufReader::new(stream) })
    }

    fn ask(&mut self, request: &Request) -> Result<()> {
        self.stream.get_mut().write_all(to_line(request)?.as_bytes())?;
        let mut reply = String::new();
        self.stream.read_line(&mut reply)?;
        ensure!(!reply.contains(r#""reply":"error""#) && !reply.is_empty(), "{reply}");
        Ok(())
    }

    fn memory_kb(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let text = line.context("no VmHWM")?.trim().trim_end_matches("kB");
        Ok(text.trim().parse()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon of the same build.
fn noded() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().and_then(Path::parent).context("examples lie in the build directory")?;
    Ok(dir.join("ct-noded"))
}
