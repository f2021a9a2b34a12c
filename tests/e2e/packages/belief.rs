//! What an upgrade takes over from the environment of a running ct-noded, which may have been written
//! by whoever runs as the service user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use ct_tests::e2e_is_possible;

const USUAL: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The user of nobody's files.
const NOBODY: u32 = 65534;

/// What a function of the packages' scripts gives.
fn call(function: &str, argument: &str) -> Result<String> {
    Ok(String::from_utf8(run(function, argument)?.stdout)?.trim_end().to_owned())
}

/// Runs a function of the packages' scripts.
fn run(function: &str, argument: &str) -> Result<Output> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/scripts/daemon.sh");
    let script = format!("set -e; . \"$1\"; {function} \"$2\"");
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(&scripts)
        .arg(argument)
        .current_dir("/")
        .output()?;
    ensure!(output.status.success(), "{function} {argument}: {output:?}");
    Ok(output)
}

/// A directory of root's, of everybody's, of nobody's, one of root's in that, and a link to the first.
fn make_places(dir: &Path) -> Result<()> {
    for name in ["own", "open", "theirs", "theirs/own"] {
        fs::create_dir(dir.join(name))?;
        fs::set_permissions(dir.join(name), Permissions::from_mode(0o755))?;
        let conf = dir.join(name).join("slurm.conf");
        fs::write(&conf, "")?;
        fs::set_permissions(&conf, Permissions::from_mode(0o644))?;
    }
    fs::set_permissions(dir.join("open"), Permissions::from_mode(0o777))?;
    chown(dir.join("theirs"), Some(NOBODY), Some(NOBODY))?;
    Ok(symlink(dir.join("own"), dir.join("link"))?)
}

#[test]
fn an_upgrade_believes_no_place_that_anybody_but_root_can_change() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    make_places(dir.path())?;
    let at = |name: &str| dir.path().join(name).display().to_string();
    for (name, is_believed) in
        [("own", true), ("link", true), ("open", false), ("theirs", false), ("theirs/own", false)]
    {
        let expected = format!("{USUAL}:{}", at("own"));
        let expected = if is_believed { expected.as_str() } else { USUAL };
        let path = format!("/usr/bin:{}::{}:/no/such", at(name), at(name));
        assert_eq!(call("search_path", &path)?, expected, "{name}");
        let expected = if is_believed { at("own/slurm.conf") } else { String::new() };
        let conf = at(&format!("{name}/slurm.conf"));
        assert_eq!(call("slurm_conf", &conf)?, expected, "{name}");
    }
    assert_eq!(call("search_path", "")?, USUAL);
    // Everybody's file in a directory of root's.
    let conf = dir.path().join("own/slurm.conf");
    fs::set_permissions(&conf, Permissions::from_mode(0o666))?;
    for path in [conf.display().to_string(), at("none"), at("own"), String::new()] {
        assert_eq!(call("slurm_conf", &path)?, "", "{path}");
    }
    Ok(())
}

#[test]
fn what_an_upgrade_does_not_take_over_is_named() -> Result<()> {
    let said = |function: &str, value: &str| -> Result<String> {
        Ok(String::from_utf8(run(function, value)?.stderr)?)
    };
    let dropped = |what: &str| {
        let why = "it is not there, or others than root can write it";
        format!("carbontracker: ct-noded goes on without {what}: {why}\n")
    };
    // Control characters of a process's environment do not reach the terminal.
    assert_eq!(said("slurm_conf", "/no/\x1b[31msuch\n")?, dropped("SLURM_CONF=/no/[31msuch"));
    assert_eq!(said("search_path", "/usr/bin:/var/tmp:/no/such")?, dropped("/var/tmp of its PATH"));
    assert_eq!(said("search_path", "/usr/bin")? + &said("slurm_conf", "")?, "");
    Ok(())
}

#[test]
fn a_variable_of_a_running_process_is_read_as_it_is() -> Result<()> {
    let mut sleep = Command::new("sleep");
    sleep.arg("60").env_clear().env("SLURM_CONF", "/a b/$(id);c").env("XSLURM_CONF", "no");
    let mut process = sleep.stdin(Stdio::null()).spawn().context("sleep")?;
    let function = format!("variable {}", process.id());
    let seen = (call(&function, "SLURM_CONF"), call(&function, "PATH"));
    process.kill()?;
    process.wait()?;
    assert_eq!((seen.0?.as_str(), seen.1?.as_str()), ("/a b/$(id);c", ""));
    Ok(())
}
