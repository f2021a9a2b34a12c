//! `ct-track run` without Slurm, root, RAPL or GPU.

use std::fs;

use anyhow::Result;
use ct_tests::{Cluster, User, artifact, e2e_is_possible};

use crate::assert_within;
use crate::job_dir::number;
use crate::upstream;

/// Files with an ending, read.
fn texts(dir: &std::path::Path, ending: &str) -> Vec<String> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let ours = files.filter(|p| p.to_string_lossy().ends_with(ending));
    ours.filter_map(|p| fs::read_to_string(p).ok()).collect()
}

fn track(user: &User, cluster: &Cluster, args: &[&str]) -> Result<ct_tests::Output> {
    let bin = cluster.dir().join("ct-track");
    if !bin.exists() {
        fs::copy(artifact::built("ct-node", "ct-track")?, &bin)?;
    }
    cluster.command(user, &bin.display().to_string()).args(args).run()
}

#[test]
fn exit_status_is_the_commands_and_the_logs_are_left() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    // Only a directory and a user of the cluster are used: no Slurm runs.
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let output = track(user, &cluster, &["run", "--", "sh", "-c", "echo hello; exit 7"])?;
    assert_eq!(output.code(), Some(7), "{output}");
    assert_eq!(output.stdout_unchecked(), "hello\n");
    assert!(output.stderr().contains("Actual consumption:"), "{output}");

    let logs = cluster.home(user).join("carbontracker");
    let record: serde_json::Value = serde_json::from_str(&texts(&logs, ".json")[0])?;
    assert_eq!(record["end_reason"], "failed");
    let method = record["method"]["cpu"].as_str().unwrap_or_default();
    assert!(method.starts_with("modelled:"), "{record:#}");
    assert_eq!(record["gpus"].as_array().map(Vec::len), Some(0));
    assert!(texts(&logs, "_carbontracker.log")[0].contains("Monitoring thread ended."));
    assert_eq!(upstream::parse(&logs)?.len(), 1);
    Ok(())
}

#[test]
fn the_country_is_guessed_from_the_time_zone_and_that_is_said() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let bin = cluster.dir().join("ct-track");
    fs::copy(artifact::built("ct-node", "ct-track")?, &bin)?;
    let run = |config: &str| {
        let path = cluster.dir().join("c.toml");
        fs::write(&path, config)?;
        let path = path.display().to_string();
        let args = ["run", "--config", &path, "--log_dir", "logs", "--", "sleep", "0.2"];
        let command = cluster.command(user, &bin.display().to_string()).args(&args);
        command.env("TZ", "Europe/Copenhagen").run()?.success();
        let logs = cluster.home(user).join("logs");
        let record: serde_json::Value = serde_json::from_str(&texts(&logs, ".json")[0])?;
        let errors = texts(&logs, "_err.log").concat();
        fs::remove_dir_all(logs)?;
        anyhow::Ok((record, errors))
    };
    let (record, errors) = run("")?;
    let source = record["intensity"]["source"].as_str().unwrap_or_default();
    assert!(source.contains("guessed from the system's time zone Europe/Copenhagen"), "{source}");
    assert_eq!(
        (number(&record, "intensity.g_per_kwh"), &record["intensity"]["zone"]),
        (143.3, &"DK".into())
    );
    assert!(errors.contains("Using average carbon intensity for DK: 143.30"), "{errors}");

    // Who says where it is has nothing guessed.
    let (record, errors) = run("[carbon]\ncountry = \"NO\"\n")?;
    assert_eq!((&record["intensity"]["zone"], &*errors), (&"NO".into(), ""));
    Ok(())
}

#[test]
fn epochs_are_marked_from_within_the_command() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let bin = cluster.dir().join("ct-track");
    let script = format!(
        "for n in 1 2; do {t} epoch start; sleep 0.3; {t} epoch end; done; {t} status --json; {t} stop",
        t = bin.display()
    );
    let options = ["run", "--epochs", "2", "--monitor_epochs", "-1", "--", "sh", "-c", &script];
    let output = track(user, &cluster, &options)?.success();
    assert!(output.stdout().contains("Predicted consumption for 2 epoch(s)"), "{output}");
    // Its last epoch told it: the stop and the end have nothing to add.
    let all = format!("{}{}", output.stdout(), output.stderr());
    assert_eq!(all.matches("Actual consumption for 2 epoch(s)").count(), 1, "{output}");
    let logs = cluster.home(user).join("carbontracker");
    let record: serde_json::Value = serde_json::from_str(&texts(&logs, ".json")[0])?;
    assert_eq!(number(&record, "epochs.done"), 2.0);
    assert!(number(&record, "energy_j.cpu") > 0.0);
    upstream::agrees_with_ct_report(&logs)
}

