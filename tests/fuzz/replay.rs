//! Every input kept of fuzzing, seeds and those that failed once, run again.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod checks;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs the inputs of a target; says how many there were.
fn replay(target: &str, check: fn(&[u8])) -> usize {
    let kept = ["seeds", "crashes"].map(|kind| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target);
        let inputs = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
        inputs.collect::<Vec<_>>()
    });
    for input in kept.iter().flatten() {
        let started = Instant::now();
        check(&fs::read(input).unwrap());
        let taken = started.elapsed();
        assert!(taken < Duration::from_secs(5), "{}: {taken:?}", input.display());
    }
    kept.iter().flatten().count()
}

#[test]
fn inputs_that_failed_once_fail_no_more() {
    assert!(replay("log-parser", checks::log_parser) >= 3);
    assert!(replay("ledger-line", checks::ledger_line) >= 2);
    assert!(replay("option-string", checks::option_string) >= 3);
    assert!(replay("protocol-message", checks::protocol_message) >= 3);
    assert!(replay("config", checks::config) >= 3);
    assert!(replay("series-file", checks::series_file) >= 3);
    assert!(replay("framing", checks::framing) >= 3);
}
