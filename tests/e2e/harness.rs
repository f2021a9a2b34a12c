//! The harness itself: clusters come up, work and vanish; meters and GPUs say what they should.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use ct_tests::plant::{CpuTime, Domain, Fault, Gpu, MigInstance, Package, Spec, Waveform};
use ct_tests::{
    Cluster, Meter, PowerPlant, Proctrack, User, artifact, cgroup_test_is_possible, e2e_is_possible,
};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

const PATIENCE: Duration = Duration::from_secs(30);

/// Processes that carry the cluster's directory in their environment.
fn processes_of(dir: &Path) -> Result<Vec<String>> {
    let entry = format!("CT_CLUSTER_DIR={}", dir.display());
    let pids = fs::read_dir("/proc")?.flatten().map(|e| e.path());
    let ours = pids.filter(|proc| {
        let environ = fs::read(proc.join("environ")).unwrap_or_default();
        environ.split(|&b| b == 0).any(|e| e == entry.as_bytes())
    });
    Ok(ours.map(|proc| fs::read_to_string(proc.join("cmdline")).unwrap_or_default()).collect())
}

/// Control groups of a node, in any hierarchy.
fn cgroups_of(node: &str) -> Result<Vec<PathBuf>> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")?.flatten();
    let groups = hierarchies.map(|h| h.path().join(format!("slurm_{node}")));
    Ok(groups.filter(|group| group.exists()).collect())
}

fn assert_gone(dir: &Path, nodes: &[String]) -> Result<()> {
    assert_eq!(processes_of(dir)?, Vec::<String>::new());
    for node in nodes {
        assert_eq!(cgroups_of(node)?, Vec::<PathBuf>::new());
    }
    assert!(!dir.exists(), "{} is still there", dir.display());
    Ok(())
}

#[test]
fn two_nodes_run_steps_batch_jobs_and_arrays_and_leave_nothing_behind() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().nodes(2).start()?;
    let user = cluster.user(1);
    let nodes = [cluster.node(1), cluster.node(2)];

    let step = cluster.srun(user, &["-N2", "sh", "-c", "echo $SLURMD_NODENAME; id -un"])?;
    let mut words: Vec<_> = step.stdout().lines().map(str::to_owned).collect();
    words.sort();
    assert_eq!(words, [nodes[0].clone(), nodes[1].clone(), "ctuser1".into(), "ctuser1".into()]);

    let script = "#!/bin/sh\n#SBATCH -N2\nsrun -l hostname | wc -l\n";
    let job = cluster.sbatch(user, script)?;
    let info = cluster.wait_for(job, PATIENCE)?;
    assert_eq!((info.state(), info.get("ExitCode")), ("COMPLETED", "0:0"));
    let out = cluster.home(user).join(format!("slurm-{job}.out"));
    assert_eq!(fs::read_to_string(&out)?.trim(), "2");
    assert_eq!(fs::metadata(&out)?.uid(), user.uid());

    let array = "#!/bin/sh\nexit $SLURM_ARRAY_TASK_ID\n";
    let array = cluster.sbatch_with(cluster.user(2), &["--array=0-2"], array)?;
    let tasks = cluster.wait_for_array(array, PATIENCE)?;
    let codes: Vec<_> = tasks.iter().map(|task| (task.state(), task.get("ExitCode"))).collect();
    assert_eq!(codes, [("COMPLETED", "0:0"), ("FAILED", "1:0"), ("FAILED", "2:0")]);

    let dir = cluster.dir().to_owned();
    let begun = Instant::now();
    drop(cluster);
    assert!(begun.elapsed() < Duration::from_secs(15), "teardown took {:?}", begun.elapsed());
    assert_gone(&dir, &nodes)
}

#[test]
fn job_runs_in_a_cpuacct_group_that_counts_its_time() -> Result<()> {
    if !e2e_is_possible() || !cgroup_test_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().start()?;
    let busy = "timeout 1 sh -c 'while :; do :; done'; cat /proc/self/cgroup";
    let groups = cluster.srun(cluster.user(1), &["sh", "-c", busy])?;
    let node = cluster.node(1);
    assert!(groups.stdout().contains(&format!("cpuacct:/slurm_{node}/uid_")), "{groups}");
    let used_ns = read_number(cluster.cpuacct(1).join("cpuacct.usage"))?;
    assert!(used_ns > 300_000_000, "one busy second shows as {used_ns} ns");
    Ok(())
}

