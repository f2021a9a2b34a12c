//! Every command in the documents is run, or where running makes no sense held against what it
//! names: flags of ours against the real command line, files against the repository, packages
//! against those that the tests install.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use ct_core::config::Config;

use crate::sandbox::Sandbox;
use crate::{documents, read, root};

/// A command, and where it stands.
#[derive(Debug)]
struct Example {
    place: String,
    text: String,
}

/// Documents whose indented lines are commands, or configuration: an unknown word there is a mistake.
const GUIDES: [&str; 5] = [
    "README.md",
    "docs/INSTALL.md",
    "docs/SQL.md",
    "docs/TROUBLESHOOTING.md",
    "docs/CONTRIBUTING.md",
];

/// Programs of others, whose words are not ours to check.
const OTHERS: [&str; 15] = [
    "apptainer",
    "apt",
    "apt-get",
    "dnf",
    "echo",
    "journalctl",
    "rm",
    "scancel",
    "scontrol",
    "systemctl",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "tail",
    "useradd",
    "sed",
];

/// Lines that are indented, or in a block of shell, of the documents but the changelog.
fn lines() -> Vec<Example> {
    let mut found = Vec::new();
    for (path, text) in documents().into_iter().filter(|(path, _)| path != "CHANGELOG.md") {
        let mut fence = None;
        for (number, line) in text.lines().enumerate() {
            if let Some(kind) = line.strip_prefix("```") {
                fence = if fence.is_some() { None } else { Some(kind.trim().to_owned()) };
                continue;
            }
            // Diagrams are indented, too.
            let indented =
                line.strip_prefix("    ").filter(|l| !l.starts_with(' ') && !l.contains('─'));
            let command = match fence.as_deref() {
                None => indented,
                Some("sh" | "bash") => Some(line),
                Some(_) => None,
            };
            let place = format!("{path}:{}", number + 1);
            found.extend(command.map(|text| Example { place, text: text.to_owned() }));
        }
    }
    found
}

/// Commands of ours in the text between backticks.
fn spans() -> Vec<Example> {
    let mut found = Vec::new();
    for (path, text) in documents().into_iter().filter(|(path, _)| path != "CHANGELOG.md") {
        for (number, line) in text.lines().enumerate() {
            for span in line.split('`').skip(1).step_by(2) {
                let is_ours =
                    ["ct-report ", "ct-track "].iter().any(|start| span.starts_with(start));
                // Where any key is meant, or what follows an option is left out.
                let is_pattern = span.contains("KEY") || span.ends_with('…');
                if is_ours && !is_pattern {
                    let place = format!("{path}:{}", number + 1);
                    // A command by its name alone is spoken of, not called.
                    let is_name = span.split(' ').count() == 2;
                    let text = format!("{span}{}", if is_name { " --help" } else { "" });
                    found.push(Example { place, text });
                }
            }
        }
    }
    found
}

/// Without the comment behind it.
fn without_comment(line: &str) -> &str {
    line.split("   #").next().unwrap_or(line).split("  # ").next().unwrap_or(line).trim()
}

/// The first word that is no variable.
fn program(command: &str) -> &str {
    command.split(' ').find(|word| !word.contains('=') || word.starts_with('-')).unwrap_or_default()
}

