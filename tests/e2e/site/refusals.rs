//! Options that are refused before anything is queued.

use anyhow::Result;
use ct_tests::{Site, e2e_is_possible};

/// An option, and what the refusal has to say.
const REFUSED: &[(&str, &[&str])] = &[
    ("epoch:3", &["unknown key \"epoch\"", "did you mean \"epochs\"?", "known keys: epochs"]),
    ("epochs:0", &["epochs is \"0\"", "a whole number from 1"]),
    ("epochs:abc", &["epochs is \"abc\"", "a whole number from 1"]),
    ("monitor_epochs:0", &["monitor_epochs is \"0\"", "or -1 (all epochs)"]),
    ("components:tpu", &["components is \"tpu\"", "all, cpu, gpu or gpu+cpu"]),
    ("update_interval:-1", &["update_interval is \"-1\"", "seconds from 0.1 to 3600"]),
    ("log_dir:a\u{1b}[2Jb", &["log_dir is \"a\\u{1b}[2Jb\"", "without control characters"]),
    ("max_energy:-3", &["max_energy is \"-3\"", "a number of kWh above 0"]),
    ("max_co2:NaN", &["max_co2 is \"NaN\"", "a number of grams above 0"]),
    ("epoch_pattern:Epoch (", &["epoch_pattern is \"Epoch (\"", "a closing ) for each ("]),
    ("epoch_by:step,stop_and_confirm:true", &["stop_and_confirm is", "expected epoch_by:mark"]),
];

#[test]
fn option_that_is_not_allowed_is_refused_before_the_job_is_queued() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let long = format!("log_dir:{}", "x".repeat(10_000));
    let long_says: &[&str] = &["log_dir is 10000 bytes long", "at most 1024"];
    let refused = REFUSED.iter().copied().chain([(long.as_str(), long_says)]);
    for (option, says) in refused {
        let option = format!("--carbontracker={option}");
        for (program, rest) in [("sbatch", "--wrap=true"), ("srun", "true"), ("salloc", "true")] {
            let output = cluster.command(user, program).args(&[&option, rest]).run()?;
            assert!(!output.is_success(), "{program} took {option}: {output}");
            for part in says {
                assert!(output.stderr().contains(part), "{program}: lacks {part:?}: {output}");
            }
            // Slurm repeats the argument as it is; our own line must not.
            let ours =
                output.stderr().lines().find(|l| l.contains("expected") || l.contains("known"));
            assert!(ours.is_some_and(|l| !l.contains('\u{1b}')), "{output}");
        }
    }
    let queue = cluster.squeue(&["-h", "-t", "all"])?;
    assert_eq!(queue.stdout(), "", "something was queued");
    Ok(())
}

/// A line of the configuration, and what its refusal has to say.
const REFUSED_AT_START: &[(&str, &[&str])] = &[
    ("[carbon]\ncountry = \"Denmrak\"", &["carbon.country is \"Denmrak\"", "\"DK\""]),
    ("[carbon]\nseries_file = \"/x.csv\"", &["carbon.series_file", "carbon.zone"]),
    ("[carbon.fetch]\nprovider = \"electricitymaps\"", &["carbon.fetch.token_file"]),
    (
        "[carbon]\nzone = \"DK3\"\nseries_file = \"/x\"\n[carbon.fetch]\nprovider = \"energidataservice\"",
        &["carbon.zone is \"DK3\"", "\"DK1\""],
    ),
    ("[track.options]\nepoch_pattern = \"(\"", &["track.options.epoch_pattern", "a closing )"]),
    ("[track.options]\nmax_co2 = -1", &["track.options.max_co2 is \"-1\"", "grams above 0"]),
    ("[budget.account.physics]\nenergy_kwh = 0", &["energy_kwh is 0", "a number above 0"]),
];

#[test]
fn a_daemon_whose_configuration_is_wrong_does_not_start_and_says_how_to_mend_it() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let noded = ct_tests::artifact::built("ct-node", "ct-noded")?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("c.toml");
    for (text, says) in REFUSED_AT_START {
        std::fs::write(&file, text)?;
        let output = std::process::Command::new("timeout")
            .arg("20")
            .arg(&noded)
            .args(["--node", "n1", "--config"])
            .arg(&file)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.status.code() != Some(124), "{text}: {said}");
        for part in *says {
            assert!(said.contains(part), "{text}: lacks {part:?}: {said}");
        }
    }
    Ok(())
}

const HELP_OF_SBATCH: [&str; 2] = ["--carbontracker=help", "--wrap=true"];

#[test]
fn help_names_every_key_and_queues_nothing() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    // sbatch alone would read a script from its standard input first.
    for (program, args) in [("srun", &["--carbontracker=help"][..]), ("sbatch", &HELP_OF_SBATCH)] {
        let output = site.cluster.command(user, program).args(args).run()?;
        let text = format!("{}{}", output.stdout_unchecked(), output.stderr());
        for key in ["epochs", "monitor_epochs", "log_dir", "on_budget"] {
            assert!(text.contains(key), "{output}");
        }
    }
    assert_eq!(site.cluster.squeue(&["-h", "-t", "all"])?.stdout(), "");
    Ok(())
}
