//! Whose GPU is which: jobs on a node whose gres numbers, device files and NVML indices all differ.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use ct_tests::plant::{Domain, Gpu, MigInstance, Package, Spec};
use ct_tests::{Cluster, JobId, Meter, PowerPlant, Site, User, artifact, e2e_is_possible};
use serde_json::Value;

use crate::job_dir::{instant, number};
use crate::{PATIENCE, assert_within, completed};

/// Most that a job's energy may be off.
const EXACT: f64 = 0.005;

/// Four GPUs whose NVML indices 0 to 3 have the device files 3 to 0 and draw 50 W to 200 W, and
/// gres.conf in a third order: gres 0 to 3 are the indices 2, 0, 3, 1.
const GRES: &str = "Name=gpu File={dev}/fakegpu1\nName=gpu File={dev}/fakegpu3\n\
                    Name=gpu File={dev}/fakegpu0\nName=gpu File={dev}/fakegpu2\n";

fn two_sockets(spec: &mut Spec) {
    let package = |watts| Package::new(Domain::constant(watts)).dram(Domain::constant(10.0));
    spec.packages = vec![package(100.0), package(60.0)];
}

fn uuid(minor: usize) -> String {
    format!("GPU-00000000-0000-0000-0000-{minor:012}")
}

/// What the GPUs with these NVML indices drew between two instants.
fn drawn(plant: &PowerPlant, indices: &[usize], from: SystemTime, to: SystemTime) -> Result<f64> {
    let of_one = |index: &usize| plant.energy_between_j(Meter::Gpu(*index), from, to);
    indices.iter().map(of_one).sum()
}

/// Expects that a record has exactly the energy of these GPUs over its own span, and names them.
fn is_charged(plant: &PowerPlant, record: &Value, indices: &[usize]) -> Result<()> {
    let truth = drawn(plant, indices, instant(record, "start"), instant(record, "end"))?;
    assert_within(number(record, "energy_j.gpu"), truth, EXACT, "GPU energy");
    let named: BTreeSet<&str> = gpus(record).map(|g| g["uuid"].as_str().unwrap_or("")).collect();
    let expected: Vec<String> = indices.iter().map(|index| uuid(3 - index)).collect();
    assert_eq!(named, expected.iter().map(String::as_str).collect(), "{record:#}");
    assert!(gpu_warnings(record).is_empty(), "{record:#}");
    Ok(())
}

fn gpus(record: &Value) -> impl Iterator<Item = &Value> {
    record["gpus"].as_array().into_iter().flatten()
}

fn gpu_warnings(record: &Value) -> Vec<&str> {
    let warnings = record["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    warnings.filter(|w| w.starts_with("GPUs: ")).collect()
}

fn output(cluster: &Cluster, user: &User, job: JobId) -> Result<String> {
    Ok(fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?)
}

#[test]
fn jobs_are_charged_their_own_gpus_where_every_number_differs() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site =
        Site::builder().gpus(4, 50.0).plant(two_sockets).cluster(|c| c.gres(4, GRES)).start()?;
    let (cluster, plant) = (&site.cluster, &site.plants[0]);
    let (first, second) = (cluster.user(1), cluster.user(2));
    // An untracked neighbour takes gres 0 and 1, so that the job has 2 and 3.
    let neighbour = cluster.sbatch(first, "#!/bin/sh\n#SBATCH -c1 --gres=gpu:2\nsleep 60\n")?;
    cluster.wait_until_running(neighbour, PATIENCE)?;
    let script = format!(
        "#!/bin/sh\n#SBATCH -c1 --gres=gpu:2\n#SBATCH --carbontracker=on\n\
         echo $SLURM_JOB_GPUS\nfor n in 0 1 2 3; do cat {}/dev/fakegpu$n; done 2>&1\n\
         srun --gres=gpu:1 sleep 1\nsleep 4\n",
        cluster.dir().display()
    );
    let job = cluster.sbatch(second, &script)?;
    completed(cluster, job);
    let out = output(cluster, second, job)?;
    assert!(out.starts_with("2,3\n"), "{out}");
    if ct_tests::has_cgroup_v1() {
        // The kernel's word for what Slurm's numbers mean: the files 0 and 2, indices 3 and 1.
        let refused = |n| out.contains(&format!("fakegpu{n}: Operation not permitted"));
        assert_eq!([0, 1, 2, 3].map(refused), [false, true, false, true], "{out}");
    }
    let record = &site.wait_for_records(job, 1)?[0];
    is_charged(plant, record, &[3, 1])?;
    cluster.scancel(&[&neighbour.to_string()])?.success();
    let record = &site.wait_for_records(neighbour, 1)?[0];
    assert_eq!(record["tracked"], false);
    is_charged(plant, record, &[2, 0])?;
    jobs_by_their_processes(&site)?;
    slurmd_with_another_list(&site)?;
    a_driver_that_hangs(&site)?;
    a_driver_that_comes_later(&site)
}