#[test]
fn every_command_of_ours_runs_as_it_is_written() {
    let sandbox = Sandbox::new();
    let (mut n_run, mut wrong) = (0, Vec::new());
    for example in lines().iter().chain(&spans()) {
        for command in without_comment(&example.text).split(" && ") {
            if ["ct-report", "ct-track"].contains(&program(command)) {
                if let Err(error) = sandbox.run(command) {
                    wrong.push(format!("{}: {command}: {error}", example.place));
                }
                n_run += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(n_run > 25, "{n_run} commands were found");
}

#[test]
fn every_option_of_a_job_is_accepted() {
    let mut n = 0;
    for (path, text) in documents() {
        for (number, line) in text.lines().enumerate() {
            for rest in line.split("--carbontracker=").skip(1) {
                let value = rest.split([' ', '`', '\'', '"', ')']).next().unwrap_or_default();
                let value = value.trim_end_matches(['.', ':', ',']);
                // Where the text speaks of any option, or of one that is refused.
                let is_example =
                    !value.is_empty() && !value.contains('…') && !value.contains("KEY");
                let is_refused = path.ends_with("TROUBLESHOOTING.md");
                if is_example && !is_refused {
                    let parsed = ct_core::option::parse(value);
                    assert!(parsed.is_ok(), "{path}:{}: {value:?}: {parsed:?}", number + 1);
                    n += 1;
                }
            }
        }
    }
    assert!(n > 5, "{n} options were found");
}

#[test]
fn other_commands_name_what_there_is() {
    let mut wrong = Vec::new();
    for example in lines() {
        let is_guide = GUIDES.iter().any(|guide| example.place.starts_with(guide));
        for command in without_comment(&example.text).split(" && ") {
            match check(command) {
                Some(Err(error)) => wrong.push(format!("{}: {command}: {error}", example.place)),
                None if is_guide => wrong.push(format!("{}: what is {command:?}?", example.place)),
                Some(Ok(())) | None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a command names what there is; `None` where it is no command that is known here.
fn check(command: &str) -> Option<Result<(), String>> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let found = match program(command) {
        // These are run, or their options are checked above.
        "ct-report" | "ct-track" | "ct-noded" | "#SBATCH" | "srun" | "sbatch" | "salloc" => Ok(()),
        "install" => installed_files_exist(&words),
        "cargo" => cargo_names_exist(&words),
        "apt-get" => packages_are_those_of_the_tests(&words),
        "systemctl" => units_exist(&words),
        name if OTHERS.contains(&name) => Ok(()),
        name if ["tests/", ".ci/", "packaging/"].iter().any(|dir| name.starts_with(dir)) => {
            is_executable(name)
        }
        // Configuration: of Slurm, of ours, a series of intensities.
        _ if is_configuration(command) => Ok(()),
        _ => return None,
    };
    Some(found)
}

fn is_configuration(line: &str) -> bool {
    let key = line.split('=').next().unwrap_or_default().trim();
    let is_key = line.contains('=') && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_series = line.starts_with("time,zone,") || line.starts_with("2026-");
    is_key
        || is_series
        || line.starts_with("optional ")
        || line.starts_with("include ")
        || (line.starts_with('[') && line.ends_with(']'))
}

fn is_executable(path: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let meta = fs::metadata(root().join(path)).map_err(|e| e.to_string())?;
    if meta.permissions().mode() & 0o111 == 0 { Err("not executable".to_owned()) } else { Ok(()) }
}

/// Names of the workspace's packages and programs, from its manifests.
fn names_in_manifests() -> BTreeSet<String> {
    let manifests = ["ct-core", "ct-node", "ct-report", "spank-plugin", "tests"];
    let mut names = BTreeSet::new();
    for manifest in manifests {
        let text = read(&format!("{manifest}/Cargo.toml"));
        let lines = text.lines().filter_map(|l| l.strip_prefix("name = "));
        names.extend(lines.map(|name| name.trim_matches('"').to_owned()));
    }
    let bins = fs::read_dir(root().join("ct-node/src/bin")).expect("programs").flatten();
    let stem = |e: fs::DirEntry| e.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
    names.extend(bins.map(stem));
    names
}

fn installed_files_exist(words: &[&str]) -> Result<(), String> {
    for word in words {
        if let Some(built) = word.strip_prefix("target/release/") {
            let name = built.trim_start_matches("lib").trim_end_matches(".so");
            if !names_in_manifests().contains(name) {
                return Err(format!("nothing builds {word}"));
            }
        } else if word.starts_with("slurm-conf/") {
            let (dir, pattern) = word.rsplit_once('/').unwrap_or(("", word));
            let start = pattern.split('*').next().unwrap_or(pattern);
            let mut files = fs::read_dir(root().join(dir)).map_err(|e| e.to_string())?.flatten();
            let is_it = |name: &str| {
                if pattern.contains('*') { name.starts_with(start) } else { name == pattern }
            };
            if !files.any(|file| is_it(&file.file_name().to_string_lossy())) {
                return Err(format!("{word} does not exist"));
            }
        }
    }
    Ok(())
}

fn cargo_names_exist(words: &[&str]) -> Result<(), String> {
    let names = names_in_manifests();
    for pair in words.windows(2) {
        let is_name = ["-p", "--package", "--test", "--bin"].contains(&pair[0]);
        let is_known =
            names.contains(pair[1]) || root().join("ct-report/tests").join(pair[1]).is_dir();
        if is_name && !is_known {
            return Err(format!("{} is no package, program or test", pair[1]));
        }
    }
    Ok(())
}

fn packages_are_those_of_the_tests(words: &[&str]) -> Result<(), String> {
    let installed = read("tests/install-deps.sh");
    let is_package =
        |word: &&&str| !word.starts_with('-') && !["apt-get", "install"].contains(word);
    for package in words.iter().filter(is_package) {
        // Debian's libclang1 is the libclang1-N of its release.
        let is_it = |word: &str| {
            let rest = word.strip_prefix(*package);
            let is_number = |n: &str| n.bytes().all(|b| b.is_ascii_digit());
            rest.is_some_and(|r| r.is_empty() || r.strip_prefix('-').is_some_and(is_number))
        };
        if !installed.split([' ', '\n', '"', '=']).any(is_it) {
            return Err(format!("{package} is not in tests/install-deps.sh"));
        }
    }
    Ok(())
}

fn units_exist(words: &[&str]) -> Result<(), String> {
    for unit in words.iter().filter(|word| word.starts_with("ct-")) {
        let file = if unit.contains('.') { (*unit).to_owned() } else { format!("{unit}.service") };
        if !root().join("slurm-conf/systemd").join(&file).is_file() {
            return Err(format!("slurm-conf/systemd/{file} does not exist"));
        }
    }
    Ok(())
}

#[test]
fn configuration_in_the_documents_is_accepted() {
    let mut n = 0;
    for (path, text) in documents() {
        for block in text.split("\n\n") {
            let lines = block.lines().map(|line| line.strip_prefix("    "));
            let Some(lines) = lines.collect::<Option<Vec<_>>>() else { continue };
            if lines.first().is_some_and(|line| line.starts_with('[') && line.ends_with(']')) {
                let parsed = Config::parse(&lines.join("\n"), Path::new(&path));
                assert!(parsed.is_ok(), "{path}: {lines:#?}: {parsed:?}");
                n += 1;
            }
            if lines.first().is_some_and(|line| line.starts_with("time,zone,")) {
                let (points, skipped) = ct_core::carbon::series::parse(&lines.join("\n"));
                assert!(
                    points.len() + 1 == lines.len() && skipped.is_empty(),
                    "{path}: {lines:#?}"
                );
                n += 1;
            }
        }
    }
    assert!(n >= 2, "{n} blocks were found");
}

#[test]
fn units_call_our_programs_as_they_can_be_called() {
    let sandbox = Sandbox::new();
    for file in fs::read_dir(root().join("slurm-conf/systemd")).expect("units").flatten() {
        let text = fs::read_to_string(file.path()).expect("a unit");
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/")) {
            sandbox.run(line).unwrap_or_else(|e| panic!("{}: {line}: {e}", file.path().display()));
        }
    }
    // The program that the daemon's unit starts knows its flag.
    let noded = ct_tests::artifact::built("ct-node", "ct-noded").expect("ct-noded");
    let help = Command::new(noded).arg("--help").output().expect("ct-noded runs");
    assert!(String::from_utf8_lossy(&help.stdout).contains("--foreground"));
}
