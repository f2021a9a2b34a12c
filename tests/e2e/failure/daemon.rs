//! ct-noded killed, stopped, out of memory: before a job, in it, at its end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use ct_tests::site::wait_for;
use ct_tests::{JobId, Site, cgroup_test_is_possible, e2e_is_possible};
use rustix::process::Signal;
use serde_json::Value;

use crate::outcome::{
    MOST_DELAY, Ran, ended, has_its_energy, lone_jobs, median_of, nodes_are_up, one_record_each,
    record, run, signal, submit, wait_for_file, warns,
};

#[test]
fn killed_before_a_job_in_it_and_at_its_end() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = lone_jobs().start()?;
    let kill = || signal(site.wait_for_noded(1)?, Signal::KILL);

    kill()?;
    // Alone on its node, so that what the node drew is the job's.
    let before = submit(&site, "on\n#SBATCH --exclusive", "sleep 1; echo hello; exit 3")?;
    ensure!(ended(&site, before, 3)?.starts_with("hello\n"));
    is_whole(&site, before, 1.0)?;

    let job = submit(&site, "on\n#SBATCH --exclusive", "touch begun; sleep 4; echo hello; exit 3")?;
    wait_for_file(&site, "begun")?;
    std::thread::sleep(Duration::from_secs(2));
    kill()?;
    let out = ended(&site, job, 3)?;
    ensure!(out.starts_with("hello\n"), "{out}");
    let during = is_whole(&site, job, 4.0)?;
    ensure!(warns(&during, "the gap is booked from the counters"), "{during:#}");

    let body = "sleep 1; echo hello; touch over; sleep 0.1; exit 3";
    let at_end = submit(&site, "on\n#SBATCH --exclusive", body)?;
    wait_for_file(&site, "over")?;
    kill()?;
    ensure!(ended(&site, at_end, 3)?.starts_with("hello\n"));
    is_whole(&site, at_end, 1.1)?;
    one_record_each(&site)
}

/// Expects of a job that failed, and was alone on its node, all its time and energy.
fn is_whole(site: &Site, job: JobId, least_s: f64) -> Result<Value> {
    let record = record(site, job)?;
    ensure!(record["end_reason"] == "failed", "{record:#}");
    // What its hooks and Slurm took beside its program.
    let elapsed = record["elapsed_s"].as_f64().unwrap_or_default();
    ensure!((least_s - 0.2..least_s + 5.0).contains(&elapsed), "{record:#}");
    has_its_energy(site, 1, &record)?;
    Ok(record)
}

/// Jobs of which the one in the middle counts.
const JOBS: usize = 3;

#[test]
fn stopped_costs_a_job_less_than_a_second_in_all() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let (usual, _) = median_of(JOBS, || run(&site))?;
    // Each time anew: the hook that waits is the first one after the stop.
    let (delayed, mut jobs) = median_of(JOBS, || {
        let pid = site.wait_for_noded(1)?;
        signal(pid, Signal::STOP)?;
        let ran = run(&site);
        signal(pid, Signal::CONT)?;
        // What was told meanwhile is taken up, and the next stop is a new one.
        let ran = ran?;
        record(&site, ran.job)?;
        Ok(ran)
    })?;
    let delay = delayed.saturating_sub(usual);
    ensure!(delay <= MOST_DELAY, "{usual:?} usually, {delayed:?} with ct-noded stopped");

    // In mid-job, with steps: the first hook waits, all others do not.
    let pid = site.wait_for_noded(1)?;
    let body = "touch begun; sleep 1; for i in 1 2 3 4; do srun true; done; echo hello; exit 3";
    let job = submit(&site, "on", body)?;
    wait_for_file(&site, "begun")?;
    signal(pid, Signal::STOP)?;
    let out = ended(&site, job, 3)?;
    ensure!(out.contains("hello\n"), "{out}");
    let n_waits = || -> Result<usize> {
        let log = fs::read_to_string(site.cluster.slurmd_log(1))?;
        Ok(log.matches("ct-noded does not answer").count())
    };
    let n_before = n_waits()?;
    // Nor does any where the clock on the wall is set meanwhile: that is what makes a note older.
    let note = fs::File::options().write(true).open(site.run_dir(1).join("noded.silent"))?;
    note.set_modified(SystemTime::now() + Duration::from_secs(86_400))?;
    let among_them = run(&site)?.job;
    note.set_modified(SystemTime::now() - Duration::from_secs(86_400))?;
    jobs.extend([job, among_them, run(&site)?.job]);
    ensure!(n_waits()? == n_before, "hooks waited once more: {} and {n_before}", n_waits()?);
    signal(pid, Signal::CONT)?;
    for job in jobs {
        let record = record(&site, job)?;
        ensure!(warns(&record, "ct-noded stood still from"), "{record:#}");
        ensure!(record["end_reason"] == "failed", "{record:#}");
    }
    let n_waits = n_waits()?;
    // Four stops, and one hook that waited at each; two may wait at the same moment.
    ensure!((4..=6).contains(&n_waits), "{n_waits} hooks waited");
    // The one that was stopped is the one that runs.
    ensure!(site.noded_pid(1) == Some(pid), "{:?} in place of {pid}", site.noded_pid(1));
    one_record_each(&site)
}