#[test]
fn gpu_is_seen_only_by_the_job_it_was_given_to() -> Result<()> {
    if !e2e_is_possible() || !cgroup_test_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().gpus(4).start()?;
    assert!(fs::metadata(cluster.dir().join("dev/fakegpu3"))?.file_type().is_char_device());
    let (user, dir) = (cluster.user(1), cluster.dir().display());
    let script = format!(
        "#!/bin/sh\n#SBATCH --gres=gpu:2\necho given $SLURM_JOB_GPUS\n\
         for n in 0 1 2 3; do cat {dir}/dev/fakegpu$n; done 2>&1\n"
    );
    let job = cluster.sbatch(user, &script)?;
    cluster.wait_for(job, PATIENCE)?;
    let text = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(text.starts_with("given 0,1\n"), "{text}");
    // No driver is behind the devices: opening one says so where Slurm lets the job try.
    assert_eq!(text.matches("No such device or address").count(), 2, "{text}");
    assert_eq!(text.matches("Operation not permitted").count(), 2, "{text}");
    Ok(())
}

#[test]
fn clusters_side_by_side_do_not_meet() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let first = Cluster::builder().track(Proctrack::Linuxproc).start()?;
    let second = Cluster::builder().track(Proctrack::Linuxproc).start()?;
    assert_ne!(first.node(1), second.node(1));
    let nodes = |cluster: &Cluster| -> Result<Vec<String>> {
        Ok(cluster.node_states()?.into_keys().collect())
    };
    assert_eq!(nodes(&first)?, [first.node(1)]);
    assert_eq!(nodes(&second)?, [second.node(1)]);
    drop(first);
    second.srun(second.user(1), &["true"])?.success();
    Ok(())
}

#[test]
fn slurmd_is_killed_and_restarted_and_a_drained_node_is_resumed() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let mut cluster = Cluster::builder().track(Proctrack::Linuxproc).create()?;
    cluster.set_node_env(1, "CT_HARNESS_TEST", "first");
    cluster.boot()?;
    let before = cluster.slurmd_pid(1).expect("slurmd runs after the boot");
    cluster.kill_slurmd(1);
    assert_eq!(cluster.slurmd_pid(1), None);
    cluster.set_node_env(1, "CT_HARNESS_TEST", "second");
    cluster.restart_slurmd(1)?;
    let pid = cluster.slurmd_pid(1).expect("slurmd runs after the restart");
    assert_ne!(pid, before);
    let environ = fs::read(format!("/proc/{pid}/environ"))?;
    assert!(environ.split(|&b| b == 0).any(|e| e == b"CT_HARNESS_TEST=second"));

    let node = cluster.node(1);
    cluster.scontrol(&["update", &format!("nodename={node}"), "state=drain", "reason=test"])?;
    assert_eq!(cluster.node_states()?[&node], "drained");
    cluster.resume_nodes()?;
    assert_eq!(cluster.node_states()?[&node], "idle");
    cluster.srun(cluster.user(1), &["true"])?.success();
    Ok(())
}

#[test]
fn command_that_takes_too_long_is_killed_and_says_what_it_printed() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let command = cluster.command(&User::root(), "sh").args(&["-c", "echo so far; sleep 60"]);
    let error = command.timeout(Duration::from_millis(300)).run().unwrap_err().to_string();
    assert!(error.contains("not done after 300ms") && error.contains("so far"), "{error}");
    Ok(())
}

/// Leaves a process of its own session behind, as a plugin that starts a daemon does.
const STRAY: &str = "setsid sh -c 'exec sleep 300' >/dev/null 2>&1 &";
/// The same without the cluster's environment: only its pid file and its directory tell.
const BARE_STRAY: &str =
    "env -i setsid sh -c 'echo $$ >run/bare.pid; exec sleep 300' >/dev/null 2>&1 &";

