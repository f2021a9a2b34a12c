//! Hostile jobs on a real cluster: their names, their log directories, their environment. One cluster,
//! as each attack leaves it as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ct_tests::{Site, e2e_is_possible};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const HELLO: &str = "#!/bin/sh\necho hello\n";

/// Runs a job of the first user's to its end, which is as without tracking; its record and output.
fn run(site: &Site, args: &[&str], script: &str) -> Result<(Value, String)> {
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let args = [args, &["-o", "out-%j"]].concat();
    let job = cluster.sbatch_with(user, &args, script)?;
    let info = cluster.wait_for(job, PATIENCE)?;
    assert_eq!((info.state(), info.get("ExitCode")), ("COMPLETED", "0:0"));
    let record = site.wait_for_records(job, 1)?.remove(0);
    Ok((record, fs::read_to_string(cluster.home(user).join(format!("out-{job}")))?))
}

/// Everything below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn hostile_jobs_harm_nobody_and_are_in_the_ledger_under_their_own_name() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    names_are_text(&site)?;
    log_directories_of_others_are_refused_by_the_kernel(&site)?;
    log_files_that_wait_as_links_are_not_followed(&site)?;
    an_environment_forges_nobody(&site)?;
    let log = fs::read_to_string(site.state_dir(1).join("noded.log"))?;
    let slurmd = fs::read_to_string(site.cluster.slurmd_log(1))?;
    for line in slurmd.lines().filter(|l| l.contains(" ct: ")).chain(log.lines()) {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    for (node, state) in site.cluster.node_states()? {
        assert!(["idle", "completing"].contains(&state.as_str()), "{node} is {state}");
    }
    Ok(())
}