/// gres.conf is turned round and slurmd started again: gres 0 is the file 2 then, index 1.
fn slurmd_with_another_list(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let conf = cluster.conf_dir().join("gres.conf");
    let lines = fs::read_to_string(&conf)?;
    let turned: Vec<&str> = lines.lines().rev().collect();
    fs::write(&conf, turned.join("\n") + "\n")?;
    cluster.restart_slurmd(1)?;
    cluster.resume_nodes()?;
    let job = cluster.sbatch(cluster.user(1), "#!/bin/sh\n#SBATCH -c1 --gres=gpu:1\nsleep 2\n")?;
    completed(cluster, job);
    is_charged(&site.plants[0], &site.wait_for_records(job, 1)?[0], &[1])
}

/// Ends ct-noded, changes something, and has slurmd start another; waits until it has looked for its
/// meters.
fn restart_noded(site: &Site, change: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
    let pid = site.noded_pid(1).context("ct-noded runs")?;
    anyhow::ensure!(Command::new("kill").arg(pid.to_string()).status()?.success());
    ct_tests::site::wait_for("the end of ct-noded", || site.noded_pid(1).is_none().then_some(()))?;
    change()?;
    let log = site.state_dir(1).join("noded.log");
    let n_starts = || fs::read_to_string(&log).unwrap_or_default().matches(": meters: ").count();
    let before = n_starts();
    site.cluster.restart_slurmd(1)?;
    site.cluster.resume_nodes()?;
    ct_tests::site::wait_for("another ct-noded", || (n_starts() > before).then_some(()))
}

/// A job with one GPU, gres 0 of the list that was turned round: index 1.
const ONE_GPU: &str = "#!/bin/sh\n#SBATCH -c1 --gres=gpu:1\n\
                       #SBATCH --carbontracker=update_interval:0.5\nsleep 5\n";

/// Expects that a record has a GPU's energy from an instant on, or from up to 2 s later: a sample
/// has to be taken, and a busy machine takes it late.
fn is_charged_since(plant: &PowerPlant, record: &Value, since: SystemTime) -> Result<()> {
    let end = instant(record, "end");
    let most = drawn(plant, &[1], since, end)?;
    let least = drawn(plant, &[1], (since + Duration::from_secs(2)).min(end), end)?;
    let charged = number(record, "energy_j.gpu");
    assert!((least..=most).contains(&charged), "{least} {charged} {most}: {record:#}");
    assert!(least > 0.0 && gpus(record).count() == 1, "{record:#}");
    Ok(())
}

/// NVML hangs when ct-noded starts: it starts without, and has the GPUs when NVML answers.
fn a_driver_that_hangs(site: &Site) -> Result<()> {
    let (cluster, plant) = (&site.cluster, &site.plants[0]);
    let hang = plant.nvml_dir().join("hang");
    restart_noded(site, || fs::write(&hang, ""))?;
    let job = cluster.sbatch(cluster.user(1), ONE_GPU)?;
    cluster.wait_until_running(job, PATIENCE)?;
    std::thread::sleep(Duration::from_secs(1));
    let answered = SystemTime::now();
    fs::remove_file(&hang)?;
    completed(cluster, job);
    let record = &site.wait_for_records(job, 1)?[0];
    is_charged_since(plant, record, answered)?;
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("NVML did not answer within 2 s when"), "{warnings}");
    assert!(number(record, "coverage") < 1.0, "{record:#}");
    Ok(())
}

