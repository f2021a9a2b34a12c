//! The shipped unit, as systemd judges it; the guest of tests/e2e/vm.rs runs under it.

use std::path::Path;
use std::process::Command;

/// What docs/SECURITY.md states, with room for another release of systemd.
const MOST_EXPOSED: f64 = 3.5;

#[test]
fn the_unit_is_confined_as_the_document_says() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../slurm-conf/systemd/ct-noded.service");
    let args = ["--no-pager", "security", "--offline=yes"];
    let Ok(output) = Command::new("systemd-analyze").args(args).arg(&unit).output() else {
        // The unit is judged in the virtual machine, too (tests/e2e/vm.rs).
        ct_tests::say_skipped("test of the unit skipped: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let figure = said.split("exposure level for ct-noded.service: ").nth(1);
    let Some(figure) = figure.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok()) else {
        let text = "test of the unit skipped: this systemd-analyze does not judge files";
        ct_tests::say_skipped(text);
        return;
    };
    assert!(figure <= MOST_EXPOSED, "{figure}, expected at most {MOST_EXPOSED}:\n{said}");
}
