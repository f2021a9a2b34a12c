//! Epochs that no mark tells: by lines of the output, and those that a program marks by itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use ct_tests::{Site, e2e_is_possible};

use crate::job_dir::{JobDir, number};
use crate::{PATIENCE, assert_within, completed};

#[test]
fn a_program_that_prints_its_epochs_needs_no_change() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    // A progress bar repeats its title; what srun prints lands in the same file.
    let script = "#!/bin/sh\n#SBATCH --exclusive\n\
                  #SBATCH --carbontracker=epochs:3,epoch_by:pattern,monitor_epochs:-1\n\
                  echo loading; sleep 1\n\
                  for n in 1 2 3; do\n  echo \"Epoch $n/3\"; sleep 0.7\n\
                    srun sh -c \"printf 'Epoch $n/3: 50%%\\rEpoch $n/3: 99%%\\n'; sleep 0.7\"\ndone\n\
                  sleep 0.5; grep -c 'Predicted consumption' slurm-$SLURM_JOB_ID.out > seen\n";
    let job = cluster.sbatch(user, script)?;
    completed(cluster, job);
    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    assert_eq!(number(&logs.record, "epochs.done"), 3.0, "{}", logs.standard);
    for power in logs.powers("cpu") {
        assert_within(power, 100.0, 0.02, "power of an epoch");
    }
    // What was printed before the first epoch is in none.
    let durations: Vec<f64> = serde_json::from_value(logs.record["epochs"]["duration_s"].clone())?;
    assert!(durations.iter().all(|s| (1.2..3.0).contains(s)), "{durations:?}");
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(out.contains("Predicted consumption for 3 epoch(s)"), "{out}");
    assert!(out.contains("Actual consumption for 3 epoch(s)"), "{out}");
    // Its owner sees the prediction while it runs, and it stands among the job's own lines.
    assert_eq!(fs::read_to_string(cluster.home(user).join("seen"))?, "1\n", "{out}");
    let [first, predicted, last] = ["Epoch 1/3", "Predicted", "Epoch 3/3: 99%"]
        .map(|text| out.find(text).unwrap_or_else(|| panic!("{text}: {out}")));
    assert!(first < predicted && predicted < last, "{out}");
    // From two epochs on there is an interval, which closes with the last one.
    let prediction = &logs.record["prediction"];
    assert_eq!(
        (prediction["by"].as_str(), number(prediction, "from_epochs")),
        (Some("epochs"), 3.0)
    );
    assert_within(number(prediction, "energy_j_high"), number(prediction, "energy_j"), 1e-9, "end");
    Ok(())
}

#[test]
fn epochs_that_are_printed_while_the_daemon_is_away_are_counted_at_the_end() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    // A step is a hook, which starts the daemon again.
    let script = "#!/bin/sh\n#SBATCH --exclusive\n\
                  #SBATCH --carbontracker=epochs:5,epoch_by:pattern,monitor_epochs:-1\n\
                  echo Epoch 1; sleep 1; echo Epoch 2; sleep 1; touch two\n\
                  while [ ! -e killed ]; do sleep 0.1; done\n\
                  echo Epoch 3; sleep 1; srun true; echo Epoch 4; sleep 1; echo Epoch 5; sleep 1\n";
    let job = cluster.sbatch(user, script)?;
    let two = cluster.home(user).join("two");
    ct_tests::site::wait_for("two epochs", || two.exists().then_some(()))?;
    let pid = site.wait_for_noded(1)?.to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status()?.success());
    cluster.command(user, "touch").args(&["killed"]).run()?.success();
    completed(cluster, job);
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(number(record, "epochs.done"), 5.0, "{record:#}");
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("the bounds of 4 epochs were not seen"), "{warnings}");
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(out.contains("Actual consumption for 5 epoch(s)"), "{out}");
    Ok(())
}

#[test]
fn a_pattern_that_is_none_is_told_in_the_jobs_output_and_the_job_goes_on() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let option = "--carbontracker=epoch_pattern:x{1000}{1000}{1000}";
    let job = cluster.sbatch_with(user, &[option], "#!/bin/sh\necho worked\n")?;
    completed(cluster, job);
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(out.contains("worked") && out.contains("Finished monitoring."), "{out}");
    assert!(out.contains("such as \"Epoch ([0-9]+)\"") && out.contains("not counted"), "{out}");
    // Outside a batch job there is no output file.
    let output = site.cluster.srun(user, &["--carbontracker=epoch_by:pattern", "true"])?.success();
    assert!(output.stderr().contains("reads the output file of a batch job"), "{output}");
    Ok(())
}