/// NVML is not there when ct-noded starts: it is looked for again when a job is given a GPU.
fn a_driver_that_comes_later(site: &Site) -> Result<()> {
    let (cluster, plant) = (&site.cluster, &site.plants[0]);
    let library = plant.nvml_dir().join("libfake_nvml.so");
    let away = plant.nvml_dir().join("away.so");
    restart_noded(site, || fs::rename(&library, &away))?;
    // A job looks again where that was not done for 10 s.
    std::thread::sleep(Duration::from_secs(11));
    fs::rename(&away, &library)?;
    let job = cluster.sbatch(cluster.user(1), ONE_GPU)?;
    completed(cluster, job);
    let record = &site.wait_for_records(job, 1)?[0];
    is_charged_since(plant, record, instant(record, "start"))?;
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("energy of GPUs found at"), "{warnings}");
    assert!(gpu_warnings(record).is_empty() && !warnings.contains("not measured"), "{warnings}");
    Ok(())
}

/// Two jobs without gres, whose processes use GPU 1: the first alone for a while, then both.
fn jobs_by_their_processes(site: &Site) -> Result<()> {
    let (cluster, plant) = (&site.cluster, &site.plants[0]);
    let start = |n: usize| -> Result<(JobId, String)> {
        let file = cluster.home(cluster.user(n)).join("pid");
        let script = "#!/bin/sh\n#SBATCH -c1\n\
             #SBATCH --carbontracker=devices_by_pid:true,update_interval:0.2\n\
             sh -c 'echo $$ >pid.new; mv pid.new pid; exec sleep 300' &\nwait\n";
        let job = cluster.sbatch(cluster.user(n), script)?;
        let pid = ct_tests::site::wait_for("a process", || fs::read_to_string(&file).ok())?;
        Ok((job, pid))
    };
    let (first, second) = (start(1)?, start(2)?);
    let use_gpu = |pids: &str| -> Result<SystemTime> {
        fs::write(plant.nvml_dir().join("gpu1/processes"), pids)?;
        Ok(SystemTime::now())
    };
    // Process 1 is nobody's.
    let alone = use_gpu(&format!("1\n{}", first.1))?;
    std::thread::sleep(Duration::from_secs(4));
    let together = use_gpu(&format!("{}{}", first.1, second.1))?;
    std::thread::sleep(Duration::from_secs(4));
    let over = use_gpu("")?;
    std::thread::sleep(Duration::from_millis(600));
    cluster.scancel(&[&first.0.to_string(), &second.0.to_string()])?.success();
    let shared = drawn(plant, &[1], together, over)? / 2.0;
    let of_first = drawn(plant, &[1], alone, together)? + shared;
    for (job, truth) in [(first.0, of_first), (second.0, shared)] {
        let record = &site.wait_for_records(job, 1)?[0];
        let charged = number(record, "energy_j.gpu");
        // An interval is charged where a process was there at its start or its end: 0.2 s more at
        // each end, and what a busy machine adds.
        assert!((truth * 0.97..truth * 1.25).contains(&charged), "{charged}, {truth}: {record:#}");
        let named: Vec<&str> = gpus(record).filter_map(|g| g["uuid"].as_str()).collect();
        assert_eq!(named, [uuid(2)]);
        assert!(gpu_warnings(record).is_empty(), "{record:#}");
    }
    Ok(())
}

/// Instances of 3 and 2 slices on the GPU with index 1, and gres.conf as Slurm makes it of them.
const GRES_OF_INSTANCES: &str = "Name=gpu File={dev}/fakegpu1\n\
     Name=gpu MultipleFiles={dev}/fakegpu0,{dev}/nvidia-cap30,{dev}/nvidia-cap31\n\
     Name=gpu MultipleFiles={dev}/fakegpu0,{dev}/nvidia-cap48,{dev}/nvidia-cap49\n";

fn one_partitioned(spec: &mut Spec) {
    two_sockets(spec);
    let instance = |uuid: &str, slices, id, capability| MigInstance {
        uuid: uuid.to_owned(),
        slices,
        id,
        capabilities: [capability, capability + 1],
    };
    let gpu = Gpu::constant(0, 200.0)
        .with_instance(instance("MIG-aaaa-1", 3, 1, 30))
        .with_instance(instance("MIG-bbbb-2", 2, 5, 48));
    spec.gpus[1] = gpu;
}