#[test]
fn killed_owner_leaves_no_daemon_no_stray_process_and_no_group() -> Result<()> {
    if !e2e_is_possible() || !cgroup_test_is_possible() {
        return Ok(());
    }
    // This test runs itself once more, as an owner that comes to a sudden end.
    if std::env::var_os("CT_HARNESS_OWNER").is_some() {
        let cluster = Cluster::builder().start()?;
        for stray in [STRAY, BARE_STRAY] {
            cluster.command(&User::root(), "sh").args(&["-c", stray]).run()?.success();
        }
        cluster.sbatch(cluster.user(1), "#!/bin/sh\ntrap '' TERM\nsleep 200\nsleep 200\n")?;
        thread::sleep(Duration::from_millis(1500));
        println!("owner of {} {}", cluster.dir().display(), cluster.node(1));
        thread::sleep(Duration::from_secs(60));
        return Ok(());
    }
    let name = "killed_owner_leaves_no_daemon_no_stray_process_and_no_group";
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--exact", name, "--nocapture"])
        .env("CT_HARNESS_OWNER", "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = std::io::BufReader::new(owner.stdout.take().expect("stdout is a pipe"));
    let line = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("owner of ")?.1.to_owned()))
        .expect("the owner says which cluster it owns");
    let (dir, node) = line.split_once(' ').expect("directory and node");
    let dir = Path::new(dir);
    let processes = processes_of(dir)?;
    assert!(processes.len() > 4, "{processes:?}");
    assert!(!cgroups_of(node)?.is_empty());
    let bare = Path::new("/proc").join(read_number(dir.join("run/bare.pid"))?.to_string());
    assert_eq!(fs::read(bare.join("cmdline"))?, b"sleep\x00300\x00");
    owner.kill()?;
    owner.wait()?;
    let begun = Instant::now();
    while dir.exists() && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(50));
    }
    assert_gone(dir, &[node.to_owned()])?;
    // A zombie, which its new parent has yet to reap, has no command line.
    assert_eq!(fs::read(bare.join("cmdline")).unwrap_or_default(), b"");
    Ok(())
}

fn read_number(path: impl AsRef<Path>) -> Result<u64> {
    Ok(fs::read_to_string(path)?.trim().parse()?)
}

#[test]
fn counters_advance_at_the_watts_of_the_spec() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let square = Waveform::Square { low_w: 20.0, high_w: 180.0, period_s: 0.3 };
    let spec = Spec {
        packages: vec![
            Package::new(Domain::constant(100.0).starting_at(7_000_000)).dram(Domain::new(square)),
        ],
        gpus: vec![Gpu::constant(0, 300.0)],
        cpu_time: CpuTime::Utilisation(0.5),
        ..Spec::default()
    };
    let mut plant = PowerPlant::start(dir.path(), spec)?;
    let zone = plant.sysfs().join("class/powercap/intel-rapl:0/energy_uj");
    let dram = plant.sysfs().join("class/powercap/intel-rapl:0:1/energy_uj");
    let read = || anyhow::Ok((SystemTime::now(), read_number(&zone)?, read_number(&dram)?));
    let (from, package_before, dram_before) = read()?;
    thread::sleep(Duration::from_secs(1));
    let (to, package_after, dram_after) = read()?;

    // A counter is up to an update late, and on a busy machine a little more: 40 ms are allowed.
    let check = |meter, before: u64, after: u64, power_w: f64| -> Result<()> {
        let (seen_j, right_j) =
            ((after - before) as f64 * 1e-6, plant.energy_between_j(meter, from, to)?);
        assert!((seen_j - right_j).abs() < power_w * 0.04, "{meter}: {seen_j} J, not {right_j} J");
        Ok(())
    };
    check(Meter::Package(0), package_before, package_after, 100.0)?;
    check(Meter::Dram(0), dram_before, dram_after, 180.0)?;

    let truth = plant.truth()?;
    let package_j = (read_number(&zone)? - 7_000_000) as f64 * 1e-6;
    assert!(package_j >= truth.energy_j["package-0"] - 1e-5);
    assert!((truth.energy_j["gpu0"] / truth.energy_j["package-0"] - 3.0).abs() < 1e-9);
    // Two CPUs, each busy half of the time.
    assert!((truth.busy_s - truth.elapsed_s).abs() < 1e-9);
    let root = plant.root().to_owned();
    drop(plant);
    assert!(fs::read_to_string(root.join("truth.json"))?.contains("package-0/dram"));
    Ok(())
}

#[test]
fn plant_lets_a_meter_go_wrong_on_demand_and_still_knows_the_truth() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let packages = vec![Package::new(Domain::constant(100.0))];
    let mut plant = PowerPlant::start(dir.path(), Spec { packages, ..Spec::default() })?;
    let zone = plant.sysfs().join("class/powercap/intel-rapl:0/energy_uj");
    plant.set_fault(Meter::Package(0), Fault::Jump(500.0))?;
    assert!(read_number(&zone)? >= 500_000_000);
    plant.set_fault(Meter::Package(0), Fault::Vanish)?;
    assert!(!zone.exists());
    assert!(plant.set_fault(Meter::Psys, Fault::Stop).is_err());
    plant.heal(Meter::Package(0))?;
    assert!(read_number(&zone)? >= 500_000_000);
    // The plant cannot tell of a time before its start.
    std::thread::sleep(Duration::from_millis(20));
    let now = SystemTime::now();
    let drawn_j = plant.truth_at(now)?.of(Meter::Package(0))?;
    let earlier_j = plant.truth_at(now - Duration::from_millis(10))?.of(Meter::Package(0))?;
    // 100 W for 10 ms; the jump is no energy.
    assert!((drawn_j - earlier_j - 1.0).abs() < 1e-3 && drawn_j < 400.0, "{drawn_j} J");
    Ok(())
}

