//! Logs of each version, written out by hand from the description of the formats: what a version
//! wrote differently is read as what it meant.

use super::{BlockKind, Counting, Run, parse_output, parse_standard};

const OLD: &str = "2020-05-17 19:02:17,500 - MainThread - INFO - ";
const NEW: &str = "2024-02-03 05:06:07 - ";

fn records(prefix: &str, messages: &[&str]) -> String {
    messages.iter().map(|message| format!("{prefix}{message}\n")).collect()
}

fn block(title: &str, time: &str, energy: &str) -> String {
    format!(
        "{NEW}CarbonTracker: \n{title}\n\tTime:\t{time}\n\tEnergy:\t{energy} kWh\n\tCO2eq:\t1.5 g\n"
    )
}

#[test]
fn v106_says_a_duration_for_each_component_and_has_tracebacks() {
    let log = records(
        OLD,
        &[
            "carbontracker version 1.0.6",
            "The following components were found: GPU with device(s) A, B. CPU with device(s) cpu:0.",
            "Monitoring thread started.",
            "Epoch 1 started.",
            "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\nValueError: Epoch 9:",
            "Epoch 1 ended.",
            "Duration: 0:00:06.023383",
            "Duration: 0:00:06.023383",
            "Power usages (W) for gpu: [[100.0, 55.0], [300.0, 55.0]]",
            "Power usages (W) for cpu: [[20.0], [30.0]]",
        ],
    );
    let read = parse_standard(log.as_bytes());
    let session = &read.sessions[0];
    assert_eq!((session.pue, session.epochs.len(), session.is_interleaved), (None, 1, false));
    let epoch = &session.epochs[0];
    assert_eq!(epoch.duration_s, Some(6.023383));
    assert_eq!(epoch.power[0].watts, Some(vec![200.0, 55.0]));
    assert_eq!(epoch.power[1].watts, Some(vec![25.0]));
    // 280 W for 6.023383 s; the values are of each device, and there was no PUE.
    assert!((session.energy_kwh(true) - 280.0 * 6.023383 / 3.6e6).abs() < 1e-15);
    assert_eq!(read.skipped, []);
}

#[test]
fn v104_has_lower_case_components_and_full_stops() {
    let log = records(
        OLD,
        &[
            "carbontracker version 1.0.4",
            "The following components were found:  gpu with device(s) GeForce GTX 1080 Ti.  cpu with device(s) cpu:0, cpu:1.",
            "Epoch 1 started.",
        ],
    ) + &records(
        &OLD.replace("19:02:17,500", "19:02:21,250"),
        &["Epoch 1 ended.", "Power usages for gpu: [].", "Power usages for cpu: [[1.5, 2.5]]."],
    );
    let read = parse_standard(log.as_bytes());
    let session = &read.sessions[0];
    assert_eq!(session.devices[1].names, ["cpu:0", "cpu:1"]);
    assert_eq!(session.epochs[0].duration_s, Some(3.75));
    assert_eq!(session.epochs[0].power[0].watts, None);
    assert_eq!(session.epochs[0].power[1].watts, Some(vec![1.5, 2.5]));
}

#[test]
fn v107_writes_timedeltas_with_days() {
    let log = records(
        NEW,
        &[
            "carbontracker version 1.0.7",
            "Epoch 1:",
            "Duration: 4 days, 3:25:45",
            "Average power usage (W) for gpu: [nan nan]",
            "Average power usage (W) for cpu: None",
            "Epoch 2:",
            "Duration: 0:00:06.007452",
            "Average power usage (W) for gpu: [4.000e-03 3.125e+02]",
            "Average power usage (W) for cpu: [100.]",
        ],
    );
    let epochs = parse_standard(log.as_bytes()).sessions.remove(0).epochs;
    assert_eq!(epochs[0].duration_s, Some(357_945.0));
    assert!(epochs[0].power.iter().all(|power| power.watts.is_none()));
    assert_eq!(epochs[1].power[0].watts, Some(vec![0.004, 312.5]));
}

#[test]
fn v2_scalars_are_read_in_every_notation() {
    for (text, watts) in
        [("8.4e-05", Some(8.4e-5)), ("1e+16", Some(1e16)), ("nan", None), ("None", None)]
    {
        let power = format!("Average power usage (W) for gpu: {text}");
        let log = records(
            NEW,
            &["carbontracker version 2.3.1", "Epoch 1:", "Duration: 0:00:01.00", &power],
        );
        let epoch = parse_standard(log.as_bytes()).sessions.remove(0).epochs.remove(0);
        assert_eq!(epoch.power[0].watts, watts.map(|w| vec![w]), "{text}");
    }
}

