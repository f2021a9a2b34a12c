//! A shared node is shared: jobs side by side, and the node's own lines, which their records must
//! agree with to the microjoule.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use ct_core::energy::ByComponent;
use ct_core::record::{NodeRecord, Record};
use ct_core::units::Microjoules;
use ct_tests::{Cluster, JobId, Proctrack, Site, User, cgroup_test_is_possible, e2e_is_possible};

use crate::impostors::Impostors;
use crate::job_dir::{JobDir, number};
use crate::{BURN, assert_within, completed};

/// The node's power without a job, and what each busy core adds.
const IDLE_W: f64 = 40.0;
const CORE_W: f64 = 60.0;

/// Longest time 40 jobs may take.
const LONG: Duration = Duration::from_secs(150);

/// The ledger, read as integers.
#[derive(Default)]
struct Ledger {
    jobs: Vec<Record>,
    nodes: Vec<NodeRecord>,
}

impl Ledger {
    fn read(site: &Site) -> Result<Self> {
        let mut ledger = Self::default();
        for line in site.ledger_text()?.lines() {
            if line.contains(r#""kind":"node""#) {
                ledger.nodes.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
            } else {
                ledger.jobs.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
            }
        }
        Ok(ledger)
    }

    /// Waits for the records of so many jobs, and for the line that ends after the last of them.
    fn wait_for(site: &Site, n_jobs: usize) -> Result<Self> {
        let end = Instant::now() + LONG;
        loop {
            let ledger = Self::read(site)?;
            let last = ledger.jobs.iter().map(|j| j.end).max();
            let is_closed = ledger.nodes.iter().any(|n| Some(n.end) >= last);
            if ledger.jobs.len() >= n_jobs && is_closed {
                ensure!(ledger.jobs.len() == n_jobs, "{} records", ledger.jobs.len());
                return Ok(ledger);
            }
            if Instant::now() > end {
                bail!("{} records and {:?}", ledger.jobs.len(), ledger.nodes);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Expects that meters, jobs, system and nobody agree in every line, hour and component, and
    /// that every job is charged in its record what the lines say.
    #[track_caller]
    fn reconciles(&self) {
        let mut by_hour: BTreeMap<DateTime<Utc>, ByComponent<Microjoules>> = BTreeMap::new();
        let mut by_job: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for line in &self.nodes {
            let parts = line.jobs_j + line.system_j + line.unallocated_j;
            assert_eq!(parts, line.meter_j, "{line:?}");
            *by_hour.entry(hour_of(line.start)).or_default() += line.jobs_j;
            for charge in &line.jobs {
                *by_job.entry((charge.0, charge.1)).or_default() += charge.2.as_u64();
            }
        }
        assert!(self.nodes.windows(2).all(|w| w[0].end <= w[1].start), "{:?}", self.nodes);
        let mut of_jobs: BTreeMap<DateTime<Utc>, ByComponent<Microjoules>> = BTreeMap::new();
        for job in &self.jobs {
            job.energy_by_hour.iter().for_each(|h| *of_jobs.entry(h.0).or_default() += h.energy());
            let charged = by_job.remove(&(job.job_id, job.restart));
            assert_eq!(charged, Some(job.energy_j.total().as_u64()), "{job:?}");
        }
        assert!(by_job.is_empty(), "charged and without a record: {by_job:?}");
        by_hour.retain(|_, e| e.total() > Microjoules::ZERO);
        assert_eq!(by_hour, of_jobs);
    }
}

fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::hours(1)).expect("an hour fits")
}

/// A job that says last how many nanoseconds of CPU time its control group has used.
fn script(work: &str) -> String {
    format!(
        "#!/bin/sh\n#SBATCH -c1\n#SBATCH --carbontracker=on\n{BURN}{work}\n\
         cat /sys/fs/cgroup/cpuacct/slurm_*/uid_*/job_$SLURM_JOB_ID/cpuacct.usage\n"
    )
}

/// CPU seconds that a job's script printed.
fn cpu_seconds(cluster: &Cluster, job: JobId) -> Result<f64> {
    let out = fs::read_to_string(cluster.home(cluster.user(1)).join(format!("slurm-{job}.out")))?;
    let line = out.lines().next().unwrap_or_default();
    Ok(line.parse::<f64>().with_context(|| out.clone())? * 1e-9)
}

/// 40 short jobs, some of which take no time at all.
fn array(cluster: &Cluster) -> Result<()> {
    let script = "#!/bin/sh\n#SBATCH -c1 --array=1-40\n\
                  [ $((SLURM_ARRAY_TASK_ID % 2)) = 0 ] || sleep 0.$((SLURM_ARRAY_TASK_ID % 10))\n";
    let job = cluster.sbatch(cluster.user(2), script)?;
    cluster.wait_for_array(job, LONG)?;
    Ok(())
}

#[test]
fn busy_and_sleeping_jobs_exclusive_ones_and_forty_short_ones_sum_to_the_meters() -> Result<()> {
    if !e2e_is_possible() || !cgroup_test_is_possible() {
        return Ok(());
    }
    let site = Site::builder()
        .watts(&[IDLE_W])
        .watts_per_busy_core(CORE_W)
        .config("attribution.idle_w.cpu", IDLE_W)
        .start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let busy = cluster.sbatch(user, &script("burn 8"))?;
    let sleeping = cluster.sbatch(user, &script("sleep 8"))?;
    for job in [busy, sleeping] {
        completed(cluster, job);
        let record = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?.record;
        // Half of what the idle node draws, and what its own CPU time made the package draw.
        let dynamic = CORE_W * cpu_seconds(cluster, job)?;
        let truth = IDLE_W / 2.0 * number(&record, "elapsed_s") + dynamic;
        assert_within(number(&record, "energy_j.cpu"), truth, 0.02, "energy of a job");
        let idle = IDLE_W / 2.0 * number(&record, "elapsed_s");
        assert_within(number(&record, "idle_j.cpu"), idle, 0.01, "idle part");
        assert_eq!(record["method"]["activity"], "cgroup");
    }
    let alone = format!("#!/bin/sh\n#SBATCH --exclusive\n{BURN}burn 1\n");
    completed(cluster, cluster.sbatch(user, &alone)?);
    array(cluster)?;
    Ledger::wait_for(&site, 43)?.reconciles();
    reconciles_by_command(&site)
}

#[test]
fn without_control_groups_all_sums_to_the_meters_as_well() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder()
        .cluster(|c| c.track(Proctrack::Linuxproc))
        .dram_watts(7.0)
        .config("node.sample_idle_s", 1)
        .start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    // An idle node teaches its power in ten samples.
    std::thread::sleep(Duration::from_secs(12));
    let jobs = ["burn 3", "sleep 3"].map(|work| {
        let script = format!("#!/bin/sh\n#SBATCH -c1\n#SBATCH --carbontracker=on\n{BURN}{work}\n");
        cluster.sbatch(user, &script).expect("it is accepted")
    });
    for job in jobs {
        completed(cluster, job);
        let record = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?.record;
        assert_eq!(record["method"]["activity"], "allocation");
        let warnings = record["warnings"].to_string();
        assert!(!warnings.contains("no idle baseline"), "{warnings}");
        // 100 W all the time are idle power, of which a low quantile of short samples is learned on a
        // busy machine; half of the CPUs are the job's.
        let truth = 50.0 * number(&record, "elapsed_s");
        assert_within(number(&record, "idle_j.cpu"), truth, 0.06, "learned idle power");
    }
    array(cluster)?;
    // Killed in a job: the gap is booked, flagged, and costs nothing.
    let job = cluster.sbatch(user, "#!/bin/sh\n#SBATCH -c1\nsleep 4\n")?;
    cluster.wait_until_running(job, crate::PATIENCE)?;
    std::thread::sleep(Duration::from_secs(1));
    kill(&site, "-KILL")?;
    completed(cluster, job);
    let ledger = Ledger::wait_for(&site, 43)?;
    ledger.reconciles();
    assert!(ledger.nodes.iter().any(|line| line.gap_s > 1.0), "{:?}", ledger.nodes);
    let n_lines = ledger.nodes.len();
    let baseline = &ledger.nodes[n_lines - 1].baseline["rapl:cpu-0"];
    assert!(baseline.source == "learned" && baseline.n_samples >= 10, "{baseline:?}");
    // Asked to end, it writes what is open.
    kill(&site, "-TERM")?;
    ct_tests::site::wait_for("the last line", || {
        Ledger::read(&site).ok().filter(|ledger| ledger.nodes.len() > n_lines)
    })?
    .reconciles();
    reconciles_by_command(&site)?;
    a_job_that_ran_before_ct_noded_was_there(&site)
}