#[test]
fn a_step_whose_end_was_lost_is_no_epoch_and_blocks_none() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let script = "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=epochs:2,epoch_by:step\n\
                  srun --overlap --mem=100 sleep 60 & srun=$!\nsleep 2; touch started\n\
                  while [ ! -e killed ]; do sleep 0.1; done\nkill -9 $srun; wait\n\
                  for n in 1 2; do srun --overlap --mem=100 sleep 0.5; done\n";
    let job = cluster.sbatch(user, script)?;
    let started = cluster.home(user).join("started");
    ct_tests::site::wait_for("the step to run", || started.exists().then_some(()))?;
    // Its slurmstepd dies without a word; its pid is this node's own knowledge.
    let state = site.state_dir(1).join("jobs/running.json");
    let pid = ct_tests::site::wait_for("the step to be an epoch", || {
        let state: serde_json::Value = serde_json::from_slice(&fs::read(&state).ok()?).ok()?;
        state["jobs"][0]["step_epoch"][1].as_u64()
    })?;
    let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    assert!(kill.success());
    cluster.command(user, "touch").args(&["killed"]).run()?.success();
    cluster.wait_for(job, PATIENCE)?;
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(number(record, "epochs.done"), 2.0, "{record:#}");
    assert!(
        record["warnings"].to_string().contains("the end of step 0 was not told"),
        "{record:#}"
    );
    Ok(())
}

/// The repository's snippets.
fn snippets() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../snippets")
}

#[test]
fn a_script_for_upstreams_module_runs_unchanged_with_ours() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let module = cluster.dir().join("python/carbontracker");
    fs::create_dir_all(&module)?;
    for name in ["__init__.py", "tracker.py"] {
        fs::copy(snippets().join("python/carbontracker").join(name), module.join(name))?;
    }
    // As carbontracker's README has it.
    let training = "import time\nfrom carbontracker.tracker import CarbonTracker\n\n\
                    max_epochs = 3\ntracker = CarbonTracker(epochs=max_epochs, log_dir='logs')\n\
                    for epoch in range(max_epochs):\n    tracker.epoch_start()\n    time.sleep(0.4)\n\
                    \x20   tracker.epoch_end()\ntracker.stop()\n";
    let python = cluster.dir().join("python");
    fs::write(python.join("train.py"), training)?;
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=on\nexport PYTHONPATH={p}\n\
         /usr/bin/env python3 {p}/train.py\n",
        p = python.display()
    );
    let job = cluster.sbatch(user, &script)?;
    completed(cluster, job);
    // Where the script wants them, whole, and nowhere else.
    let home = cluster.home(user);
    let logs = JobDir::read(&home.join("logs"), job, user)?;
    assert_eq!(fs::read_dir(home.join("carbontracker"))?.count(), 0);
    assert!(logs.standard.contains("carbontracker version"), "{}", logs.standard);
    assert!(logs.standard.ends_with("Monitoring thread ended.\n"), "{}", logs.standard);
    assert_eq!(number(&logs.record, "epochs.declared"), 3.0);
    assert_eq!(number(&logs.record, "epochs.done"), 3.0);
    let out = fs::read_to_string(home.join(format!("slurm-{job}.out")))?;
    for title in ["Predicted consumption for 3 epoch(s)", "Actual consumption for 3 epoch(s)"] {
        assert_eq!(out.matches(title).count(), 1, "{out}");
    }
    // Upstream monitors all epochs where nothing is said.
    assert!(!out.contains("Actual consumption for 1 epoch(s)"), "{out}");
    // What the job's option says comes first.
    let named = script.replace("carbontracker=on", "carbontracker=log_dir:named,monitor_epochs:1");
    let job = cluster.sbatch(user, &named)?;
    completed(cluster, job);
    JobDir::read(&home.join("named"), job, user)?;
    let out = fs::read_to_string(home.join(format!("slurm-{job}.out")))?;
    let says = "carbontracker: log_dir is not used: the job's option says log_dir:named";
    assert_eq!(out.matches(says).count(), 1, "{out}");
    assert!(out.contains("Actual consumption for 1 epoch(s)"), "{out}");
    // Without a tracker around it says so and the script runs.
    let path = format!("PYTHONPATH={}", python.display());
    let train = python.join("train.py").display().to_string();
    let output = cluster.command(user, "env").args(&[&path, "python3", &train]).run()?.success();
    assert!(output.stderr().contains("no tracker around"), "{output}");
    Ok(())
}

