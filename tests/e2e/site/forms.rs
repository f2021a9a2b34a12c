//! The ways in which a job can be started and asked to be tracked.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use ct_tests::{JobId, Proctrack, Site, e2e_is_possible, has_cgroup_v1};

use crate::job_dir::{JobDir, number, plant_joules};
use crate::{BURN, assert_within, completed};

#[test]
fn srun_outside_a_batch_job_prints_its_summary_and_leaves_its_logs() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    let burn = "timeout 1 sh -c 'while :; do :; done'; echo done $SLURM_JOB_ID";
    let args = ["--exclusive", "--carbontracker=on", "sh", "-c", burn];
    let output = site.cluster.srun(user, &args)?.success();
    let id: u32 = output.stdout().trim().strip_prefix("done ").unwrap_or_default().parse()?;
    assert!(output.stderr().contains("CarbonTracker: \nActual consumption:\n\tTime:"), "{output}");
    let logs = JobDir::read(&site.cluster.home(user).join("carbontracker"), id, user)?;
    let truth = plant_joules(&site.plants[0], &logs.record)?;
    assert_within(number(&logs.record, "energy_j.cpu"), truth, 0.02, "energy");
    assert_eq!(logs.block_kwh("Actual consumption:").len(), 1, "{}", logs.output);
    assert_eq!(logs.record["end_reason"], "completed");
    Ok(())
}

#[test]
fn salloc_with_two_steps_is_one_job_with_one_log() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    let steps = "echo $SLURM_JOB_ID; srun true; srun true";
    let args = ["--exclusive", "--carbontracker=log_dir:logs-%u", "sh", "-c", steps];
    let output = site.cluster.salloc(user, &args)?.success();
    let id: u32 = output.stdout().trim().parse()?;
    let logs = JobDir::read(&site.cluster.home(user).join("logs-ctuser1"), id, user)?;
    assert_eq!(logs.standard.matches("carbontracker version").count(), 1, "{}", logs.standard);
    assert_eq!(logs.standard.matches("Monitoring thread ended.").count(), 1, "{}", logs.standard);
    ct_tests::site::wait_for("a record", || site.ledger_lines().ok().filter(|l| !l.is_empty()))?;
    assert_eq!(site.ledger_lines()?.len(), 1);
    Ok(())
}

#[test]
fn array_of_ten_has_ten_records_and_ten_logs() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let script =
        "#!/bin/sh\n#SBATCH --array=1-10\n#SBATCH --carbontracker=log_file_prefix:%A-%a\ntrue\n";
    let array = cluster.sbatch(user, script)?;
    cluster.wait_for_array(array, crate::PATIENCE)?;
    let records = ct_tests::site::wait_for("ten records", || {
        site.ledger_lines().ok().filter(|lines| lines.len() >= 10)
    })?;
    assert_eq!(records.len(), 10);
    let id = array.as_u32();
    assert!(records.iter().all(|r| r["array_job_id"] == id), "{records:#?}");
    let tasks: BTreeSet<String> = records.iter().map(|r| r["array_task_id"].to_string()).collect();
    assert_eq!(tasks.len(), 10, "{tasks:?}");
    let names: BTreeSet<String> = fs::read_dir(cluster.home(user).join("carbontracker"))?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.ends_with("_carbontracker.log"))
        .collect();
    assert_eq!(names.len(), 10, "{names:?}");
    assert!((1..=10).all(|n| names.iter().any(|name| name.starts_with(&format!("{id}-{n}_")))));
    Ok(())
}

#[test]
fn every_step_is_an_epoch_where_the_job_says_so() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().watts(&[120.0, 80.0]).start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let burn = "timeout 1 sh -c 'while :; do :; done'; true";
    let script = format!(
        "#!/bin/sh\n#SBATCH -N2 --exclusive\n#SBATCH --carbontracker=epoch_by:step,epochs:2\n\
         for n in 1 2; do srun -N2 sh -c \"{burn}\"; done\n"
    );
    let job = cluster.sbatch(user, &script)?;
    completed(cluster, job);
    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    let powers = logs.powers("cpu");
    assert_eq!(powers.len(), 2, "{}", logs.standard);
    for power in powers {
        assert_within(power, 200.0, 0.02, "power of a step");
    }
    assert_eq!(logs.block_kwh("Predicted consumption for 2 epoch(s)").len(), 1);
    assert_eq!(number(&logs.record, "epochs.done"), 2.0);
    Ok(())
}