/// Of srun, which marks a dozen epochs once `go` is there; marks pass none of root's hooks, and so have no
/// note of theirs to go by.
const MARKS: &str = "touch begun; while [ ! -e go ]; do sleep 0.02; done; rm begun go
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do $CT_TRACK epoch start; $CT_TRACK epoch end; done >/dev/null 2>&1
echo $SLURM_JOB_ID; exit 7";

#[test]
fn stopped_costs_a_job_with_marks_less_than_a_second_in_all() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let script = MARKS.replace("$CT_TRACK", &site.bin("ct-track").display().to_string());
    // From its first mark until its node is free again.
    let marked = |is_stopped: bool| -> Result<Ran> {
        let pid = site.wait_for_noded(1)?;
        std::thread::scope(|scope| {
            let going = scope.spawn(|| -> Result<Instant> {
                wait_for_file(&site, "begun")?;
                if is_stopped {
                    signal(pid, Signal::STOP)?;
                }
                let begun = Instant::now();
                fs::write(site.cluster.home(site.cluster.user(1)).join("go"), "")?;
                Ok(begun)
            });
            let args = ["-n1", "--carbontracker=epochs:12", "sh", "-c", &script];
            let output = site.cluster.srun(site.cluster.user(1), &args)?;
            let begun = going.join().ok().context("the thread that lets it go")??;
            ensure!(output.code() == Some(7), "{output}");
            let job = JobId::new(output.stdout_unchecked().trim().parse()?);
            site.cluster.wait_for(job, crate::PATIENCE)?;
            let wall = begun.elapsed();
            signal(pid, Signal::CONT)?;
            let record = record(&site, job)?;
            ensure!(warns(&record, "ct-noded stood still from") == is_stopped, "{record:#}");
            // Those of a job that ended meanwhile come after its end.
            let n_done = &record["epochs"]["done"];
            ensure!(is_stopped || n_done == 12, "{record:#}");
            Ok(Ran { job, wall })
        })
    };
    let (usual, _) = median_of(JOBS, || marked(false))?;
    let (delayed, _) = median_of(JOBS, || marked(true))?;
    let delay = delayed.saturating_sub(usual);
    ensure!(delay <= MOST_DELAY, "{usual:?} usually, {delayed:?} with ct-noded stopped");
    one_record_each(&site)
}

#[test]
fn stopped_and_killed_is_replaced_and_books_the_gap() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = lone_jobs().start()?;
    let pid = site.wait_for_noded(1)?;
    let body = "touch begun; sleep 3; srun true; touch stopped; sleep 1; srun true; exit 3";
    let job = submit(&site, "on\n#SBATCH --exclusive", body)?;
    wait_for_file(&site, "begun")?;
    std::thread::sleep(Duration::from_secs(1));
    signal(pid, Signal::STOP)?;
    wait_for_file(&site, "stopped")?;
    // As a watchdog would; the next hook finds nobody, and does not take that for silence.
    signal(pid, Signal::KILL)?;
    ended(&site, job, 3)?;
    ensure!(site.wait_for_noded(1)? != pid, "ct-noded was not started again");
    let record = record(&site, job)?;
    ensure!(warns(&record, "the gap is booked from the counters"), "{record:#}");
    has_its_energy(&site, 1, &record)?;
    one_record_each(&site)
}

/// At boot, and while its unit is restarted, a hook may find nobody and start a ct-noded that no unit
/// knows of.
#[test]
fn one_that_the_plugin_started_gives_way_to_the_units() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = lone_jobs().start()?;
    let of_plugin = site.wait_for_noded(1)?;
    let job = submit(&site, "on\n#SBATCH --exclusive", "touch begun; sleep 4; exit 3")?;
    wait_for_file(&site, "begun")?;
    std::thread::sleep(Duration::from_secs(1));
    let mut of_unit = OfUnit::start(&site, of_plugin)?;
    ensure!(of_unit.is_ready(), "it does not tell systemd that it listens");
    let pid = site.wait_for_noded(1)?;
    ensure!(pid == of_unit.child.id(), "{pid} in place of {}", of_unit.child.id());
    // One of a unit's gives way to nobody.
    let mut second = OfUnit::start(&site, pid)?;
    ensure!(second.child.wait()?.success() && !second.is_ready());
    ensure!(of_unit.child.try_wait()?.is_none(), "it gave way");
    ended(&site, job, 3)?;
    let record = record(&site, job)?;
    ensure!(warns(&record, "the gap is booked from the counters"), "{record:#}");
    has_its_energy(&site, 1, &record)?;
    one_record_each(&site)
}