/// ct-noded is started on a busy node and knows nothing of the job there: it learns no idle power, and
/// takes the job up. What another user forges beside it counts for nothing.
fn a_job_that_ran_before_ct_noded_was_there(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let script = format!("#!/bin/sh\n#SBATCH -c1\n{BURN}burn 25\n");
    let job = cluster.sbatch(cluster.user(1), &script)?;
    cluster.wait_until_running(job, crate::PATIENCE)?;
    site.wait_for_noded(1)?;
    std::thread::sleep(Duration::from_secs(1));
    kill(site, "-KILL")?;
    fs::remove_file(site.state_dir(1).join("jobs/running.json"))?;
    let known = fs::read_to_string(site.state_dir(1).join("baseline.json"))?;
    let known: serde_json::Value = serde_json::from_str(&known)?;
    let n_samples = known["rapl:cpu-0"]["watts"].as_array().context("samples")?.len() as u64;
    let impostors = Impostors::start(site, cluster.user(2), job)?;
    // The hook of another job starts it again.
    cluster.srun(cluster.user(2), &["true"])?.success();
    let stepds = ct_tests::site::wait_for_long(crate::PATIENCE, "the job to be taken up", || {
        stepds_of(site, job)
    })?;
    assert_eq!(stepds.len(), 1, "{stepds:?}");
    let is_forged = impostors.pids().contains(&(stepds[0] as u32));
    assert!(!is_forged, "a user's process is taken for a slurmstepd");
    completed(cluster, job);
    drop(impostors);
    let record = site.wait_for_records(job, 1)?.remove(0);
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("it ran before ct-noded saw it"), "{warnings}");
    assert!((1.0..24.0).contains(&number(&record, "elapsed_s")), "{record:#}");
    // 100 W are all idle power, and half of the CPUs the job's.
    let watts = number(&record, "energy_j.cpu") / number(&record, "elapsed_s");
    assert!((40.0..60.0).contains(&watts), "{record:#}");
    let job_id = job.as_u32();
    let line = ct_tests::site::wait_for("the line of its time", || {
        let nodes = Ledger::read(site).ok()?.nodes;
        nodes.into_iter().rfind(|line| line.jobs.iter().any(|charge| charge.0 == job_id))
    })?;
    let warning = line.warnings.iter().find(|w| w.contains("no hook has told of"));
    // Of all the jobs that another user's sockets were named after it is the only one.
    let expected = format!("jobs that no hook has told of ran here: {job_id}");
    assert_eq!(warning, Some(&expected), "{line:?}");
    assert_eq!(line.baseline["rapl:cpu-0"].n_samples, n_samples, "nothing was learned beside it");
    reconciles_by_command(site)
}

