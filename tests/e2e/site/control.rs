//! What an owner may steer, and see meanwhile: the question after the prediction, the status.

use std::fs;

use anyhow::Result;
use ct_tests::site::wait_for;
use ct_tests::{JobId, Site, User, e2e_is_possible};

use crate::job_dir::{JobDir, number};
use crate::{PATIENCE, assert_within, completed};

/// A training that asks after its first epoch.
fn asking(site: &Site, user: &User) -> Result<JobId> {
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=epochs:3,stop_and_confirm:true\n\
         for n in 1 2 3; do\n  {t} epoch start; sleep 0.5; {t} epoch end\ndone\necho trained\n",
        t = site.bin("ct-track").display()
    );
    site.cluster.sbatch(user, &script)
}

pub(crate) fn output_of(site: &Site, user: &User, job: JobId) -> String {
    let path = site.cluster.home(user).join(format!("slurm-{job}.out"));
    fs::read_to_string(path).unwrap_or_default()
}

fn wait_for_question(site: &Site, user: &User, job: JobId) -> Result<String> {
    wait_for("the question", || {
        Some(output_of(site, user, job)).filter(|out| out.contains("the job waits"))
    })
}

fn answer(site: &Site, user: &User, job: JobId, answer: &str) -> Result<ct_tests::Output> {
    let (jobid, track) = (format!("--jobid={job}"), site.bin("ct-track").display().to_string());
    site.cluster.srun(user, &[&jobid, "--overlap", &track, "confirm", answer])
}

#[test]
fn a_batch_job_waits_for_its_owners_yes_and_goes_on() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let (user, stranger) = (site.cluster.user(1), site.cluster.user(2));
    let job = asking(&site, user)?;
    let out = wait_for_question(&site, user, job)?;
    assert!(out.contains("CarbonTracker: Continue training (y/n)?\n"), "{out}");
    let how = format!(
        "answer with \"srun --jobid={job} --overlap ct-track confirm y\", or n; \
                       without an answer within 600 s it is y"
    );
    assert!(out.contains(&how), "{out}");
    // Nobody else answers: not a stranger, and not root.
    let socket = site.run_dir(1).join("noded.sock").display().to_string();
    let (env, id) =
        (format!("CARBONTRACKER_SOCKET={socket}"), format!("CARBONTRACKER_JOB_ID={job}"));
    let track = site.bin("ct-track").display().to_string();
    let args = [env.as_str(), &id, &track, "confirm", "y"];
    let output = site.cluster.command(stranger, "env").args(&args).run()?;
    assert_eq!(output.code(), Some(1), "{output}");
    assert!(output.stderr().contains("no job"), "{output}");
    let root = std::process::Command::new("env").args(args).output()?;
    let said = String::from_utf8_lossy(&root.stderr).into_owned();
    assert!(!root.status.success() && said.contains("only the owner"), "{said}");
    answer(&site, user, job, "y")?.success();
    completed(&site.cluster, job);
    let out = output_of(&site, user, job);
    // The actual block of monitor_epochs:1 comes after the answer, as upstream has it.
    let [asked, on, actual] =
        ["Continue training (y/n)?", "Continuing...", "Actual consumption for 1"]
            .map(|text| out.find(text).unwrap_or_else(|| panic!("{text}: {out}")));
    assert!(asked < on && on < actual, "{out}");
    assert!(out.contains("trained") && out.matches("(y/n)?").count() == 1, "{out}");
    // It had its answer: there is no question any more.
    Ok(())
}

#[test]
fn a_batch_job_whose_owner_says_no_ends_as_its_owners_scancel() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    let job = asking(&site, user)?;
    wait_for_question(&site, user, job)?;
    answer(&site, user, job, "n")?;
    let info = site.cluster.wait_for(job, PATIENCE)?;
    assert_eq!(info.state(), "CANCELLED");
    let logs = JobDir::read(&site.cluster.home(user).join("carbontracker"), job, user)?;
    assert!(logs.standard.contains("Session ended by user.\n"), "{}", logs.standard);
    assert!(logs.output.contains("CarbonTracker: Quitting...\n"), "{}", logs.output);
    assert_eq!(number(&logs.record, "epochs.done"), 1.0);
    assert!(!output_of(&site, user, job).contains("trained"));
    Ok(())
}

