//! What must hold for whatever bytes come: one function a fuzz target, each panics where it does
//! not. The targets call them on libFuzzer's inputs, a test on every input that is kept.

use std::path::Path;

use ct_core::carbon::series;
use ct_core::config::Config;
use ct_core::ledger::reader::{BriefEntry, Briefs, Entries, Entry, parse_record};
use ct_core::log::parser::{Run, parse_output, parse_standard, sum_standard};
use ct_core::option::{self, Choice, Settings};
use ct_core::protocol::{Inbox, MAX_MESSAGE, MOST_HANDLES, parse_reply, parse_request, to_line};
use ct_core::record::Brief;

/// A pair of logs: the first byte says where in the rest the standard log ends.
pub(crate) fn log_parser(bytes: &[u8]) {
    let Some((at, logs)) = bytes.split_first() else { return };
    let (standard, output) = logs.split_at(logs.len() * usize::from(*at) / 256);
    let run = Run::new(parse_standard(standard), parse_output(output));
    for counted in run.counted() {
        assert!(run.output.blocks.contains(counted.block) || counted.block.energy_kwh.is_nan());
    }
    let sums = sum_standard(standard);
    assert_eq!(sums.skipped, run.standard.skipped);
    assert_eq!(sums.sessions.len(), run.standard.sessions.len());
    for (sum, session) in sums.sessions.iter().zip(&run.standard.sessions) {
        let bits = |is_all: bool| [sum, session].map(|s| s.energy_kwh(is_all).to_bits());
        assert!([false, true].map(bits).iter().all(|[a, b]| a == b));
        assert_eq!((sum.epochs.len(), sum.end), (0, session.end));
    }
    let n_lines = |log: &[u8]| log.split(|b| *b == b'\n').count();
    let is_in = |n: usize| move |line: &usize| (1..=n).contains(line);
    assert!(run.standard.skipped.iter().map(|s| &s.line).all(is_in(n_lines(standard))));
    assert!(run.output.skipped.iter().map(|s| &s.line).all(is_in(n_lines(output))));
}

/// A ledger file: what is read as a record is read again from what it writes, and briefs say what
/// records say.
pub(crate) fn ledger_line(bytes: &[u8]) {
    let mut n_jobs = 0_i64;
    for entry in Entries::new(bytes) {
        match entry {
            Ok(Entry::Job(record)) => {
                n_jobs += 1;
                let line = record.to_line().expect("a record that was read can be written");
                let again = Entries::new(line.as_bytes()).next();
                let Some(Ok(Entry::Job(again))) = again else { panic!("not read again: {line}") };
                assert_eq!(again.energy_j, record.energy_j);
                assert_eq!(again.to_line().ok().as_deref(), Some(line.as_str()));
            }
            Ok(Entry::Node(node)) => {
                let line = node.to_line().expect("a line that was read can be written");
                let again = Entries::new(line.as_bytes()).next();
                let Some(Ok(Entry::Node(again))) = again else { panic!("not read again: {line}") };
                assert_eq!((again.meter_j, &again.jobs), (node.meter_j, &node.jobs));
                assert_eq!(again.to_line().ok().as_deref(), Some(line.as_str()));
            }
            _ => {}
        }
    }
    let mut briefs = Briefs::new(bytes);
    while let Ok(Some(entry)) = briefs.read_next() {
        if let BriefEntry::Job { brief, text, .. } = entry {
            n_jobs -= 1;
            let Ok(Some(whole)) = parse_record(text) else { panic!("no record: {brief:?}") };
            assert_eq!(brief, Brief::from(&whole));
        }
    }
    assert_eq!(n_jobs, 0);
}

/// The text after `--carbontracker=`: an accepted one resolves or is refused with a reason.
pub(crate) fn option_string(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match option::parse(text) {
        Ok(Choice::On(set)) => {
            if let Err(error) = Settings::resolve(&set) {
                assert!(!error.to_string().is_empty());
            }
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A message either way: what is understood is understood again from what it writes.
pub(crate) fn protocol_message(bytes: &[u8]) {
    if let Ok(request) = parse_request(bytes) {
        let line = to_line(&request).expect("a request that was read can be written");
        assert_eq!(parse_request(line.as_bytes()).ok(), Some(request), "{line}");
    }
    if let Ok(reply) = parse_reply(bytes) {
        let line = to_line(&reply).expect("a reply that was read can be written");
        assert_eq!(parse_reply(line.as_bytes()).ok(), Some(reply), "{line}");
    }
}

/// The text of carbontracker.toml: an accepted one stays accepted for any node, a refused one is
/// refused with a reason that is one line.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("/etc/carbontracker/carbontracker.toml");
    match Config::parse(text, path) {
        Ok(config) => {
            let of_node = config.clone().for_node("n1", "host");
            assert_eq!(of_node.track, config.track);
            // %n and %h are gone, so that a second time changes nothing.
            let again = of_node.clone().for_node("n2", "other");
            assert!(again == of_node || text.contains('%'));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The site's file of intensities: what is read is written and read again as the same points, and
/// every line that is none is named by its number.
pub(crate) fn series_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (points, skipped) = series::parse(text);
    let n_lines = text.lines().count();
    assert!(points.len() + skipped.len() <= n_lines);
    assert!(skipped.iter().all(|s| (1..=n_lines).contains(&s.line)));
    let (again, none) = series::parse(&series::to_text(&points));
    assert!(none.is_empty(), "{none:?}");
    assert_eq!(again.len(), points.len());
    let merged = series::merge(points.clone(), points.clone());
    assert_eq!(series::merge(merged.clone(), points), merged);
}

/// Two peers that send the same bytes, cut in other places, with handles beside some of the pieces:
/// the lines are the same, no handle is lost but those beyond a few, none comes twice or early.
///
/// The first byte is the length of the pieces; the high bits of a piece's first byte are the number
/// of handles that come with it.
pub(crate) fn framing(bytes: &[u8]) {
    let Some((cut, text)) = bytes.split_first() else { return };
    let mut whole: Inbox<usize> = Inbox::default();
    whole.push(text, []);
    let mut expected = Vec::new();
    while let Some((line, handles)) = whole.take_line() {
        assert!(handles.is_empty() && !line.contains(&b'\n'));
        expected.push(line);
    }
    let mut inbox = Inbox::default();
    let (mut lines, mut seen, mut sent, mut at) = (Vec::new(), Vec::new(), 0_usize, 0);
    let mut is_refused = false;
    for piece in text.chunks(usize::from(*cut).max(1)) {
        let n = usize::from(piece[0] >> 5);
        inbox.push(piece, sent..sent + n);
        sent += n;
        at += piece.len();
        is_refused |= inbox.is_too_long();
        // Half of the peers are answered late.
        while cut % 2 == 0 || at == text.len() || inbox.is_full() {
            let Some((line, handles)) = inbox.take_line() else { break };
            assert!(handles.len() <= MOST_HANDLES);
            seen.extend(handles);
            lines.push(line);
        }
    }
    assert_eq!(lines, expected);
    assert!(seen.is_sorted_by(|a, b| a < b) && seen.iter().all(|handle| *handle < sent));
    let longest = text.split(|b| *b == b'\n').map(<[u8]>::len).max().unwrap_or(0);
    assert!(!is_refused || longest >= MAX_MESSAGE);
}