#[test]
fn simulated_components_are_shown_under_upstreams_option_names() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let options = ["run", "--sim-cpu", "Xeon X", "--sim-cpu-tdp", "100", "--sim-gpu", "A100"];
    let output = track(user, &cluster, &[&options[..], &["--", "true"]].concat())?;
    assert_eq!(output.code(), Some(2), "{output}");
    assert!(output.stderr().contains("sim_gpu is given without sim_gpu_watts"), "{output}");

    let watts = ["--sim-gpu-watts", "400", "--sim-gpu-util", "0.25", "--decimal_precision", "12"];
    let args = [&options[..], &watts, &["--", "sleep", "1"]].concat();
    let output = track(user, &cluster, &args)?.success();
    let sentence = "Using simulated CPU: Xeon X with TDP: 50.00W (at 50% utilization)";
    assert!(output.stderr().contains(sentence), "{output}");
    let logs = cluster.home(user).join("carbontracker");
    let standard = &texts(&logs, "_carbontracker.log")[0];
    assert!(
        standard.contains("GPU with device(s) A100. CPU with device(s) Xeon X.\n"),
        "{standard}"
    );
    let record: serde_json::Value = serde_json::from_str(&texts(&logs, ".json")[0])?;
    let seconds = number(&record, "elapsed_s");
    // 100 W at half load and 400 W at a quarter of it: 50 W and 100 W.
    let simulated = number(&record, "simulated.cpu.energy_j");
    assert_within(simulated, 50.0 * seconds, 0.001, "simulated CPU");
    assert_within(number(&record, "simulated.gpu.energy_j"), 2.0 * simulated, 1e-6, "GPU");
    assert_eq!(record["simulated"]["cpu"]["method"], "simulated:Xeon X");
    let method = record["method"]["cpu"].as_str().unwrap_or_default();
    assert!(!method.starts_with("simulated"), "{record:#}");
    let [logged] = &upstream::parse(&logs)?[..] else { panic!("one run is expected") };
    let kwh = number(logged, "actual.energy (kWh)");
    // The log rounds the duration to hundredths of a second; a busy machine ends the job later.
    let logged_s = logged["components"]["cpu"]["epoch_durations (s)"][0].as_f64();
    let joules = 150.0 * logged_s.unwrap_or_default();
    assert_within(kwh, joules * 1.58 / 3.6e6, 0.01, "energy of the block");
    upstream::agrees_with_ct_report(&logs)
}

#[test]
fn without_a_tracker_around_a_script_goes_on() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    for args in [&["epoch", "start"][..], &["epoch", "end"], &["stop"], &["status"]] {
        let output = track(user, &cluster, args)?;
        assert_eq!(output.code(), Some(0), "{output}");
        assert_eq!(output.stderr().lines().count(), 1, "{output}");
        assert!(output.stderr().contains("no tracker around"), "{output}");
    }
    // Who reads JSON is given some.
    let output = track(user, &cluster, &["status", "--json"])?.success();
    let status: serde_json::Value = serde_json::from_str(output.stdout_unchecked())?;
    assert_eq!((&status["tracked"], &status["job_id"]), (&false.into(), &().into()), "{output}");
    assert!(status["message"].to_string().contains("no tracker around"), "{output}");
    let bin = cluster.dir().join("ct-track").display().to_string();
    let command = cluster.command(user, &bin).args(&["status", "--json"]);
    let command = command.env("CARBONTRACKER_SOCKET", "/nonexistent/noded.sock");
    let output = command.env("CARBONTRACKER_JOB_ID", "42").run()?.success();
    let status: serde_json::Value = serde_json::from_str(output.stdout_unchecked())?;
    assert_eq!((&status["tracked"], &status["job_id"]), (&().into(), &42.into()), "{output}");
    Ok(())
}

#[test]
fn logs_that_cannot_be_written_cost_the_logs_and_nothing_else() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let closed = cluster.dir().join("closed/logs").display().to_string();
    fs::create_dir(cluster.dir().join("closed"))?;
    let args = ["run", "--log_dir", &closed, "--", "sh", "-c", "echo hello; exit 7"];
    let output = track(user, &cluster, &args)?;
    assert_eq!((output.code(), output.stdout_unchecked()), (Some(7), "hello\n"), "{output}");
    for says in [
        &*format!("no logs and no record are written: cannot make {closed}: Permission denied"),
        "--log_dir DIR",
        "CPU energy is not measured: modelled:",
        "Actual consumption:\n",
        "Finished monitoring.",
    ] {
        assert!(output.stderr().contains(says), "{says}: {output}");
    }
    Ok(())
}

