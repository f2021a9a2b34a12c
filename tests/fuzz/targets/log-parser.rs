//! A pair of logs: the first byte of the input says where the standard log ends.
#![no_main]

use ct_core::log::parser::{Run, parse_output, parse_standard};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((at, logs)) = bytes.split_first() else { return };
    let (standard, output) = logs.split_at(logs.len() * usize::from(*at) / 256);
    let run = Run::new(parse_standard(standard), parse_output(output));
    for counted in run.counted() {
        assert!(counted.block.line >= 1);
    }
    for session in &run.standard.sessions {
        // May be NaN, must not panic.
        let _ = (session.energy_kwh(true), session.energy_kwh(false));
    }
    let lines = |log: &[u8]| log.split(|b| *b == b'\n').count();
    assert!(run.standard.skipped.iter().all(|s| s.line >= 1 && s.line <= lines(standard)));
    assert!(run.output.skipped.iter().all(|s| s.line >= 1 && s.line <= lines(output)));
});