#[test]
fn reader_that_keeps_a_counter_open_sees_it_rise() -> Result<()> {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir()?;
    let spec = Spec {
        packages: vec![Package::new(Domain::constant(1000.0))],
        update_ms: 1,
        ..Spec::default()
    };
    let plant = PowerPlant::start(dir.path(), spec)?;
    let file = fs::File::open(plant.sysfs().join("class/powercap/intel-rapl:0/energy_uj"))?;
    let read = || -> Result<u64> {
        let mut buffer = [0; 64];
        let n_bytes = file.read_at(&mut buffer, 0)?;
        Ok(std::str::from_utf8(&buffer[..n_bytes])?.trim().parse()?)
    };
    let (mut last, mut n_changes) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        // A write in place is not atomic by any promise: two reads that agree met none half done.
        let (now, again) = (read()?, read()?);
        if now != again {
            continue;
        }
        assert!(now >= last, "{now} after {last}");
        n_changes += u32::from(now > last);
        last = now;
    }
    assert!(n_changes > 20, "{n_changes} changes in 300 ms");
    Ok(())
}

#[test]
fn power_follows_the_cpu_time_of_a_node() -> Result<()> {
    if !e2e_is_possible() || !cgroup_test_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().start()?;
    let follow = Waveform::CpuFollow { idle_w: 10.0, watts_per_busy_core: 50.0 };
    let spec = Spec {
        packages: vec![Package::new(Domain::new(follow))],
        cpu_time: CpuTime::Cpuacct(cluster.cpuacct(1)),
        ..Spec::default()
    };
    let mut plant = PowerPlant::start(&cluster.dir().join("plant").join(cluster.node(1)), spec)?;
    let busy = "timeout 1 sh -c 'while :; do :; done'; true";
    cluster.srun(cluster.user(1), &["sh", "-c", busy])?.success();
    let truth = plant.truth()?;
    let used_s = read_number(cluster.cpuacct(1).join("cpuacct.usage"))? as f64 * 1e-9;
    // Of one second, as much as other programs left to it.
    assert!(used_s > 0.1, "{used_s} s used");
    assert!((truth.busy_s - used_s).abs() < 0.05, "{truth:?}, the group says {used_s} s");
    let right_j = 10.0 * truth.elapsed_s + 50.0 * truth.busy_s;
    assert!((truth.energy_j["package-0"] - right_j).abs() < 1e-6, "{truth:?}");

    let stat = fs::read_to_string(plant.procfs().join("stat"))?;
    let ticks: u64 = stat.split_whitespace().nth(1).expect("cpu line").parse()?;
    assert!((ticks as f64 / 100.0 - used_s).abs() < 0.1, "{stat}");
    Ok(())
}

/// The only test that sets `FAKE_NVML_DIR`, by running itself once more with it: the environment
/// of a process with threads is not to be changed.
#[test]
fn fake_nvml_answers_through_the_wrapper_from_the_plants_files() -> Result<()> {
    if std::env::var_os("FAKE_NVML_DIR").is_some() {
        return ask_fake_nvml();
    }
    let dir = tempfile::tempdir()?;
    let old = Gpu { has_energy_counter: false, ..Gpu::constant(0, 70.0) };
    let instance = |id: u32, slices| MigInstance {
        uuid: format!("MIG-{id}"),
        slices,
        id,
        capabilities: [3 * id, 3 * id + 1],
    };
    let split = Gpu::constant(2, 200.0).with_instance(instance(1, 3)).with_instance(instance(5, 2));
    let spec = Spec { gpus: vec![Gpu::constant(1, 400.0), old, split], ..Spec::default() };
    let plant = PowerPlant::start(dir.path(), spec)?;
    fs::write(plant.nvml_dir().join("gpu1/mig"), "0\n")?;
    fs::write(plant.nvml_dir().join("gpu0/processes"), "17\n4\n")?;
    fs::write(plant.nvml_dir().join("gpu0/graphics_processes"), "4\n")?;
    fs::write(plant.nvml_dir().join("gpu2/processes"), "17 MIG-5\n18 MIG-1\n")?;
    let name = "fake_nvml_answers_through_the_wrapper_from_the_plants_files";
    let inner = Command::new(std::env::current_exe()?)
        .args(["--exact", name])
        .env("FAKE_NVML_DIR", plant.nvml_dir())
        .output()?;
    assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stdout));
    Ok(())
}

