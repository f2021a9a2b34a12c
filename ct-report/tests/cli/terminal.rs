//! Tables on a terminal of a known width, which `script` of util-linux plays.

use std::path::Path;
use std::process::Command;

use crate::fixtures;

/// What is shown by a terminal of so many columns; standard error is shown there, too.
fn shown(columns: u32, args: &str) -> Option<Vec<String>> {
    if !Path::new("/usr/bin/script").exists() {
        return None;
    }
    let program = env!("CARGO_BIN_EXE_ct-report");
    let line = format!("stty cols {columns}; {program} usage --ledger ledger/v1 {args}");
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(fixtures())
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| line.trim_end().to_owned()).collect())
}

#[test]
fn a_table_fits_the_terminal_and_says_what_it_leaves_out() {
    let Some(lines) = shown(60, "--by user,month") else { return };
    // 7.2 MJ of bob's are the greatest: 2 kWh; 960 g stay below a kilogram.
    let table = [
        " user  month    jobs  energy [kWh]  co2e [g]  measured_share",
        " bob   2026-10     1         2.000     960.0           0.750",
        " eva   2026-09     1         0.333     160.0           1.000",
        " eva   2026-10     2         0.667     320.5           1.000",
    ];
    assert_eq!(lines[..4], table);
    assert!(lines.iter().all(|line| line.starts_with("note: ") || line.len() <= 60));
    assert!(
        lines[4].starts_with("note: left out, as the terminal is narrow: elapsed_h, "),
        "{lines:#?}"
    );
    assert!(lines[4].ends_with("; --csv has all columns"), "{lines:#?}");
}

#[test]
fn columns_that_are_asked_for_are_shown_on_any_terminal() {
    let Some(lines) = shown(30, "-o user,energy_kwh,dram_kwh,coverage") else { return };
    assert_eq!(lines[0], " user  energy [kWh]  dram [kWh]  coverage");
    let Some(lines) = shown(1000, "-o all") else { return };
    assert!(lines[0].contains("sci_g_per_job") && lines[0].contains("embodied ["), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("note")), "{lines:#?}");
}