#[test]
fn where_nobody_answers_the_site_does() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    for (default, state) in [("y", "COMPLETED"), ("n", "CANCELLED")] {
        let site = Site::builder()
            .config("track.confirm_timeout_s", 1.0)
            .config("track.confirm_default", default)
            .start()?;
        let user = site.cluster.user(1);
        let job = asking(&site, user)?;
        let info = site.cluster.wait_for(job, PATIENCE)?;
        assert_eq!(info.state(), state, "{}", output_of(&site, user, job));
        let record = &site.wait_for_records(job, 1)?[0];
        let warning = format!("nobody answered within 1 s: the site's {default}");
        assert!(record["warnings"].to_string().contains(&warning), "{record:#}");
    }
    Ok(())
}

#[test]
fn a_running_jobs_prediction_is_in_its_status_and_in_the_report() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let builder = Site::builder().config("carbon.embodied_g_per_node_hour", 36.0);
    let site = builder.config("carbon.water_l_per_kwh", 2.0).start()?;
    let (cluster, user) = (&site.cluster, site.cluster.user(1));
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=epochs:4\n\
         {t} epoch start; sleep 1; {t} epoch end\n{t} status\n\
         while [ ! -e go ]; do sleep 0.1; done\n",
        t = site.bin("ct-track").display()
    );
    let job = cluster.sbatch(user, &script)?;
    let (id, ledger) = (job.to_string(), site.ledger().display().to_string());
    let report = site.bin("ct-report").display().to_string();
    let show = |args: &[&str]| {
        let args = [&["job", &id, "--ledger", &ledger], args].concat();
        cluster.command(&User::root(), &report).args(&args).run()
    };
    // A terminal's width breaks its lines.
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let run = wait_for("the running job in the report", || {
        let output = show(&["--json"]).ok().filter(ct_tests::Output::is_success)?;
        let runs: serde_json::Value = serde_json::from_str(output.stdout()).ok()?;
        Some(runs[0].clone())
    })?;
    let record = &run["records"][0];
    assert_eq!(record["end_reason"], "running", "{run:#}");
    // Four epochs of 100 W for 1 s each.
    assert_within(number(record, "prediction.energy_j"), 400.0, 0.1, "prediction");
    let text = one_line(show(&[])?.success().stdout());
    assert!(text.contains(": running"), "{text}");
    assert!(text.contains("for 4 epochs, from 1 of them"), "{text}");
    let out = output_of(&site, user, job);
    assert!(out.contains("gCO2e for 4 epochs, from 1"), "{out}");
    cluster.command(user, "touch").args(&["go"]).run()?.success();
    completed(cluster, job);
    let record = &site.wait_for_records(job, 1)?[0];
    // Once it is in the ledger that counts, and counts once. E, I, M and R make the score.
    let text = one_line(show(&[])?.success().stdout());
    assert!(text.contains(": completed"), "{text}");
    let sci = &record["sci"];
    let by_hand =
        (number(sci, "e_kwh") * number(sci, "i_g_per_kwh") + number(sci, "m_g")) / number(sci, "r");
    assert_within(number(sci, "g_per_r"), by_hand, 1e-9, "SCI");
    // The whole node for the time of the job, which is rounded to milliseconds, at 36 g/h; 2 l for each kWh at the meter, PUE 1.58.
    let (hours, kwh) =
        (number(record, "elapsed_s") / 3600.0, number(record, "energy_j.cpu") / 3.6e6 * 1.58);
    assert_within(number(record, "embodied_g"), 36.0 * hours, 1e-3, "embodied");
    assert_within(number(sci, "m_g"), 36.0 * hours, 1e-3, "M");
    assert_within(number(sci, "e_kwh"), kwh, 1e-6, "E");
    assert_within(number(record, "water_l"), 2.0 * kwh, 1e-6, "water");
    for part in ["with energy E ", "carbon intensity I 445 g/kWh, embodied M ", ", R 1 epoch"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}

#[test]
fn without_epochs_the_status_shows_the_value_at_the_time_limit() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive --time=10\n#SBATCH --carbontracker=update_interval:1\n\
         sleep 5\n{t} status\n",
        t = site.bin("ct-track").display()
    );
    let job = site.cluster.sbatch(user, &script)?;
    completed(&site.cluster, job);
    let out = output_of(&site, user, job);
    assert!(out.contains("for its time limit"), "{out}");
    let record = &site.wait_for_records(job, 1)?[0];
    let prediction = &record["prediction"];
    assert_eq!(prediction["by"], "time_limit", "{record:#}");
    // Ten minutes at 100 W.
    assert_within(number(prediction, "duration_s"), 600.0, 0.01, "time limit");
    assert_within(number(prediction, "energy_j"), 60_000.0, 0.02, "energy at the time limit");
    Ok(())
}
