//! Reads the standard log.

use std::borrow::Cow;
use std::ops::Range;

use super::line::{Line, Prefixes, Stamp, standard_lines};
use super::number::{parse_array, parse_duration, parse_float, parse_sample_means};
use super::record::{Message, parse_message};
use super::session::{Epoch, Power, Session, StandardLog, Writer};
use super::{Skipped, excerpt};

/// Reads a standard log, `…_carbontracker.log`.
pub fn parse_standard(bytes: &[u8]) -> StandardLog<'_> {
    read(bytes, true)
}

/// Reads a standard log for its sums: the sessions have no epochs, however many the log has.
pub fn sum_standard(bytes: &[u8]) -> StandardLog<'_> {
    read(bytes, false)
}

fn read(bytes: &[u8], keeps_epochs: bool) -> StandardLog<'_> {
    let log = StandardLog::default();
    let spare = Vec::new();
    let mut reader =
        Reader { bytes, keeps_epochs, log, started: None, last: None, array: None, spare };
    let mut garbage: Option<Skipped> = None;
    let mut prefixes = Prefixes::default();
    for line in standard_lines(bytes) {
        match prefixes.split(line.text) {
            Some((stamp, message)) => reader.take_record(line, stamp, message),
            None => {
                if !reader.continue_array(line) && reader.log.sessions.is_empty() {
                    garbage.get_or_insert_with(|| garbage_at(line));
                }
            }
        }
    }
    reader.close_array();
    reader.end_session();
    let mut log = reader.log;
    for session in &mut log.sessions {
        session.epochs.retain(|e| e.duration_s.is_some() || !e.power.is_empty());
    }
    log.skipped.extend(garbage);
    log.skipped.sort_by_key(|s| s.line);
    log
}

/// A report for lines before the first record.
fn garbage_at(line: Line<'_>) -> Skipped {
    let seen = excerpt(line.text);
    Skipped::new(line.number, format!("line is \"{seen}\", expected a record with date and time"))
}

/// Components of one epoch; there are two to four, and a search among them is to stay short.
const COMPONENTS_MAX: usize = 32;

struct Reader<'a> {
    bytes: &'a [u8],
    keeps_epochs: bool,
    log: StandardLog<'a>,
    /// Number and time of the last `Epoch N started.`
    started: Option<(u64, Stamp<'a>)>,
    /// Stamp of the session's last record.
    last: Option<Stamp<'a>>,
    /// A numpy array whose bracket is still open: its line, and where its text lies.
    array: Option<(usize, Range<usize>)>,
    /// Lists of watts of epochs that are not kept, to be filled again.
    spare: Vec<Vec<f64>>,
}

impl<'a> Reader<'a> {
    fn take_record(&mut self, line: Line<'a>, stamp: Stamp<'a>, text: &'a [u8]) {
        self.close_array();
        match parse_message(text) {
            Some(Message::Version(version, writer)) => {
                self.end_session();
                self.started = None;
                self.push_session(stamp, Some(version), writer);
            }
            Some(message) => {
                if self.log.sessions.is_empty() {
                    self.push_session(stamp, None, Writer::default());
                }
                self.last = Some(stamp);
                self.take_message(line, stamp, message);
            }
            None if self.log.sessions.is_empty() => {}
            None => self.last = Some(stamp),
        }
    }

    fn push_session(&mut self, stamp: Stamp<'a>, version: Option<Cow<'a, str>>, writer: Writer) {
        let (start, end) = (stamp.as_str(), stamp.as_str());
        if self.log.sessions.is_empty() {
            // As a rule it stays the only one.
            self.log.sessions.reserve_exact(1);
        }
        self.log.sessions.push(Session { version, writer, start, end, ..Session::default() });
    }

    fn take_message(&mut self, line: Line<'a>, stamp: Stamp<'a>, message: Message<'a>) {
        match message {
            Message::Epoch(number) => self.push_epoch(number, None),
            Message::Duration(value) => self.take_duration(line, value),
            Message::Power(component, value) => self.take_power(line, component, value),
            Message::EpochStarted(number) => self.started = Some((number, stamp)),
            Message::EpochEnded(number) => {
                let started = self.started.take().filter(|(n, _)| *n == number);
                let millis = started.and_then(|(_, start)| millis_between(start, stamp));
                self.push_epoch(number, millis.map(|ms| ms as f64 / 1000.0));
            }
            Message::Samples(component, value) => self.take_samples(line, component, value),
            message => self.take_fact(message),
        }
    }