fn ask_fake_nvml() -> Result<()> {
    let nvml = Nvml::builder().lib_path(artifact::fake_nvml()?.as_os_str()).init()?;
    assert_eq!(nvml.device_count()?, 3);
    let gpu = nvml.device_by_index(0)?;
    let uuid = "GPU-00000000-0000-0000-0000-000000000001";
    assert_eq!((gpu.uuid()?.as_str(), gpu.minor_number()?, gpu.index()?), (uuid, 1, 0));
    assert_eq!((gpu.name()?.as_str(), gpu.power_usage()?), ("Simulated GPU 80GB", 400_000));
    assert_eq!(nvml.device_by_uuid(uuid)?.index()?, 0);
    let before_mj = gpu.total_energy_consumption()?;
    thread::sleep(Duration::from_millis(500));
    let used_mj = gpu.total_energy_consumption()? - before_mj;
    // 400 W for half a second are 200 J; the sleep may last longer, not shorter.
    assert!((190_000..400_000).contains(&used_mj), "{used_mj} mJ");

    let old = nvml.device_by_index(1)?;
    assert_eq!(old.minor_number()?, 0);
    assert!(matches!(old.total_energy_consumption(), Err(NvmlError::NotSupported)));
    assert_eq!(old.mig_mode()?.current, 0);
    assert!(matches!(gpu.mig_mode(), Err(NvmlError::NotSupported)));
    assert!(matches!(nvml.device_by_index(3), Err(NvmlError::InvalidArg)));
    assert!(matches!(nvml.device_by_uuid("GPU-none"), Err(NvmlError::NotFound)));
    // A driver that lacks a symbol fails only where it is called.
    assert!(matches!(gpu.brand(), Err(NvmlError::FailedToLoadSymbol(_))));
    ask_of_instances(&nvml)?;
    ask_of_trouble(&nvml)
}

fn ask_of_instances(nvml: &Nvml) -> Result<()> {
    let pids = |gpu: &nvml_wrapper::Device| -> Result<Vec<u32>> {
        Ok(gpu.running_compute_processes()?.iter().map(|p| p.pid).collect())
    };
    let (gpu, split) = (nvml.device_by_index(0)?, nvml.device_by_index(2)?);
    assert_eq!(pids(&gpu)?, [17, 4]);
    assert_eq!(gpu.running_graphics_processes()?.len(), 1);
    assert!(gpu.mig_device_count().is_err());
    assert_eq!((split.mig_mode()?.current, split.mig_device_count()?), (1, 7));
    assert_eq!(pids(&split)?, [17, 18]);
    let instance = split.mig_device_by_index(1)?;
    assert_eq!(instance.uuid()?, "MIG-5");
    assert_eq!(instance.attributes()?.compute_instance_slice_count, 2);
    assert_eq!(pids(&instance)?, [17]);
    assert_eq!(nvml.device_by_uuid("MIG-1")?.attributes()?.gpu_instance_slice_count, 3);
    assert!(matches!(split.mig_device_by_index(2), Err(NvmlError::NotFound)));
    // The energy read on an instance is the whole GPU's: 200 W since the start.
    let (part, whole) = (instance.total_energy_consumption()?, split.total_energy_consumption()?);
    assert!(part > 0 && whole - part < 20_000, "{part} mJ, {whole} mJ");
    Ok(())
}

fn ask_of_trouble(nvml: &Nvml) -> Result<()> {
    let dir = std::env::var_os("FAKE_NVML_DIR").map(std::path::PathBuf::from).expect("is set");
    let gpu = nvml.device_by_index(0)?;
    fs::write(dir.join("gpu0/error"), "15\n")?;
    assert!(matches!(gpu.total_energy_consumption(), Err(NvmlError::GpuLost)));
    assert!(matches!(gpu.running_compute_processes(), Err(NvmlError::GpuLost)));
    fs::remove_file(dir.join("gpu0/error"))?;
    fs::write(dir.join("gpu0/hang_ms"), "300\n")?;
    let start = std::time::Instant::now();
    gpu.total_energy_consumption()?;
    assert!(start.elapsed() >= Duration::from_millis(300));
    Ok(())
}
