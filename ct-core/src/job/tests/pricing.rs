//! Grams by the hours in which a job ran.

use super::*;

const TWO_HOURS: &str = "2026-11-23T10:00:00Z,DK1,100,X actual\n\
                         2026-11-23T11:00:00Z,DK1,400,X actual\n";

#[test]
fn a_job_over_a_full_hour_is_priced_with_both_intensities() {
    let world = World::with_series(TWO_HOURS);
    let mut job = job("verbose:2");
    job.begin_logs(at(0), world.context());
    // 120 W from 10:00 to 10:30, then 120 W from 10:30 to 11:15: samples at every full hour.
    for seconds in [1800, 3600, 4500] {
        run_until(&mut job, seconds);
    }
    let text = job.close_logs(at(4500), world.context());
    let record = job.record(EndReason::Completed, world.context());
    // By hand: 0.12 kWh · 1.5 · 100 g/kWh + 0.03 kWh · 1.5 · 400 g/kWh = 18 g + 18 g.
    assert!((record.co2e_g - 36.0).abs() < 1e-9, "{}", record.co2e_g);
    // 36 g / (0.15 kWh · 1.5).
    assert!((record.intensity.g_per_kwh - 160.0).abs() < 1e-9);
    assert_eq!((&*record.intensity.zone, &*record.intensity.source), ("DK1", "X actual"));
    assert!(!record.warnings.iter().any(|w| w.contains("intensity")), "{:?}", record.warnings);
    // The closing block and the logs agree with it.
    assert!(text.contains("CO2eq:\t36.000000 g"), "{text}");
    assert!(text.contains("during training was 160.00 gCO2eq/kWh"), "{text}");
    let log = &job.log.standard;
    assert!(log.contains("Carbon intensity fetched: 100.00 gCO2/kWh at DK1\n"), "{log}");
    assert!(log.contains("fetched every 900 s at detected location: DK1: [100.0, 400.0]"), "{log}");
    // ISO/IEC 21031 for the job: E · I + M, half a node for 1.25 h at 10 g/h.
    let sci = record.sci.unwrap();
    assert!((sci.e_kwh - 0.225).abs() < 1e-12 && sci.m_g == Some(6.25));
    assert!((sci.g_per_r - 42.25).abs() < 1e-9 && sci.unit == "job");
}

#[test]
fn epochs_are_priced_in_their_hours_and_the_prediction_in_those_to_come() {
    let world = World::with_series(TWO_HOURS);
    let mut job = job("epochs:4");
    job.begin_logs(at(0), world.context());
    run_until(&mut job, 1800);
    // From 10:30 to 11:00, at 100 g/kWh; three more of them, two at 400 and one at Denmark's.
    job.epoch_start(at(1800));
    run_until(&mut job, 3600);
    job.epoch_end(at(3600), world.context()).unwrap();
    let prediction = job.prediction.clone().unwrap();
    // 0.06 kWh · 1.5 each.
    let by_hand = 0.09 * (100.0 + 400.0 + 400.0 + 143.3);
    assert!((prediction.co2e_g - by_hand).abs() < 1e-6, "{} {by_hand}", prediction.co2e_g);

    // An epoch over a full hour with a quarter of an hour in each: 0.03 kWh · 1.5 at 400 and 143.3.
    run_until(&mut job, 6300);
    job.epoch_start(at(6300));
    run_until(&mut job, 7200);
    run_until(&mut job, 8100);
    job.epoch_end(at(8100), world.context()).unwrap();
    run_until(&mut job, 8100);
    let text = job.close_logs(at(8100), world.context());
    let by_hand = 0.09 * 100.0 + 0.045 * (400.0 + 143.3);
    assert!(text.contains(&format!("CO2eq:\t{by_hand:.6} g")), "{by_hand} {text}");
    let record = job.record(EndReason::Completed, world.context());
    let sci = record.sci.unwrap();
    assert_eq!((sci.r, &*sci.unit), (2, "epoch"));
    assert!((sci.g_per_r * 2.0 - (record.co2e_g + record.embodied_g.unwrap())).abs() < 1e-9);
    let fallback = record.warnings.iter().find(|w| w.contains("no intensity of zone DK1")).unwrap();
    // 15 of 135 minutes.
    assert!(fallback.contains("11.1 % of the energy"), "{fallback}");
}