    /// Takes what a record says of the session.
    fn take_fact(&mut self, message: Message<'a>) {
        let Some(session) = self.log.sessions.last_mut() else { return };
        match message {
            Message::Pue(pue) => session.pue = Some(pue),
            Message::Components(devices) => session.devices = devices,
            Message::Interrupted(of) => {
                session.is_early_stop = true;
                session.interrupted_of = of;
            }
            Message::Intensities(list, place) => {
                session.intensities = list;
                session.location = Some(place);
            }
            Message::MeanIntensity(mean, place) => {
                session.mean_intensity = mean;
                session.location = place.or(session.location.take());
            }
            Message::Ended => session.is_ended = true,
            Message::Simulated => session.is_simulated = true,
            _ => {}
        }
    }

    fn end_session(&mut self) {
        let Some(session) = self.log.sessions.last_mut() else { return };
        if let Some(last) = self.last.take() {
            session.end = last.as_str();
        }
        session.close_epoch();
        if !self.keeps_epochs {
            session.epochs.clear();
        }
    }

    fn take_duration(&mut self, line: Line<'a>, value: &[u8]) {
        let duration = parse_duration(value).filter(|_| line.is_whole);
        match (self.last_epoch(), duration) {
            (Some(epoch), Some(duration)) => epoch.duration_s = Some(duration),
            _ => self.skip_value(line, "duration", value, "H:MM:SS after an epoch"),
        }
    }

    fn take_samples(&mut self, line: Line<'a>, component: &'a [u8], value: &[u8]) {
        let list = value.trim_ascii();
        let watts = parse_sample_means(list.strip_suffix(b".").unwrap_or(list));
        if watts.is_none() {
            self.skip_value(line, "power", value, "a list of samples");
        }
        self.push_power(line, component, watts, false);
    }

    fn take_power(&mut self, line: Line<'a>, component: &'a [u8], value: &'a [u8]) {
        let value = value.trim_ascii_start();
        if value.starts_with(b"[") && !value.trim_ascii_end().ends_with(b"]") {
            if self.push_power(line, component, None, false) {
                let end = line.start + line.text.len();
                self.array = Some((line.number, end - value.len()..end));
            }
            return;
        }
        let value = value.trim_ascii_end();
        let is_array = value.starts_with(b"[");
        let watts = if is_array { parse_array(value) } else { self.one(parse_float(value)) };
        let watts = watts.filter(|_| is_array || line.is_whole);
        if watts.is_none() && value != b"None" {
            self.skip_value(line, "power", value, "watts, a list of them or None");
        }
        self.push_power(line, component, watts, !is_array);
    }

    /// A list of one.
    fn one(&mut self, watts: Option<f64>) -> Option<Vec<f64>> {
        let mut list = self.spare.pop().unwrap_or_default();
        list.clear();
        list.push(watts?);
        Some(list)
    }

    fn push_epoch(&mut self, number: u64, duration_s: Option<f64>) {
        let Some(session) = self.log.sessions.last_mut() else { return };
        if session.epochs.last().is_some_and(|last| last.number >= number) {
            session.is_interleaved = true;
        }
        session.close_epoch();
        let mut power = Vec::new();
        if let Some(last) = session.epochs.pop_if(|_| !self.keeps_epochs) {
            power = last.power;
            self.spare.extend(power.drain(..).filter_map(|p| p.watts));
        }
        session.epochs.push(Epoch { number, duration_s, power });
    }

    /// Gives the last epoch a component's power; says whether it took it.
    fn push_power(
        &mut self,
        line: Line<'a>,
        name: &'a [u8],
        watts: Option<Vec<f64>>,
        is_scalar: bool,
    ) -> bool {
        let watts = watts.filter(|watts| is_known(watts));
        let component = match name {
            b"gpu" => Cow::Borrowed("gpu"),
            b"cpu" => Cow::Borrowed("cpu"),
            _ => String::from_utf8_lossy(name),
        };
        let Some(session) = self.log.sessions.last_mut() else { return false };
        let Some(epoch) = session.epochs.last_mut() else {
            self.skip_value(line, "power", name, "an epoch before it");
            return false;
        };
        if epoch.power.len() >= COMPONENTS_MAX {
            self.skip_value(line, "component", name, "one of a few");
            return false;
        }
        if epoch.power.iter().any(|p| p.component == component) {
            session.is_interleaved = true;
            return false;
        }
        epoch.power.push(Power { component, watts, is_scalar });
        true
    }

