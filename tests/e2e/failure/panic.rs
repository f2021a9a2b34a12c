//! A panic in every hook, by a build of the plugin that has a switch for it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_tests::{JobId, Site, e2e_is_possible};
use rustix::process::Signal;

use crate::cost::{add_next_to_nothing, srun};
use crate::outcome::{nodes_are_up, one_record_each_but, record, run, signal};

/// What the plugstack line may ask for; the text of it is in no other build.
const SWITCH: &str = "asked to panic in ";

/// Where a tracked job passes; those of slurmd's own start and of the terminal are looked at apart. The
/// first has a record half a minute later.
const HOOKS: [&str; 10] = [
    "slurm_spank_job_epilog",
    "slurm_spank_init/remote",
    "slurm_spank_init_post_opt",
    "slurm_spank_init_post_opt/remote",
    "slurm_spank_user_init",
    "slurm_spank_task_init",
    "slurm_spank_task_exit",
    "slurm_spank_exit",
    "slurm_spank_job_prolog",
    "none",
];

/// Has the plugin panic there from now on.
fn panic_in(site: &Site, hook: &str) -> Result<()> {
    let path = site.cluster.conf_dir().join("plugstack.conf");
    let text = fs::read_to_string(&path)?;
    let is_plugin = |line: &&str| line.starts_with("optional ");
    let line = text.lines().find(is_plugin).context("no plugin in plugstack.conf")?;
    let clean: Vec<&str> = line.split(' ').filter(|word| !word.starts_with("panic=")).collect();
    let asked = format!("{} panic={hook}", clean.join(" "));
    Ok(fs::write(&path, text.replace(line, &asked))?)
}

#[test]
fn in_any_hook_costs_the_job_nothing() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().faulty_plugin().start()?;
    let slurmd_log = || fs::read_to_string(site.cluster.slurmd_log(1));
    let mut jobs = Vec::new();
    for hook in HOOKS {
        panic_in(&site, hook)?;
        let before = slurmd_log()?.matches(SWITCH).count();
        jobs.push(run(&site).with_context(|| hook.to_owned())?.job);
        let n_panics = slurmd_log()?.matches(SWITCH).count() - before;
        // Each process says it once; the batch step and the extern step are processes of their own.
        ensure!((n_panics > 0) == (hook != "none"), "{hook}: {n_panics} panics");
    }
    let timed = |hook: &str| -> Result<Duration> {
        panic_in(&site, hook)?;
        srun(&site.cluster, &[]).map(|(_, wall)| wall)
    };
    let every_step = "slurm_spank_init_post_opt/remote";
    let mut usual = || timed("none");
    add_next_to_nothing(&mut usual, &mut [(every_step, &mut || timed(every_step))])?;
    // When slurmd starts: its jobs start ct-noded.
    panic_in(&site, "slurm_spank_init/slurmd")?;
    signal(site.wait_for_noded(1)?, Signal::KILL)?;
    let before = slurmd_log()?.matches("asked to panic in slurm_spank_init/slurmd").count();
    site.cluster.restart_slurmd(1)?;
    site.cluster.resume_nodes()?;
    let n_panics =
        slurmd_log()?.matches("asked to panic in slurm_spank_init/slurmd").count() - before;
    ensure!(n_panics == 1, "{n_panics} panics in slurmd");
    jobs.push(run(&site).context("slurmd")?.job);
    // On the terminal: the option is not known then, as without the plugin, but all else works.
    panic_in(&site, "slurm_spank_init/local")?;
    jobs.push(on_a_terminal(&site)?);
    panic_in(&site, "every")?;
    let without_record = on_a_terminal(&site)?;
    let user = site.cluster.user(1);
    let job = site.cluster.sbatch(user, "#!/bin/sh\necho hello; srun echo step; exit 3\n")?;
    let info = site.cluster.wait_for(job, crate::PATIENCE)?;
    ensure!((info.state(), info.get("ExitCode")) == ("FAILED", "3:0"), "{info:?}");
    let out = fs::read_to_string(site.cluster.home(user).join(format!("slurm-{job}.out")))?;
    ensure!(out == "hello\nstep\n", "{out}");
    nodes_are_up(&site)?;
    // Nobody told of those two.
    one_record_each_but(&site, &[without_record, job])?;
    for job in jobs {
        let record = record(&site, job)?;
        ensure!(record["end_reason"] == "failed", "{record:#}");
    }
    Ok(())
}

/// A job by an srun that does without the plugin, as it has panicked before it could register the option.
fn on_a_terminal(site: &Site) -> Result<JobId> {
    let user = site.cluster.user(1);
    let refused = site.cluster.srun(user, &["--carbontracker=on", "-n1", "true"])?;
    ensure!(refused.stderr().contains("unrecognized option '--carbontracker=on'"), "{refused}");
    srun(&site.cluster, &[]).map(|(job, _)| job)
}

#[test]
fn has_no_switch_in_what_is_installed() -> Result<()> {
    let has_switch = |package: &str, file: &str| -> Result<bool> {
        let bytes = fs::read(ct_tests::artifact::built(package, file)?)?;
        Ok(bytes.windows(SWITCH.len()).any(|window| window == SWITCH.as_bytes()))
    };
    ensure!(has_switch("carbontracker-faulty", "libcarbontracker_faulty.so")?);
    ensure!(!has_switch("carbontracker", "libcarbontracker.so")?);
    Ok(())
}
