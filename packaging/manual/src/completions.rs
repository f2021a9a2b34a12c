//! Completions for bash, zsh and fish.

use anyhow::Result;
use clap::Command;
use clap_complete::{Shell, generate};

/// Every file with its path below the directory of the manual: `completions/bash/ct-report`.
///
/// # Errors
///
/// Where a text is not UTF-8, which clap does not write.
pub fn all() -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for mut command in programs() {
        let name = command.get_name().to_owned();
        files.push((format!("completions/bash/{name}"), bash(&mut command, &name)?));
        for (shell, file) in [
            (Shell::Zsh, format!("completions/zsh/_{name}")),
            (Shell::Fish, format!("completions/fish/{name}.fish")),
        ] {
            let mut text = Vec::new();
            generate(shell, &mut command, &name, &mut text);
            files.push((file, String::from_utf8(text)?));
        }
    }
    Ok(files)
}

/// clap_complete 4.6 gives the branches of a command with a hyphen in its name two different names,
/// so it is told one without, and the last lines, which say whose completion it is, are set right.
fn bash(command: &mut Command, name: &str) -> Result<String> {
    let plain = name.replace('-', "_");
    let mut text = Vec::new();
    generate(Shell::Bash, command, &plain, &mut text);
    let text = String::from_utf8(text)?;
    let lines = text.lines().map(|line| match line.strip_suffix(&plain) {
        Some(rest) if rest.trim_start().starts_with("complete -F") => format!("{rest}{name}\n"),
        _ => format!("{line}\n"),
    });
    Ok(lines.collect())
}

fn programs() -> [Command; 3] {
    [ct_node::noded::command(), ct_node::track::command(), ct_report::command()]
}
