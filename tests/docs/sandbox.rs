//! A directory in which the documents' commands run: a ledger of this month and the last one, logs,
//! a series of intensities, and a configuration that names them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::{Months, TimeDelta, Utc};
use ct_tests::artifact::built;

use crate::root;

/// What only another machine can answer: with these only the command line is judged.
const ELSEWHERE: [&str; 5] = ["intensity fetch", "--sacct", "publish", "check", "confirm"];

/// The directory, and the programs.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let bin = built("ct-report", "ct-report").expect("ct-report");
        built("ct-node", "ct-track").expect("ct-track");
        let bin = bin.parent().expect("it lies in a directory").to_owned();
        let sandbox = Self { dir: tempfile::tempdir().expect("a directory"), bin };
        sandbox.furnish();
        sandbox
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn furnish(&self) {
        let last_month = Utc::now().date_naive().checked_sub_months(Months::new(1));
        let from = last_month.expect("a month ago").format("%Y-%m").to_string();
        let args =
            ["--jobs", "400", "--nodes", "8", "--months", "2", "--users", "9", "--node-lines"];
        let made = Command::new(env!("CARGO_BIN_EXE_ct-ledger-gen"))
            .arg(self.path().join("ledger"))
            .args(args)
            .args(["--from", &from])
            .output()
            .expect("ct-ledger-gen runs");
        assert!(made.status.success(), "{made:?}");
        let logs = self.path().join("carbontracker");
        fs::create_dir(&logs).expect("a directory");
        let case = root().join("tests/fixtures/upstream/v231-live-dk/logs");
        for file in fs::read_dir(&case).expect("a case of the corpus").flatten() {
            fs::copy(file.path(), logs.join(file.file_name())).expect("a copy");
        }
        let hour = |n: i64| (Utc::now() + TimeDelta::hours(n)).format("%Y-%m-%dT%H:00:00Z");
        let line = |n: i64| format!("{},DE,100,x\n", hour(n));
        let lines: String = (-48..24).map(line).collect();
        self.write("intensity.csv", &format!("time,zone,g_per_kwh,source\n{lines}"));
        self.write("train.py", "print('Epoch 1/1')\n");
        self.write(
            "carbontracker.toml",
            &format!(
                "[ledger]\ndir = {:?}\n[carbon]\nzone = \"DE\"\nseries_file = {:?}\n",
                self.path().join("ledger"),
                self.path().join("intensity.csv")
            ),
        );
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("a file");
    }

    /// Runs each command that the text stands for: `a|b` are two.
    ///
    /// # Errors
    ///
    /// What was printed, where one does not end well.
    pub(crate) fn run(&self, text: &str) -> Result<(), String> {
        for command in alternatives(text) {
            // What is written is no file that others read.
            let forms = ["-o", "--pdf", "--html", "--svg"];
            let command = forms.iter().fold(command, |command, form| {
                command.replace(&format!("{form} FILE"), &format!("{form} written"))
            });
            let words: Vec<String> = words(&command).iter().map(|word| self.filled(word)).collect();
            self.run_words(&command, &words)?;
        }
        Ok(())
    }

    fn run_words(&self, command: &str, words: &[String]) -> Result<(), String> {
        let (program, args) = words.split_first().ok_or("no program")?;
        let mut run = Command::new(self.bin.join(program));
        run.current_dir(self.path()).args(args).env_remove("CARBONTRACKER_SOCKET");
        let has_ledger = args.iter().any(|arg| arg == "--ledger" || arg == "--config");
        let is_of_logs = ["parse", "aggregate", "check"].contains(&args.first().map_or("", |a| a));
        if program == "ct-report" && !has_ledger && !is_of_logs {
            run.args(["--config", "carbontracker.toml"]);
        }
        let output = run.output().map_err(|e| e.to_string())?;
        let is_elsewhere = ELSEWHERE.iter().any(|words| command.contains(words));
        judge(&output, is_elsewhere)
    }

    /// What a placeholder of the documents stands for.
    fn filled(&self, word: &str) -> String {
        match word {
            "PATH…" | "PATH" | "DIR" => "carbontracker".to_owned(),
            "FILE" | "intensity.csv" => "intensity.csv".to_owned(),
            "ID" | "JOBID" | "N" => "42".to_owned(),
            "CMD" => "true".to_owned(),
            "python" => "python3".to_owned(),
            path if path.starts_with("/srv/") || path.starts_with("/var/lib/prometheus/") => {
                let name = Path::new(path).file_name().unwrap_or_default();
                self.path().join(name).display().to_string()
            }
            word => word.to_owned(),
        }
    }
}

/// `ct-report intensity fetch|show` is two commands.
fn alternatives(text: &str) -> Vec<String> {
    let Some(word) = text.split(' ').find(|word| word.contains('|')) else {
        return vec![text.to_owned()];
    };
    word.split('|').map(|one| text.replace(word, one)).collect()
}

/// Words of a command: what is optional is taken, dots that stand for more are not.
fn words(command: &str) -> Vec<String> {
    let command = command.replace(['[', ']'], " ").replace(" … ", " ").replace(" …", " ");
    command.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned()).collect()
}

fn judge(output: &Output, is_elsewhere: bool) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stderr);
    // What clap says of a command line that is wrong.
    let is_wrong = said.contains("try '--help'") || said.contains("Usage:");
    if is_wrong || !(output.status.success() || is_elsewhere) {
        return Err(format!(
            "{}\n{}{said}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        ));
    }
    Ok(())
}
