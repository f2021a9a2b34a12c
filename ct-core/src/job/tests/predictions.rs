//! Predictions: from which epochs, made anew, and the question behind them.

use super::*;

#[test]
fn of_epochs_before_pred_0_is_none_and_minus_1_all() {
    let world = World::new();
    for (before, from) in [("0", None), ("-1", Some(3)), ("3", Some(3))] {
        let mut job = job(&format!("epochs:3,monitor_epochs:-1,epochs_before_pred:{before}"));
        let mut printed = Vec::new();
        for epoch in 0..3 {
            job.epoch_start(at(epoch * 10));
            run_until(&mut job, epoch * 10 + 10);
            printed.push(job.epoch_end(at(epoch * 10 + 10), world.context()).unwrap());
        }
        assert!(printed[..2].iter().all(String::is_empty), "{before}: {printed:?}");
        let has_block = printed[2].contains("Predicted consumption for 3 epoch(s)");
        assert_eq!(has_block, from.is_some(), "{before}: {printed:?}");
        assert!(printed[2].contains("Actual consumption for 3 epoch(s)"), "{before}: {printed:?}");
        assert_eq!(job.prediction.as_ref().map(|p| p.from_epochs), from, "{before}");
        // The interval of a prediction from all epochs is a point.
        let half = job.prediction.as_ref().and_then(|p| Some(p.energy_j_high? - p.energy_j));
        assert!(half.is_none_or(|joules| joules.abs() < 1e-9), "{before}: {half:?}");
    }
}

#[test]
fn the_prediction_of_the_record_is_made_anew_and_the_block_once() {
    let world = World::new();
    let mut job = job("epochs:4,epochs_before_pred:2,monitor_epochs:-1");
    let mut printed = String::new();
    for (start, end) in [(0, 10), (10, 30), (30, 40)] {
        job.epoch_start(at(start));
        run_until(&mut job, end);
        printed.push_str(&job.epoch_end(at(end), world.context()).unwrap());
        let from = job.prediction.as_ref().map(|p| p.from_epochs);
        assert_eq!(from, Some(job.n_epochs()).filter(|n| *n >= 2));
    }
    assert_eq!(printed.matches("Predicted").count(), 1, "{printed}");
    let p = job.prediction.clone().unwrap();
    // 1.2, 2.4 and 1.2 kJ: 4 · 1.6 kJ; s = 692.8 J, t = 4.303, √(1 + 1/3): ± 3442 J, but what was
    // drawn is drawn.
    assert!((p.energy_j - 6400.0).abs() < 1e-6, "{p:?}");
    assert!((p.energy_j_high.unwrap() - 9842.3).abs() < 1.0, "{p:?}");
    assert_eq!(p.energy_j_low, Some(4800.0));
    // Of the block: 1.2 and 2.4 kJ, 4 · 1.8 kJ.
    let told = p.first();
    assert_eq!((told.from_epochs, told.energy_j, told.first.is_none()), (2, 7200.0, true));
    // The first one stays it, also over a restart of ct-noded.
    let mut job: Job = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
    job.epoch_start(at(40));
    run_until(&mut job, 50);
    job.epoch_end(at(50), world.context()).unwrap();
    let last = job.prediction.clone().unwrap();
    assert_eq!((last.from_epochs, last.first().from_epochs), (4, 2));
}

#[test]
fn nothing_is_predicted_for_a_time_limit_that_means_none() {
    let world = World::new();
    let mut job = job("verbose:1");
    run_until(&mut job, 10);
    let in_days = |days| Some(at(0).wall + TimeDelta::days(days));
    job.limit_at = in_days(30);
    // 120 W for 30 days.
    let outlook = job.outlook(world.context()).unwrap();
    assert!((outlook.energy_j - 120.0 * 30.0 * 86400.0).abs() < 1e-3, "{outlook:?}");
    // slurmctld has 365 days for no limit, of which a second is gone before it is asked.
    job.limit_at = in_days(365).map(|at| at - TimeDelta::seconds(1));
    assert_eq!(job.outlook(world.context()), None);
}

#[test]
fn a_question_holds_back_the_actual_block_until_it_is_answered() {
    let world = World::new();
    let mut job = job("epochs:3,stop_and_confirm:true");
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    let printed = job.epoch_end(at(10), world.context()).unwrap();
    assert!(printed.ends_with("CarbonTracker: Continue training (y/n)?\n"), "{printed}");
    assert!(!printed.contains("Actual") && job.waits_since() == Some(at(10)));
    assert!(job.answer(crate::config::YesNo::Y, at(12), world.context()));
    let said = job.take_unsaid();
    assert!(said.starts_with("CarbonTracker: Continuing...\nCarbonTracker: \nActual"), "{said}");
    assert!(!job.answer(crate::config::YesNo::N, at(13), world.context()), "answered already");
    assert!(!job.is_to_end() && job.waits_since().is_none());
}