#[test]
fn jobs_with_instances_are_charged_their_slices() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder()
        .gpus(2, 100.0)
        .plant(one_partitioned)
        .cluster(|c| c.gres(3, GRES_OF_INSTANCES).capabilities(&[30, 31, 48, 49]).cpus_per_node(4))
        .config("attribution.idle_w.gpu", 70.0)
        .start()?;
    let (cluster, plant) = (&site.cluster, &site.plants[0]);
    let (first, second) = (cluster.user(1), cluster.user(2));
    let sleeper = "#!/bin/sh\n#SBATCH -c1 --gres=gpu:1\nsleep 60\n";
    let (whole, neighbour) = (cluster.sbatch(first, sleeper)?, cluster.sbatch(first, sleeper)?);
    cluster.wait_until_running(neighbour, PATIENCE)?;
    let script = "#!/bin/sh\n#SBATCH -c1 --gres=gpu:1\n#SBATCH --carbontracker=on\nsleep 4\n";
    let job = cluster.sbatch(second, script)?;
    completed(cluster, job);
    cluster.scancel(&[&whole.to_string(), &neighbour.to_string()])?.success();
    let whole = &site.wait_for_records(whole, 1)?[0];
    let truth = drawn(plant, &[0], instant(whole, "start"), instant(whole, "end"))?;
    assert_within(number(whole, "energy_j.gpu"), truth, EXACT, "a whole GPU");
    // 200 W, of which 70 W are idle: 2/7 of those, and 2/5 of the other 130 W beside 3 slices.
    let record = &site.wait_for_records(job, 1)?[0];
    let seconds = number(record, "elapsed_s");
    assert_within(number(record, "energy_j.gpu"), 72.0 * seconds, EXACT, "2 of 7 slices");
    let held: Vec<(&str, f64)> =
        gpus(record).map(|g| (g["uuid"].as_str().unwrap_or(""), number(g, "share"))).collect();
    assert_eq!(held, [(uuid(0).as_str(), 2.0 / 7.0)]);
    assert!(gpu_warnings(record).is_empty(), "{record:#}");
    // Alone it had 3/7 of the idle and all of the other power, 160 W; beside the job 108 W.
    let neighbour = &site.wait_for_records(neighbour, 1)?[0];
    let truth = 160.0 * number(neighbour, "elapsed_s") - 52.0 * seconds;
    assert_within(number(neighbour, "energy_j.gpu"), truth, EXACT, "3 of 7 slices");
    assert_within(
        number(neighbour, "idle_j.gpu"),
        30.0 * number(neighbour, "elapsed_s"),
        EXACT,
        "idle",
    );
    Ok(())
}

#[test]
fn gpus_that_slurm_does_not_manage_are_found_by_their_uuids() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site =
        Site::builder().gpus(4, 50.0).plant(two_sockets).cluster(|c| c.gres(0, "")).start()?;
    let (cluster, plant) = (&site.cluster, &site.plants[0]);
    let user = cluster.user(1);
    let run = |visible: &str| -> Result<Value> {
        let export = format!("--export=ALL,CUDA_VISIBLE_DEVICES={visible}");
        let args = [export.as_str(), "--carbontracker=on"];
        let output = cluster.srun(user, &[&args[..], &["sh", "-c", WORK]].concat())?.success();
        let job = output.stdout().trim().parse::<u32>()?;
        ct_tests::site::wait_for("the record", || {
            site.ledger_lines().ok()?.into_iter().find(|line| line["job_id"] == job)
        })
    };
    let record = run(&uuid(2))?;
    is_charged(plant, &record, &[1])?;
    // An index is NVML's here: nothing renumbers it.
    is_charged(plant, &run("2")?, &[2])?;
    let record = run("GPU-none")?;
    assert_eq!(gpus(&record).count(), 0, "never all GPUs of the node");
    assert_eq!(gpu_warnings(&record).len(), 1, "{record:#}");
    Ok(())
}