#[test]
fn a_command_that_cannot_be_run_leaves_nothing_and_is_named() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let home = cluster.home(user);
    fs::write(home.join("plain"), "echo hello\n")?;
    fs::write(home.join("orphan"), "#!/nonexistent/interpreter\n")?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(home.join("orphan"), executable)?;
    for (program, code, says) in [
        ("no-such-program", 127, "no directory of PATH has it"),
        ("./no-such-file", 127, "No such file"),
        ("./orphan", 127, "interpreter"),
        ("./plain", 126, "is it executable"),
        ("/tmp", 126, "it is a directory"),
    ] {
        let output = track(user, &cluster, &["run", "--epochs", "2", "--", program])?;
        assert_eq!((output.code(), output.stdout_unchecked()), (Some(code), ""), "{output}");
        let line = format!("ct-track: cannot run {program:?}: ");
        assert!(output.stderr().starts_with(&line) && output.stderr().contains(says), "{output}");
        assert_eq!(output.stderr().lines().count(), 1, "{output}");
    }
    assert!(!home.join("carbontracker").exists());
    Ok(())
}

#[test]
fn zeros_of_a_gpu_that_is_not_there_are_explained() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let output = track(user, &cluster, &["run", "--components", "gpu", "--", "true"])?.success();
    assert!(output.stderr().contains("CarbonTracker: No GPU was found"), "{output}");
    let logs = cluster.home(user).join("carbontracker");
    assert!(texts(&logs, "_carbontracker.log")[0].contains("No GPU was found"));
    let record: serde_json::Value = serde_json::from_str(&texts(&logs, ".json")[0])?;
    assert!(record["warnings"].to_string().contains("No GPU was found"), "{record:#}");
    assert!(number(&record, "energy_j.cpu") > 0.0, "{record:#}");
    Ok(())
}

#[test]
fn a_command_that_prints_its_epochs_or_is_over_its_budget_is_seen_and_ended() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let lines = "for n in 1 2; do echo Epoch $n; sleep 0.5; done; exit 3";
    // Through a pipe and into a file: what the command prints is what we print.
    let bin = cluster.dir().join("ct-track");
    track(user, &cluster, &["--version"])?.success();
    for (to, dir) in [("| cat", "piped"), ("> out; s=$?; cat out; exit $s", "file")] {
        let script = format!(
            "{} run --epoch_by pattern --log_dir {dir} -- sh -c '{lines}' {to}",
            bin.display()
        );
        let output = cluster.command(user, "sh").args(&["-c", &script]).run()?;
        assert_eq!(output.stdout_unchecked(), "Epoch 1\nEpoch 2\n", "{output}");
        let logs = cluster.home(user).join(dir);
        let record: serde_json::Value = serde_json::from_str(&texts(&logs, ".json")[0])?;
        assert_eq!(number(&record, "epochs.done"), 2.0, "{to}: {record:#}");
    }
    let budget =
        ["run", "--max_co2", "0.000001", "--on_budget", "stop", "--update_interval", "0.2"];
    let args = [&budget[..], &["--log_dir", "stopped", "--", "sh", "-c", "sleep 60; echo done"]];
    let output = track(user, &cluster, &args.concat())?;
    // 128 and SIGTERM, as a shell has it.
    assert_eq!((output.code(), output.stdout_unchecked()), (Some(143), ""), "{output}");
    let stopped = cluster.home(user).join("stopped");
    let record: serde_json::Value = serde_json::from_str(&texts(&stopped, ".json")[0])?;
    assert_eq!(record["budget"]["action"], "terminated", "{record:#}");
    Ok(())
}

#[test]
fn options_a_command_cannot_have_are_refused_and_upstreams_are_taken() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    for (args, says) in [
        (["--epoch_by", "step"], "expected mark or pattern"),
        (["--epoch_pattern", "x{9}{9999}{999}"], "such as \"Epoch ([0-9]+)\""),
        (["--epoch_pattern", "Epoch ("], "a closing ) for each ("),
        (["--max_energy", "-3"], "kWh above 0"),
    ] {
        let output = track(user, &cluster, &[&["run"], &args[..], &["--", "true"]].concat())?;
        assert_eq!(output.code(), Some(2), "{output}");
        assert!(output.stderr().contains(says), "{output}");
    }
    // A command's own options of the same names stay its own.
    let keys =
        ["run", "--api_keys", "{'electricitymaps': 'x'}", "--", "echo", "--epochs", "--api_keys"];
    let output = track(user, &cluster, &keys)?.success();
    assert_eq!(output.stdout_unchecked(), "--epochs --api_keys\n");
    assert!(output.stderr().contains("--api_keys is not used"), "{output}");
    Ok(())
}

