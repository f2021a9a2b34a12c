//! The manual renders without a warning, mentions everything, and what is kept of it is current.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ct_core::config::keys::SECTIONS;
use ct_core::config::plugstack::ARGUMENTS;
use ct_core::option::KEYS;
use ct_manual::{completions, configuration, pages};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a file's part with what it is made of; with CT_UPDATE=1 writes it.
fn assert_current(path: &str, of_file: impl Fn(&str) -> String) {
    let path = root().join(path);
    let text = fs::read_to_string(&path).expect("the file is there");
    let expected = of_file(&text);
    if std::env::var_os("CT_UPDATE").is_some() {
        fs::write(&path, &expected).expect("the file can be written");
        return;
    }
    let hint = "hint: CT_UPDATE=1 cargo test -p ct-manual";
    assert!(text == expected, "{} is not what the table of keys makes; {hint}", path.display());
}

#[test]
fn shipped_files_are_made_from_the_table_of_keys() {
    assert_current("slurm-conf/carbontracker.toml", |_| configuration::carbontracker_toml());
    assert_current("slurm-conf/plugstack.conf.d/carbontracker.conf", |_| {
        configuration::plugstack_conf()
    });
}

#[test]
fn table_of_the_installation_is_made_from_the_table_of_keys() {
    assert_current("docs/INSTALL.md", |text| {
        let start = text.find("| key | default | meaning |").expect("the table's head");
        let end = start + text[start..].find("\n\n").expect("a blank line behind it") + 1;
        format!("{}{}{}", &text[..start], configuration::markdown_table(), &text[end..])
    });
}

/// Long options of a command and of those in it, with the name of the command's page.
fn options(command: &clap::Command, page: &str, found: &mut Vec<(String, String)>) {
    let longs = command.get_arguments().filter(|arg| !arg.is_hide_set());
    found.extend(longs.filter_map(|arg| Some((page.to_owned(), arg.get_long()?.to_owned()))));
    for inner in command.get_subcommands() {
        options(inner, &format!("{page}-{}", inner.get_name()), found);
    }
}

#[test]
fn pages_mention_every_option_and_every_key() {
    let pages = pages::all().unwrap();
    let text_of = |name: &str| {
        let page = pages.iter().find(|(file, _)| file.rsplit_once('.').unwrap().0 == name);
        page.unwrap_or_else(|| panic!("no page {name}")).1.replace("\\-", "-")
    };
    let mut found = Vec::new();
    options(&ct_node::noded::command(), "ct-noded", &mut found);
    options(&ct_node::track::command(), "ct-track", &mut found);
    options(&ct_report::command(), "ct-report", &mut found);
    assert!(found.contains(&("ct-report-usage".to_owned(), "starttime".to_owned())), "{found:?}");
    for (page, long) in found {
        assert!(text_of(&page).contains(&format!("--{long}")), "{page} lacks --{long}");
    }
    let conf = text_of("carbontracker.conf");
    let keys = SECTIONS.iter().flat_map(|s| s.keys).map(|key| key.name);
    let names = keys.chain(ARGUMENTS.iter().map(|a| a.name)).chain(KEYS.iter().map(|k| k.name));
    for name in names {
        assert!(conf.contains(&format!("\\fB{name}\\fR")), "carbontracker.conf(5) lacks {name}");
    }
}

#[test]
fn pages_render_without_a_warning() {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !is_there("groff") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in pages::all().unwrap() {
        if text.starts_with(".so ") {
            continue;
        }
        let path = dir.path().join(&name);
        fs::write(&path, text).unwrap();
        let groff = Command::new("groff")
            .args(["-ww", "-z", "-man", "-Tutf8", "-Kutf8"])
            .arg(&path)
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&groff.stderr);
        assert!(groff.status.success() && said.is_empty(), "{name}: {said}");
    }
}

#[test]
fn completions_are_taken_by_bash_and_complete_an_option() {
    let files = completions::all().unwrap();
    let (_, bash) = files.iter().find(|(name, _)| name == "completions/bash/ct-report").unwrap();
    let function = bash.split_once("()").expect("it begins with its function").0;
    let ask = format!(
        "COMP_WORDS=(ct-report usage --start); COMP_CWORD=2; \
         {function} ct-report --start usage; echo \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &format!("{bash}\n{ask}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--starttime\n", "{output:?}");
    assert!(bash.trim_end().ends_with("fi") && bash.contains(" default ct-report\n"), "{bash}");
    assert_eq!(files.len(), 9);
}