#[test]
fn job_is_charged_the_gpus_it_was_given_and_no_others() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().gpus(4, 50.0).start()?;
    let cluster = &site.cluster;
    let (first, second) = (cluster.user(1), cluster.user(2));
    // The first job takes device numbers 0 and 1, so that the second has 2 and 3.
    let holder = cluster.sbatch(first, "#!/bin/sh\n#SBATCH -c1 --gres=gpu:2\nsleep 300\n")?;
    cluster.wait_until_running(holder, crate::PATIENCE)?;
    let script = "#!/bin/sh\n#SBATCH -c1 --gres=gpu:2\n#SBATCH --carbontracker=on\n\
                  echo $SLURM_JOB_GPUS $CUDA_VISIBLE_DEVICES\nsleep 3\n";
    let job = cluster.sbatch(second, script)?;
    completed(cluster, job);
    cluster.scancel(&[&holder.to_string()])?.success();
    let out = fs::read_to_string(cluster.home(second).join(format!("slurm-{job}.out")))?;
    // Renumbered from 0 where Slurm constrains devices; the device numbers stay.
    let renumbered = if has_cgroup_v1() { "2,3 0,1\n" } else { "2,3 2,3\n" };
    assert!(out.starts_with(renumbered), "{out}");
    let logs = JobDir::read(&cluster.home(second).join("carbontracker"), job, second)?;
    // Minors run against the indices: minors 2 and 3 are indices 1 and 0, at 100 W and 50 W.
    let seconds = number(&logs.record, "elapsed_s");
    assert_within(number(&logs.record, "energy_j.gpu"), 150.0 * seconds, 0.005, "GPU energy");
    assert_eq!(logs.record["gpus"].as_array().map(Vec::len), Some(2));
    assert_eq!(logs.record["method"]["gpu"], "nvml-energy");
    assert!(logs.standard.contains("GPU with device(s) "), "{}", logs.standard);
    Ok(())
}

#[test]
fn gpu_without_a_counter_is_measured_by_its_power() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().gpus(2, 50.0).gpus_without_counter().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let script = "#!/bin/sh\n#SBATCH -c1 --gres=gpu:1\n#SBATCH --carbontracker=on\nsleep 2\n";
    let job = cluster.sbatch(user, script)?;
    completed(cluster, job);
    let record = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?.record;
    assert_eq!(record["method"]["gpu"], "nvml-power");
    // Device number 0 is index 1, at 100 W.
    let seconds = number(&record, "elapsed_s");
    assert_within(number(&record, "energy_j.gpu"), 100.0 * seconds, 0.01, "GPU energy");
    Ok(())
}

#[test]
fn site_default_tracks_every_job_but_those_that_say_off() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().plugstack("default=on update_interval=1").start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let run = |args: &[&str]| -> Result<(JobId, String)> {
        let job = cluster.sbatch_with(user, args, "#!/bin/sh\ntrue\n")?;
        completed(cluster, job);
        Ok((job, fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?))
    };
    let (tracked, out) = run(&[])?;
    assert!(out.contains("CarbonTracker: \nActual consumption:"), "{out}");
    let logs = cluster.home(user).join("carbontracker");
    JobDir::read(&logs, tracked, user)?;
    let (untracked, out) = run(&["--carbontracker=off"])?;
    assert_eq!(out, "");
    // The ledger has it all the same: it holds every job.
    let record = &site.wait_for_records(untracked, 1)?[0];
    assert_eq!(record["tracked"], false);
    assert_eq!(fs::read_dir(&logs)?.count(), 4, "logs of the first job only");
    Ok(())
}

#[test]
fn simulated_cpu_is_in_the_logs_and_the_ledger_has_what_was_metered() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().watts(&[120.0]).start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let script = "#!/bin/sh\n#SBATCH --exclusive\n\
                  #SBATCH --carbontracker=sim_cpu:Xeon-X,sim_cpu_tdp:0.2,sim_cpu_util:0.5\nsleep 2\n";
    let job = cluster.sbatch(user, script)?;
    completed(cluster, job);
    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    // 0.2 W at half load.
    assert_within(logs.powers("cpu")[0], 0.1, 1e-4, "power in the log");
    assert_eq!(logs.record["simulated"]["cpu"]["name"], "Xeon-X");
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(out.contains("Using simulated CPU: Xeon-X with TDP: 0.10W (at 50%"), "{out}");
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(record["method"]["cpu"], "rapl");
    let truth = plant_joules(&site.plants[0], record)?;
    assert_within(number(record, "energy_j.cpu"), truth, 0.02, "energy charged");
    Ok(())
}

#[test]
fn without_cgroups_and_without_rapl_the_share_is_allocated_and_the_energy_modelled() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder()
        .cluster(|c| c.track(Proctrack::Linuxproc))
        .without_rapl()
        .config("power.cpu_tdp_watts", 100.0)
        .config("power.cpu_idle_watts", 50.0)
        .config("attribution.idle_w.cpu", 50.0)
        .start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let script = format!("#!/bin/sh\n#SBATCH -c1\n#SBATCH --carbontracker=on\n{BURN}burn 1\n");
    let job = cluster.sbatch(user, &script)?;
    completed(cluster, job);
    let record = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?.record;
    assert_eq!(record["method"]["cpu"], "modelled:tdp-configured");
    // The plant's CPU time is that of a cgroup which linuxproc never makes: an idle node at 50 W, of
    // which the job holds one CPU of two.
    let truth = 25.0 * number(&record, "elapsed_s");
    assert_within(number(&record, "energy_j.cpu"), truth, 0.01, "half of an idle node");
    Ok(())
}