#[test]
fn intensities_of_all_versions_are_read() {
    for (list, mean, place) in [
        (
            "Carbon intensities (gCO2/kWh) fetched every 900 s at detected location UNDETECTED: [475]",
            "Average carbon intensity during training was 475.00 gCO2/kWh at detected location: UNDETECTED.",
            "UNDETECTED",
        ),
        (
            "Carbon intensities (gCO2eq/kWh) fetched every 900 s at detected location Unknown: [475]",
            "",
            "Unknown",
        ),
        (
            "Carbon intensities (gCO2eq/kWh) fetched every 900 s at detected location: A: [B], DK: [np.float64(475.0)]",
            "Average carbon intensity during training was 475.00 gCO2eq/kWh. ",
            "A: [B], DK",
        ),
    ] {
        let log = records(NEW, &["carbontracker version 2.4.2", list, mean]);
        let session = parse_standard(log.as_bytes()).sessions.remove(0);
        assert_eq!(session.intensities, Some(vec![475.0]), "{list}");
        assert_eq!(session.location.as_deref(), Some(place));
        assert_eq!(session.mean_intensity, (!mean.is_empty()).then_some(475.0));
    }
}

#[test]
fn every_pue_is_taken_from_its_sentence() {
    for (pue, source) in [
        (1.58, "Rhonda Ascierto, 2018"),
        (1.67, "Rhonda Ascierto, 2019"),
        (1.59, "Rhonda Ascierto, 2019"),
        (1.55, "Rhonda Ascierto, 2022"),
        (1.58, "Daniel Bizo, 2023"),
    ] {
        let text = format!(
            "Only predicted and actual consumptions are multiplied by a PUE coefficient of {pue} \
             ({source}, Uptime Institute Global Data Center Survey)."
        );
        let log = records(NEW, &["carbontracker version 1.1.0", &text]);
        assert_eq!(parse_standard(log.as_bytes()).sessions[0].pue, Some(pue));
    }
}

#[test]
fn blocks_of_the_oldest_versions_are_first_and_prediction() {
    let tail = "\tTime: 2 days, 0:00:06.004870 s\n\tEnergy: 0.0012 kWh\n\tCO2eq: 0.3530 g\n\
                \tThis is equivalent to:\n\t0.002932 km travelled by car\n";
    let log = records(
        OLD,
        &[
            &format!("CarbonTracker: \nFirst 1 epoch(s):\n{tail}"),
            &format!("CarbonTracker: \nPrediction for 100 epoch(s):\n{tail}"),
        ],
    );
    let read = parse_output(log.as_bytes());
    let kinds: Vec<_> = read.blocks.iter().map(|b| (b.kind, b.epochs, b.duration_s)).collect();
    let time = Some(172_806.004_87);
    let expected = [(BlockKind::Actual, Some(1), time), (BlockKind::Predicted, Some(100), time)];
    assert_eq!(kinds, expected);
}

#[test]
fn times_are_unbounded_negative_or_without_equivalents() {
    let log = block("Actual consumption:", "123:20:34", "1.5")
        + &block("Predicted consumption for 2 epoch(s):", "-0:00:05", "nan");
    let read = parse_output(log.as_bytes());
    assert_eq!(read.blocks[0].duration_s, Some(444_034.0));
    assert_eq!(read.blocks[0].epochs, None);
    assert_eq!(read.blocks[1].duration_s, Some(-5.0));
    assert!(read.blocks[1].energy_kwh.is_nan());
    assert!(read.blocks.iter().all(|block| block.equivalents.is_none()));
}

#[test]
fn a_run_appended_to_a_killed_ones_torn_line_is_a_session_of_its_own() {
    let whole = records(
        NEW,
        &[
            "carbontracker version 1.1.0",
            "Epoch 1:",
            "Duration: 0:00:08",
            "Average power usage (W) for gpu: [ 9.5 12. ]",
        ],
    );
    let log = whole[..whole.len() - 6].to_owned() + &whole;
    let read = parse_standard(log.as_bytes());
    assert_eq!(read.sessions.len(), 2);
    assert_eq!(read.sessions[0].epochs[0].power[0].watts, None);
    assert_eq!(read.sessions[1].epochs[0].power[0].watts, Some(vec![9.5, 12.0]));
    assert!(read.sessions.iter().all(|session| !session.is_interleaved));
    assert_eq!(read.skipped.len(), 1, "{:?}", read.skipped);
}

#[test]
fn a_run_stopped_before_its_declared_epochs_counts_what_it_measured() {
    let standard = |last: &str| records(NEW, &["carbontracker version 2.3.1", "Epoch 1:", last]);
    let output = block("Predicted consumption for 100 epoch(s):", "1:00:00", "9")
        + &block("Actual consumption for 7 epoch(s):", "0:04:12", "0.5");
    for (last, counting) in [
        ("Training was interrupted before all -1 epochs were monitored.", Counting::Actual),
        ("Monitoring thread ended.", Counting::Prediction),
    ] {
        let log = standard(last);
        let run = Run::new(parse_standard(log.as_bytes()), parse_output(output.as_bytes()));
        assert_eq!(run.counted()[0].counting, counting, "{last}");
    }
}