/// The slurmstepds of a running job, once they are known.
fn stepds_of(site: &Site, job: JobId) -> Option<Vec<u64>> {
    let text = fs::read_to_string(site.state_dir(1).join("jobs/running.json")).ok()?;
    let state: serde_json::Value = serde_json::from_str(&text).ok()?;
    let jobs = state["jobs"].as_array()?;
    let job = jobs.iter().find(|of| of["facts"]["job_id"] == job.as_u32())?;
    let pids = job["stepd_pids"].as_array()?.iter().filter_map(serde_json::Value::as_u64);
    Some(pids.collect()).filter(|pids: &Vec<_>| !pids.is_empty())
}

/// Expects that `ct-report reconcile` comes to the same: meters, and a difference of nothing.
fn reconciles_by_command(site: &Site) -> Result<()> {
    let (ledger, program) = (site.ledger(), site.bin("ct-report"));
    let args = ["reconcile", "--ledger", &ledger.display().to_string(), "--json"];
    let command = site.cluster.command(&User::root(), &program.display().to_string());
    let output = command.args(&args).run()?.success();
    let rows: serde_json::Value = serde_json::from_str(output.stdout())?;
    let rows = rows.as_array().context("rows")?;
    assert!(rows.iter().any(|r| r["meter_uj"].as_u64() > Some(0)), "{rows:?}");
    assert!(rows.iter().all(|r| r["difference_uj"] == 0), "{rows:?}");
    Ok(())
}

fn kill(site: &Site, signal: &str) -> Result<()> {
    let pid = site.wait_for_noded(1)?;
    ensure!(Command::new("kill").args([signal, &pid.to_string()]).status()?.success());
    Ok(())
}