#[test]
fn a_command_waits_for_an_answer_and_ends_with_no() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    let bin = cluster.dir().join("ct-track");
    for (answer, code, printed) in [("y", 0, true), ("n", 143, false)] {
        let script = format!(
            "(sleep 2; {t} confirm {answer}) & {t} epoch start; sleep 0.2; {t} epoch end; echo trained",
            t = bin.display()
        );
        let args =
            ["run", "--epochs", "2", "--stop_and_confirm", "true", "--", "sh", "-c", &script];
        let output = track(user, &cluster, &args)?;
        assert_eq!(output.code(), Some(code), "{output}");
        assert!(output.stdout_unchecked().contains("Continue training (y/n)?"), "{output}");
        assert_eq!(output.stdout_unchecked().contains("trained"), printed, "{output}");
    }
    Ok(())
}

#[test]
fn a_child_that_holds_the_output_keeps_nobody_from_going_on() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    track(user, &cluster, &["--version"])?.success();
    // With the output through us and not: the command's end is ours, its child's output goes on.
    for by in ["pattern", "mark"] {
        let script = format!(
            "{{ {t} run --epoch_by {by} --log_dir {by} -- sh -c \
             '(sleep 3; echo late) & echo Epoch 1; sleep 0.3; exit 3'; \
             echo $? > code; date +%s%3N > ended; }} | cat; date +%s%3N > all",
            t = cluster.dir().join("ct-track").display()
        );
        let output = cluster.command(user, "sh").args(&["-c", &script]).run()?.success();
        assert_eq!(output.stdout_unchecked(), "Epoch 1\nlate\n", "{output}");
        let home = cluster.home(user);
        let read = |name: &str| fs::read_to_string(home.join(name));
        assert_eq!(read("code")?, "3\n");
        let [ended, all] = ["ended", "all"].map(|name| read(name).map(|t| t.trim().parse::<u64>()));
        let (ended, all) = (ended??, all??);
        assert!(all - ended > 1000, "{by}: ct-track waited for the child: {ended} {all}");
        let record: serde_json::Value = serde_json::from_str(&texts(&home.join(by), ".json")[0])?;
        let n_epochs = if by == "pattern" { 1.0 } else { 0.0 };
        assert_eq!(record["epochs"]["done"].as_f64().unwrap_or(0.0), n_epochs, "{record:#}");
    }
    Ok(())
}

#[test]
fn on_a_terminal_the_program_waits_for_a_line_that_is_an_answer() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let cluster = Cluster::builder().create()?;
    let user = cluster.user(1);
    track(user, &cluster, &["--version"])?.success();
    let bin = cluster.dir().join("ct-track");
    let train =
        format!("{t} epoch start; sleep 0.2; {t} epoch end; echo trained", t = bin.display());
    let home = cluster.home(user);
    fs::write(cluster.dir().join("train.sh"), train)?;
    for (answer, code, printed) in [("y", "0", true), ("NO", "143", false)] {
        // script(1) gives it a terminal, and what is typed is what comes in.
        let run = format!(
            "{} run --epochs 2 --stop_and_confirm true -- sh {}/train.sh",
            bin.display(),
            cluster.dir().display()
        );
        let typed = format!(
            "{{ until grep -q 'y/n' said 2>/dev/null; do sleep 0.1; done; echo maybe; \
             until grep -q 'Try again' said; do sleep 0.1; done; echo {answer}; \
             until [ -e code ]; do sleep 0.1; done; }} | \
             timeout 60 script -qfec '{run}; echo $? > code' said"
        );
        let output = cluster.command(user, "sh").args(&["-c", &typed]).run()?;
        let said = fs::read_to_string(home.join("said"))?;
        assert!(said.contains("Continue training (y/n)?"), "{output}: {said}");
        assert!(said.contains("Input not recognized. Try again (y/n):"), "{said}");
        // Whoever sits there needs no telling how to answer from elsewhere.
        assert!(!said.contains("ct-track confirm y"), "{said}");
        assert_eq!(said.contains("trained"), printed, "{said}");
        assert_eq!(fs::read_to_string(home.join("code"))?.trim(), code, "{said}");
        for name in ["said", "code"] {
            fs::remove_file(home.join(name))?;
        }
    }
    Ok(())
}