const WORK: &str = "echo $SLURM_JOB_ID; sleep 3";

/// `ct-track run` with a plant's GPUs: a configuration, the plant, and where the logs are.
#[test]
fn a_command_without_slurm_has_the_gpus_it_can_see() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let gpus_of_machine = (0..4).map(|index| Gpu::constant(3 - index, 50.0 * f64::from(index + 1)));
    let spec = Spec { gpus: gpus_of_machine.collect(), update_ms: 2, ..Spec::default() };
    let plant = PowerPlant::start(&cluster.dir().join("plant"), spec)?;
    let library = plant.nvml_dir().join("libfake_nvml.so");
    fs::copy(artifact::fake_nvml()?, &library)?;
    let config = cluster.dir().join("ct.toml");
    fs::write(&config, format!("[node]\nnvml_library = {library:?}\n"))?;
    let track = cluster.dir().join("ct-track");
    fs::copy(artifact::built("ct-node", "ct-track")?, &track)?;
    let run = |visible: Option<&str>, options: &[&str], script: &str| -> Result<Value> {
        let logs = cluster.home(user).join("carbontracker");
        let _ = fs::remove_dir_all(&logs);
        let config = config.display().to_string();
        let mut command = cluster.command(user, &track.display().to_string());
        if let Some(list) = visible {
            command = command.env("CUDA_VISIBLE_DEVICES", list);
        }
        let args = [&["run", "--config", &config], options, &["--", "sh", "-c", script]].concat();
        command.args(&args).run()?.success();
        record_in(&logs)
    };
    let usual = &["--update_interval", "1"];
    is_charged(&plant, &run(None, usual, "sleep 2")?, &[0, 1, 2, 3])?;
    is_charged(&plant, &run(Some("3,1"), usual, "sleep 2")?, &[1, 3])?;
    is_charged(&plant, &run(Some(&uuid(3)), usual, "sleep 2")?, &[0])?;
    let record = run(Some(""), usual, "sleep 1")?;
    assert_eq!((gpus(&record).count(), number(&record, "energy_j.gpu")), (0, 0.0), "{record:#}");
    // Index 0 falls off the bus in the middle: the others are counted on.
    let lost = plant.nvml_dir().join("gpu0");
    fs::set_permissions(&lost, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let script = format!("sleep 1; echo 15 >{0}/error; sleep 2; rm {0}/error", lost.display());
    let record = run(Some("1"), usual, &script)?;
    is_charged(&plant, &record, &[1])?;
    let script = format!("sleep 1; echo 15 >{0}/error; sleep 2", lost.display());
    let record = run(Some("0,1"), usual, &script)?;
    fs::remove_file(lost.join("error"))?;
    let end = instant(&record, "start") + Duration::from_secs(1);
    let of_lost = drawn(&plant, &[0], instant(&record, "start"), end)?;
    let truth = drawn(&plant, &[1], instant(&record, "start"), instant(&record, "end"))?;
    let charged = number(&record, "energy_j.gpu");
    assert!((truth * 0.99..truth * 1.01 + of_lost * 1.2).contains(&charged), "{record:#}");
    assert!(number(&record, "coverage") < 0.9, "{record:#}");
    assert!(record["warnings"].to_string().contains(&uuid(3)), "{record:#}");
    let processes = plant.nvml_dir().join("gpu2/processes");
    fs::write(&processes, "")?;
    fs::set_permissions(&processes, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    // A child of the command's child uses index 2.
    let script = format!("sh -c 'echo $$ >{}; exec sleep 3'; true", processes.display());
    let record = run(None, &["--update_interval", "0.2", "--devices_by_pid", "true"], &script)?;
    let truth = drawn(&plant, &[2], instant(&record, "start"), instant(&record, "end"))?;
    assert_within(number(&record, "energy_j.gpu"), truth, 0.15, "GPU by process");
    Ok(())
}

fn record_in(logs: &Path) -> Result<Value> {
    let mut files = fs::read_dir(logs)?.flatten().map(|e| e.path());
    let record = files.find(|p| p.extension().is_some_and(|e| e == "json"));
    Ok(serde_json::from_str(&fs::read_to_string(record.context("no record")?)?)?)
}