/// Job names lead to no other directory, and end no line.
fn names_are_text(site: &Site) -> Result<()> {
    let home = site.cluster.home(site.cluster.user(1));
    let names = [
        "../../../../tmp/ct-escaped",
        "a\nb",
        "\x1b]0;owned\x07\x1b[2J",
        "x\u{202e}gnp",
        "=cmd|' /C calc'!A0",
        "%j%x%%%n",
        "\",\"user\":\"root",
        "</script><script>",
    ];
    let text = |record: &Value| record["job_name"].as_str().unwrap_or_default().to_owned();
    for (n, name) in names.iter().enumerate() {
        let dir = format!("names-{n}");
        let option = format!("--carbontracker=log_dir:{dir}/%x,log_file_prefix:%x");
        let (record, out) = run(site, &["-J", name, &option], HELLO)?;
        assert!(out.starts_with("hello\n"), "{name:?}: {out}");
        // squeue gives the name back up to its end of line.
        assert!(name.starts_with(&*text(&record)) && !text(&record).is_empty(), "{record:#}");
        assert_eq!(record["user"], site.cluster.user(1).name(), "{record:#}");
        let logs = files(&home.join(&dir));
        assert_eq!(logs.len(), 4, "{name:?}: {logs:?}\n{out}");
        for log in &logs {
            let below = log.strip_prefix(&home)?.to_string_lossy().into_owned();
            assert!(!below.contains("..") || below.contains(".._"), "{below:?}");
            assert!(!below.chars().any(char::is_control), "{below:?}");
        }
    }
    assert!(!Path::new("/tmp/ct-escaped").exists());
    for line in site.ledger_text()?.lines() {
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
    Ok(())
}

fn log_directories_of_others_are_refused_by_the_kernel(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let (user, other) = (cluster.user(1), cluster.user(2));
    let link = cluster.home(user).join("link-to-other");
    symlink(cluster.home(other), &link)?;
    let state = site.state_dir(1);
    let before = files(&state).len();
    for dir in [
        Path::new("/etc/ct-logs"),
        Path::new("/etc"),
        Path::new("/proc/1"),
        &cluster.home(other),
        &cluster.home(other).join("logs"),
        &link,
        &state,
        &site.ledger(),
        &site.run_dir(1),
    ] {
        let option = format!("--carbontracker=log_dir:{}", dir.display());
        let (record, out) = run(site, &[&option], HELLO)?;
        assert!(out.contains("hello\n") && out.contains("cannot write logs in"), "{out}");
        assert_eq!(record["end_reason"], "completed");
    }
    assert!(!Path::new("/etc/ct-logs").exists());
    let is_log = |path: &PathBuf| path.to_string_lossy().contains("_carbontracker");
    let strays = [cluster.home(other), state.clone(), site.ledger(), site.run_dir(1)];
    assert!(!strays.iter().flat_map(|dir| files(dir)).any(|path| is_log(&path)));
    assert!(files(&state).len() <= before + 1, "{:?}", files(&state));
    Ok(())
}

/// The names of a job's files are known a second before: links wait under all that may come.
fn log_files_that_wait_as_links_are_not_followed(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let target = cluster.dir().join("roots-own");
    fs::write(&target, "untouched\n")?;
    // Everybody may write it: only that it is not followed keeps it whole.
    fs::set_permissions(&target, fs::Permissions::from_mode(0o666))?;
    for is_hard in [false, true] {
        let dir = cluster.home(user).join(format!("links-{is_hard}"));
        user.make_dir(&dir)?;
        let (probe, _) = run(site, &[], HELLO)?;
        let next = probe["job_id"].as_u64().context("a job id")? + 1;
        let now = chrono::Local::now();
        for second in 0..60 {
            let at = now + chrono::TimeDelta::seconds(second);
            let stem = format!("{next}.0_{}", at.format("%Y-%m-%dT%H%M%SZ"));
            for ending in [".log", "_output.log", "_err.log", ".json"] {
                let name = dir.join(format!("{stem}_carbontracker{ending}"));
                if is_hard { fs::hard_link(&target, name)? } else { symlink(&target, name)? }
            }
        }
        let option = format!("--carbontracker=log_dir:{}", dir.display());
        let (record, out) = run(site, &[&option], HELLO)?;
        assert_eq!(record["job_id"], next, "another job came between: the test says nothing");
        assert!(out.contains("hello\n"), "{out}");
        let says = if is_hard { "hello" } else { "Too many levels of symbolic links" };
        assert!(out.contains(says), "{out}");
        assert_eq!(fs::read_to_string(&target)?, "untouched\n", "hard links: {is_hard}");
    }
    Ok(())
}

/// What a job's script sets before a step is its own word, and counts for nothing that matters.
fn an_environment_forges_nobody(site: &Site) -> Result<()> {
    let user = site.cluster.user(1);
    let script = format!(
        "#!/bin/sh\nexport SLURM_JOB_USER=root SLURM_JOB_UID=0 SLURM_JOB_ACCOUNT=stolen \
         SLURM_JOB_PARTITION=stolen SLURM_JOB_QOS=stolen SLURM_JOB_NAME=stolen \
         SLURM_CLUSTER_NAME=stolen SLURM_JOB_NUM_NODES=4000000000 SLURM_RESTART_COUNT=77 \
         SLURM_JOB_NODELIST='a[1-99999999999999][x],../../../../etc/x' SLURM_ARRAY_JOB_ID=1 \
         SLURM_JOB_CPUS_PER_NODE='4000000000(x4000000000)' SLURM_JOB_GPUS=0,1,2,3 \
         CUDA_VISIBLE_DEVICES=0,1,2,3\n\
         srun --jobid=$SLURM_JOB_ID true\n{track} status\nCARBONTRACKER_JOB_ID=1 {track} status 2>&1\n",
        track = site.bin("ct-track").display()
    );
    let (record, out) = run(site, &["--carbontracker=on", "-J", "honest"], &script)?;
    for (key, value) in [("user", user.name()), ("job_name", "honest"), ("partition", "main")] {
        assert_eq!(record[key], value, "{key}: {record:#}");
    }
    assert_eq!(record["uid"], user.uid(), "{record:#}");
    assert_eq!((&record["restart"], &record["n_nodes"]), (&0.into(), &1.into()), "{record:#}");
    assert!(!record.to_string().contains("stolen"), "{record:#}");
    assert_eq!(record["gpus"].as_array().map(Vec::len), Some(0), "{record:#}");
    assert!(out.contains("no status: no job 1 of yours is measured on this node"), "{out}");
    Ok(())
}