#[test]
fn a_c_program_marks_its_epochs_over_the_socket() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let main = "#include \"ct_epoch.h\"\n#include <unistd.h>\nint main(void) {\n\
                for (int n = 0; n < 2; n++) { ct_epoch_start(); usleep(300000); ct_epoch_end(); }\n\
                return 0; }\n";
    let source = cluster.dir().join("train.c");
    fs::write(&source, main)?;
    let program = cluster.dir().join("train");
    let built = std::process::Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-D_DEFAULT_SOURCE", "-I"])
        .arg(snippets().join("c"))
        .arg("-o")
        .args([&program, &source])
        .output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let script =
        format!("#!/bin/sh\n#SBATCH --carbontracker=epochs:2\nexec {}\n", program.display());
    let job = cluster.sbatch(user, &script)?;
    completed(cluster, job);
    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    assert_eq!(number(&logs.record, "epochs.done"), 2.0);
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(
        out.contains("CarbonTracker: \nPredicted consumption for 2 epoch(s):\n\tTime:"),
        "{out}"
    );
    Ok(())
}

/// Runs a training of two epochs that `interpreter` reads, with its snippet beside it.
fn runs_marked(interpreter: &str, snippet: &str, training: &str) -> Result<()> {
    // The cluster has a PATH of its own.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let interpreter = std::env::split_paths(&path)
        .map(|dir| dir.join(interpreter))
        .find(|program| program.is_file())
        .with_context(|| format!("no {interpreter} in the PATH"))?;
    let interpreter = interpreter.display();
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let file = Path::new(snippet).file_name().unwrap_or_default();
    fs::copy(snippets().join(snippet), cluster.dir().join(file))?;
    let program = cluster.dir().join("train");
    fs::write(&program, training.replace("SNIPPET", &cluster.dir().join(file).to_string_lossy()))?;
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=epochs:2\nPATH={}:$PATH\n\
         exec {interpreter} {}\n",
        site.bin("").display(),
        program.display()
    );
    let job = cluster.sbatch(user, &script)?;
    completed(cluster, job);
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(number(record, "epochs.done"), 2.0, "{record:#}");
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    let [one, predicted, two] = ["epoch 1", "Predicted consumption for 2 epoch(s)", "epoch 2"]
        .map(|text| out.find(text).unwrap_or_else(|| panic!("{text}: {out}")));
    assert!(one < predicted && predicted < two, "{out}");
    // Without a tracker around the program runs all the same.
    let path = program.display().to_string();
    let output = cluster.command(user, &interpreter.to_string()).args(&[&path]).run()?.success();
    assert!(output.stdout_unchecked().contains("epoch 2"), "{output}");
    Ok(())
}

#[test]
fn an_r_program_marks_its_epochs_by_the_snippet() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    if !ct_tests::has_program("Rscript", true) {
        return Ok(());
    }
    runs_marked(
        "Rscript",
        "r/ct_epoch.R",
        "source(\"SNIPPET\")\nfor (n in 1:2) {\n  ct_epoch(\"start\")\n  Sys.sleep(0.3)\n  \
         cat(\"epoch\", n, \"\\n\")\n  ct_epoch(\"end\")\n}\n",
    )
}

#[test]
fn a_julia_program_marks_its_epochs_by_the_snippet_where_julia_is() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    // No Debian since 11 has it, and no registry that tests may ask.
    if !ct_tests::has_program("julia", false) {
        return Ok(());
    }
    runs_marked(
        "julia",
        "julia/ct_epoch.jl",
        "include(\"SNIPPET\")\nfor n in 1:2\n  ct_epoch(:start)\n  sleep(0.3)\n  \
         println(\"epoch $n\")\n  ct_epoch(:end)\nend\n",
    )
}
