//! Command line of ct-track.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ct_core::config::YesNo;
use ct_core::option::{EpochBy, KEYS, OptionSet};

use super::{confirm, marks, run, watch};
use crate::outputs;

/// Runs ct-track.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("epoch", sub)) => match sub.subcommand() {
            Some(("start", _)) => marks::epoch_start(),
            _ => marks::epoch_end(),
        },
        Some(("stop", _)) => marks::stop(),
        Some(("status", sub)) => {
            marks::status(sub.get_one::<u32>("job").copied(), sub.get_flag("json"))
        }
        Some(("confirm", sub)) => {
            let is_yes = sub.get_one::<String>("answer").is_some_and(|a| a.starts_with('y'));
            let answer = if is_yes { YesNo::Y } else { YesNo::N };
            confirm::confirm(answer, sub.get_one::<u32>("job").copied())
        }
        Some(("watch", sub)) => watch::watch(sub.get_one::<i32>("pid").copied().unwrap_or(0)),
        Some(("run", sub)) => run_command(sub),
        _ => ExitCode::from(2),
    }
}

fn run_command(sub: &ArgMatches) -> ExitCode {
    let mut set = OptionSet::default();
    for key in KEYS {
        let Some(value) = sub.get_one::<String>(key.name) else { continue };
        if let Err(e) = set.set(key.name, value) {
            return usage(&e.to_string());
        }
    }
    if let Err(e) = check(&set) {
        return usage(&e);
    }
    if sub.get_one::<String>("api_keys").is_some() {
        let instead = "ct-report intensity fetch";
        super::client::say(&format!(
            "--api_keys is not used: live intensity is what \"{instead}\" has put in the series file"
        ));
    }
    let command: Vec<OsString> =
        sub.get_many::<OsString>("command").unwrap_or_default().cloned().collect();
    let config = sub.get_one::<PathBuf>("config");
    run::run(&set, config.map(PathBuf::as_path), &command)
}

/// What the option's own grammar allows, and what a command without Slurm has.
fn check(set: &OptionSet) -> Result<(), String> {
    let settings = set.check().map_err(|e| e.to_string())?;
    match settings.epoch_by {
        EpochBy::Mark => Ok(()),
        EpochBy::Step => Err("epoch_by is \"step\", expected mark or pattern: a command without \
                              Slurm has no steps"
            .to_owned()),
        EpochBy::Pattern => {
            outputs::compile(&settings.epoch_pattern).map(drop).map_err(|e| e.to_string())
        }
    }
}

fn usage(message: &str) -> ExitCode {
    super::client::say(message);
    ExitCode::from(2)
}

/// The whole command line, for the manual and for shells.
pub fn command() -> Command {
    Command::new("ct-track")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Marks epochs of a job, shows how it stands, or measures a command without Slurm")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("epoch")
                .about("Mark the start or the end of an epoch of this job")
                .subcommand_required(true)
                .subcommand(Command::new("start").about("Mark the start of an epoch"))
                .subcommand(Command::new("end").about(
                    "Mark the end of an epoch; print the prediction and consumption when due",
                )),
        )
        .subcommand(Command::new("stop").about("End the monitoring of epochs before all are done"))
        .subcommand(
            Command::new("status")
                .about("Show how a job of yours stands on this node")
                .arg(
                    Arg::new("job")
                        .value_name("JOBID")
                        .value_parser(value_parser!(u32))
                        .help("Job id; this job if left out"),
                )
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print the reply as JSON"),
                ),
        )
        .subcommand(
            Command::new("confirm")
                .about("Answer the question of a job of yours that waits (stop_and_confirm)")
                .arg(
                    Arg::new("answer")
                        .value_name("y|n")
                        .required(true)
                        .value_parser(["y", "yes", "n", "no"])
                        .hide_possible_values(true)
                        .help("y: it goes on; n: it ends"),
                )
                .arg(
                    Arg::new("job")
                        .value_name("JOBID")
                        .value_parser(value_parser!(u32))
                        .help("Job id; this job if left out"),
                ),
        )
        .subcommand(
            Command::new("watch")
                .about("End the job when it has passed its budget; started by the plugin")
                .hide(true)
                .arg(Arg::new("pid").required(true).value_parser(value_parser!(i32))),
        )
        .subcommand(run_subcommand())
}

fn run_subcommand() -> Command {
    let mut run = Command::new("run").about("Measure a command; its exit status is kept").arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Read this configuration instead of /etc/carbontracker/carbontracker.toml"),
    );
    for key in KEYS {
        // Upstream's parameters keep their names; dashes are taken as well.
        run = run.arg(
            Arg::new(key.name)
                .long(key.name)
                .alias(key.name.replace('_', "-"))
                .value_name("VALUE")
                .allow_hyphen_values(true)
                .help(format!("{} [default: {}]", key.help, key.default)),
        );
    }
    run = run.arg(
        Arg::new("api_keys")
            .long("api_keys")
            .alias("api-keys")
            .value_name("DICT")
            .help("Taken and not used: keys are given to ct-report intensity fetch"),
    );
    run.arg(
        Arg::new("command")
            .value_name("COMMAND")
            .required(true)
            .num_args(1..)
            .trailing_var_arg(true)
            .value_parser(value_parser!(OsString))
            .help("Command to run, after --"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_own_options_are_its_own() {
        command().debug_assert();
        let matches = command()
            .try_get_matches_from([
                "ct-track",
                "run",
                "--epochs",
                "3",
                "python",
                "x.py",
                "--log_dir",
                "z",
            ])
            .unwrap();
        let (_, sub) = matches.subcommand().unwrap();
        let words: Vec<&OsString> = sub.get_many::<OsString>("command").unwrap().collect();
        assert_eq!(words, ["python", "x.py", "--log_dir", "z"]);
        assert_eq!(sub.get_one::<String>("epochs").map(String::as_str), Some("3"));
        assert_eq!(sub.get_one::<String>("log_dir"), None);
    }
    #[test]
    fn an_option_that_does_not_exist_is_not_run_as_the_command() {
        let parse =
            |words: &[&str]| command().try_get_matches_from([&["ct-track", "run"], words].concat());
        let error = parse(&["--epoch", "3", "--", "true"]).unwrap_err().to_string();
        assert!(error.contains("unexpected argument '--epoch'"), "{error}");
        assert!(error.contains("--epochs"), "{error}");
        for words in [&["--", "-odd", "-x"][..], &["sh", "-c", "true"]] {
            let matches = parse(words).unwrap();
            let (_, sub) = matches.subcommand().unwrap();
            let seen: Vec<&OsString> = sub.get_many::<OsString>("command").unwrap().collect();
            assert_eq!(seen, words.iter().filter(|w| **w != "--").collect::<Vec<_>>());
        }
    }
}
