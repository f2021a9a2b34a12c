//! ct-manual DIR: writes the man pages to DIR/man and the completions to DIR/completions.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

#[expect(clippy::print_stderr, reason = "a build step says what is wrong")]
fn main() -> ExitCode {
    let written = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .context("usage: ct-manual DIR")
        .and_then(|dir| write(&dir));
    written.map_or_else(
        |error| {
            eprintln!("ct-manual: {error:#}");
            ExitCode::from(2)
        },
        |()| ExitCode::SUCCESS,
    )
}

fn write(dir: &std::path::Path) -> Result<()> {
    let files =
        ct_manual::pages::all()?.into_iter().map(|(name, text)| (format!("man/{name}"), text));
    let completions = ct_manual::completions::all()?;
    for (name, text) in files.chain(completions) {
        let path = dir.join(&name);
        std::fs::create_dir_all(path.parent().context("a file without a directory")?)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