/// A ct-noded as the unit starts it, beside the node's.
struct OfUnit {
    child: Child,
    notify: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl OfUnit {
    /// With the environment of the node's own.
    fn start(site: &Site, own: u32) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("notify");
        let notify = UnixDatagram::bind(&socket)?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        notify.set_read_timeout(Some(Duration::from_secs(5)))?;
        let environment = fs::read(format!("/proc/{own}/environ"))?;
        let variables = environment.split(|byte| *byte == 0).filter_map(|variable| {
            let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let child = Command::new(site.bin("ct-noded"))
            .args(["--foreground", "--node", &site.cluster.node(1), "--config"])
            .arg(site.config())
            .env_clear()
            .envs(variables)
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { child, notify, _dir: dir })
    }

    /// Whether it says so within five seconds.
    fn is_ready(&self) -> bool {
        let mut said = [0; 64];
        matches!(self.notify.recv(&mut said), Ok(n) if said[..n].starts_with(b"READY=1"))
    }
}

impl Drop for OfUnit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn out_of_memory_is_like_killed() -> Result<()> {
    if !e2e_is_possible() || !cgroup_test_is_possible() {
        return Ok(());
    }
    let site = lone_jobs().start()?;
    let group = Group::new(&site.cluster.node(1))?;
    let option = "on\n#SBATCH --exclusive";

    starve(&site, &group).context("before a job")?;
    let before = submit(&site, option, "sleep 1; echo hello; exit 3")?;
    ensure!(ended(&site, before, 3)?.contains("hello\n"));
    is_whole(&site, before, 1.0)?;

    let during = submit(&site, option, "touch begun; sleep 3; echo hello; exit 3")?;
    wait_for_file(&site, "begun")?;
    starve(&site, &group).context("in it")?;
    ensure!(ended(&site, during, 3)?.contains("hello\n"));
    let record = is_whole(&site, during, 3.0)?;
    ensure!(warns(&record, "the gap is booked from the counters"), "{record:#}");

    // Nothing of it is left but its end.
    let body = "touch ending; while [ -e ending ]; do sleep 0.05; done; echo hello; exit 3";
    let at_end = submit(&site, option, body)?;
    wait_for_file(&site, "ending")?;
    starve(&site, &group).context("at its end")?;
    fs::remove_file(site.cluster.home(site.cluster.user(1)).join("ending"))?;
    ensure!(ended(&site, at_end, 3)?.contains("hello\n"));
    is_whole(&site, at_end, 0.2)?;
    nodes_are_up(&site)?;
    one_record_each(&site)
}

/// Has the kernel kill ct-noded for want of memory.
fn starve(site: &Site, group: &Group) -> Result<()> {
    let pid = site.wait_for_noded(1)?;
    let n_before = group.n_kills()?;
    group.confine(pid, 1 << 20)?;
    // Lines that never end, from root, who may have any number of connections.
    let mut flood = Vec::new();
    for _ in 0..200 {
        let Ok(mut stream) = UnixStream::connect(site.run_dir(1).join("noded.sock")) else { break };
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let _ = stream.write_all(&[b'x'; 60 * 1024]);
        flood.push(stream);
    }
    wait_for("ct-noded to be killed", || (site.noded_pid(1) != Some(pid)).then_some(()))?;
    ensure!(group.n_kills()? > n_before, "it was not the kernel that killed it");
    Ok(())
}

/// A memory control group of this test's own.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Result<Self> {
        let dir = Path::new("/sys/fs/cgroup/memory").join(format!("ct-oom-{name}"));
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self(dir))
    }

    /// Puts a process into it, and bounds what it may use from now on.
    fn confine(&self, pid: u32, bytes: u64) -> Result<()> {
        fs::write(self.0.join("memory.limit_in_bytes"), bytes.to_string())?;
        Ok(fs::write(self.0.join("cgroup.procs"), pid.to_string())?)
    }

    fn n_kills(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("memory.oom_control"))?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.context("no oom_kill")?.parse().context("oom_kill")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            let _ = fs::write("/sys/fs/cgroup/memory/cgroup.procs", pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}