    fn last_epoch(&mut self) -> Option<&mut Epoch<'a>> {
        self.log.sessions.last_mut()?.epochs.last_mut()
    }

    /// Takes a line without prefix into the open array, if there is one.
    fn continue_array(&mut self, line: Line<'a>) -> bool {
        let Some((_, range)) = &mut self.array else { return false };
        range.end = line.start + line.text.len();
        if line.text.trim_ascii_end().ends_with(b"]") {
            self.close_array();
        }
        true
    }

    /// Ends an open array, at its bracket or where another record cuts it off.
    fn close_array(&mut self) {
        if self.array.is_some() {
            self.end_array();
        }
    }

    fn end_array(&mut self) {
        let Some((number, range)) = self.array.take() else { return };
        let text = self.bytes.get(range.clone()).unwrap_or_default();
        let watts = parse_array(text);
        if watts.is_none() {
            let line = Line { number, start: range.start, text, is_whole: true };
            self.skip_value(line, "power", text, "an array closed by ]");
        }
        if let Some(power) = self.last_epoch().and_then(|epoch| epoch.power.last_mut()) {
            power.watts = watts.filter(|watts| is_known(watts));
        }
    }

    fn skip_value(&mut self, line: Line<'_>, what: &str, value: &[u8], expected: &str) {
        let seen = excerpt(value.trim_ascii());
        let torn = if line.is_whole { "" } else { " in a complete line" };
        let reason = format!("{what} is \"{seen}\", expected {expected}{torn}");
        self.log.skipped.push(Skipped::new(line.number, reason));
    }
}

fn millis_between(start: Stamp<'_>, end: Stamp<'_>) -> Option<i64> {
    Some((end.at()? - start.at()?).num_milliseconds())
}

fn is_known(watts: &[f64]) -> bool {
    watts.iter().any(|w| w.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: &[&str]) -> String {
        let line = |m: &&str| format!("2020-05-17 19:02:17,500 - MainThread - INFO - {m}\n");
        messages.iter().map(line).collect()
    }

    #[test]
    fn a_wrapped_array_is_joined_and_a_torn_one_is_unknown() {
        let text = "2020-05-17 19:02:17 - carbontracker version 1.2.5\n\
                    2020-05-17 19:02:18 - Epoch 1:\n\
                    2020-05-17 19:02:18 - Duration: 0:00:01\n\
                    2020-05-17 19:02:18 - Average power usage (W) for gpu: [1. 2.\r\n 3.]\n\
                    2020-05-17 19:02:18 - Average power usage (W) for cpu: [4. 5";
        let log = parse_standard(text.as_bytes());
        let power = &log.sessions[0].epochs[0].power;
        assert_eq!(power[0].watts, Some(vec![1.0, 2.0, 3.0]));
        assert_eq!((power[1].component.as_ref(), &power[1].watts), ("cpu", &None));
        assert_eq!(log.skipped.len(), 1);
        let reason = "power is \"[4. 5\", expected an array closed by ]";
        assert_eq!((log.skipped[0].line, log.skipped[0].reason.as_ref()), (6, reason));
    }

    #[test]
    fn a_number_at_a_torn_end_is_not_believed() {
        let text = "2020-05-17 19:02:17 - carbontracker version 2.4.7\n\
                    2020-05-17 19:02:18 - Epoch 1:\n\
                    2020-05-17 19:02:18 - Duration: 0:00:01.00\n\
                    2020-05-17 19:02:18 - Average power usage (W) for gpu: 16";
        let log = parse_standard(text.as_bytes());
        assert_eq!(log.sessions[0].epochs[0].power[0].watts, None);
        assert_eq!(log.skipped.len(), 1);
    }

    #[test]
    fn the_oldest_sessions_take_their_durations_from_the_stamps() {
        let text = read(&[
            "carbontracker version 1.0.3",
            "The following components were found:  gpu with device(s) T4.",
            "Epoch 1 started.",
        ]) + &read(&["Epoch 1 ended.", "Power usages for gpu: [[100.0], [300.0]]."])
            .replace("17,500", "19,750");
        let log = parse_standard(text.as_bytes());
        let epoch = &log.sessions[0].epochs[0];
        assert_eq!((epoch.number, epoch.duration_s), (1, Some(2.25)));
        assert_eq!(epoch.power[0].watts, Some(vec![200.0]));
        assert_eq!(log.skipped, []);
    }

    #[test]
    fn a_log_without_its_head_still_gives_epochs() {
        let text = read(&["Epoch 7:", "Duration: 0:00:01", "Monitoring thread ended."]);
        let log = parse_standard(text.as_bytes());
        assert_eq!(log.sessions[0].version, None);
        assert_eq!(log.sessions[0].epochs[0].number, 7);
    }

    #[test]
    fn garbage_gives_no_session_and_one_report() {
        let log = parse_standard(b"\x00\xff\x1b[31m\nmore\nand more");
        assert_eq!((log.sessions.len(), log.skipped.len()), (0, 1));
        assert!(!log.skipped[0].reason.contains('\u{1b}'));
    }

    #[test]
    fn epochs_that_count_anew_are_of_several_trackers() {
        let text = read(&["carbontracker version 1.1.6", "Epoch 1:", "Duration: 0:00:06.01"])
            + &read(&["Epoch 1:", "Duration: 0:00:06.58"]);
        let log = parse_standard(text.as_bytes());
        assert!(log.sessions[0].is_interleaved);
        assert_eq!(log.sessions[0].epochs.len(), 2);
    }
}
