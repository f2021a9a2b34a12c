//! A job from its start to its record.

mod budgets;
mod said;

use std::sync::Arc;

use chrono::TimeDelta;

use super::*;
use crate::carbon::intensity::IntensitySeries;
use crate::carbon::series;
use crate::config::Config;
use crate::energy::Component;
use crate::option::{Choice, parse};
use crate::record::{EndReason, Record};
use crate::sample::{DeviceEnergy, Interval};

struct World {
    factors: Factors,
    devices: Vec<Device>,
    problems: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let device = |component, name| Device::new(component, name, name, "rapl");
        let devices = vec![device(Component::Cpu, "cpu:0"), device(Component::Dram, "dram:0")];
        let factors = Factors::from_config(&Config::default());
        Self { factors, devices, problems: BTreeSet::new() }
    }

    /// PUE 1.5, zone DK1 with a series, else Denmark's 143.3 g/kWh.
    fn with_series(file: &str) -> Self {
        let mut config = Config::default();
        config.power.pue = Some(1.5);
        config.carbon.zone = Some("DK1".to_owned());
        config.carbon.embodied_g_per_node_hour = Some(10.0);
        let series = IntensitySeries::new("DK1", &series::parse(file).0);
        let mut factors = Factors::from_config(&config);
        factors.series = Some(Arc::new(series));
        Self { factors, ..Self::new() }
    }

    fn context(&self) -> Context<'_> {
        Context {
            factors: &self.factors,
            policy: Policy::Hybrid,
            devices: &self.devices,
            cluster: Some("lab"),
            node: "n1",
            n_cpus: 4,
            problems: &self.problems,
        }
    }
}

fn at(seconds: u64) -> Moment {
    let start: DateTime<chrono::Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
    Moment {
        since_boot: Duration::from_secs(1000 + seconds),
        wall: start + TimeDelta::seconds(i64::try_from(seconds).unwrap()),
    }
}

fn job(option: &str) -> Job {
    let Ok(Choice::On(set)) = parse(option) else { panic!("{option}") };
    let facts = JobFacts { job_id: 42, uid: 1000, alloc_cpus: Some(2), ..Default::default() };
    Job::new(facts, true, Settings::resolve(&set).unwrap(), at(0))
}

/// 100 W on the package and 20 W of memory since the last charge.
fn run_until(job: &mut Job, seconds: u64) {
    let (start, end) = (job.last, at(seconds));
    let duration = end.since(&start).as_secs();
    let device = |watts: u64| DeviceEnergy {
        energy: Microjoules::new(watts * duration * 1_000_000),
        ..DeviceEnergy::default()
    };
    let devices = vec![device(100), device(20)];
    for part in (Interval { start, end, devices, busy: None }).by_hour() {
        let energy =
            ByComponent { cpu: part.devices[0], dram: part.devices[1], ..Default::default() };
        job.charge(part.hour, &Charge { energy, ..Default::default() });
    }
    job.advance(end, true);
}

#[test]
fn logs_of_three_epochs_read_as_upstreams() {
    let world = World::new();
    let mut job = job("epochs:3,decimal_precision:6");
    let mut printed = job.begin_logs(at(0), world.context());
    for epoch in 0..3 {
        run_until(&mut job, epoch * 20 + 10);
        job.epoch_start(at(epoch * 20 + 10));
        run_until(&mut job, epoch * 20 + 20);
        printed.push_str(&job.epoch_end(at(epoch * 20 + 20), world.context()).unwrap());
    }
    run_until(&mut job, 70);
    printed.push_str(&job.close_logs(at(70), world.context()));

    let power = "Average power usage (W) for cpu: 120.0\n";
    assert_eq!(job.log.standard.matches(power).count(), 3, "{}", job.log.standard);
    assert!(job.log.standard.contains("Epoch 3:\n"));
    assert!(job.log.standard.ends_with("Monitoring thread ended.\n"));
    assert!(!job.log.standard.contains("interrupted"));
    // One epoch: 120 W for 10 s = 1.2 kJ; three with PUE 1.58: 5.688 kJ = 0.00158 kWh, at 445 g
    // 0.7031 g, by car 0.006583 km.
    let predicted = "CarbonTracker: \nPredicted consumption for 3 epoch(s):\n\tTime:\t0:00:30\n\
                     \tEnergy:\t0.001580 kWh\n\tCO2eq:\t0.703100 g\n\tThis is equivalent to:\n\
                     \t0.006583 km travelled by car\n";
    assert!(printed.starts_with(predicted), "{printed}");
    let actual = predicted.replace("Predicted", "Actual");
    assert!(
        printed.ends_with(&format!("{actual}CarbonTracker: Finished monitoring.\n")),
        "{printed}"
    );
    assert!(printed.contains("Actual consumption for 1 epoch(s)"));
}

#[test]
fn what_no_meter_counts_is_called_modelled_in_logs_and_output() {
    let mut world = World::new();
    world.devices[0].method = "modelled:tdp-configured".to_owned();
    let sentence = "CPU energy is not measured: modelled:tdp-configured";
    let mut modelled = job("on");
    let printed = modelled.begin_logs(at(0), world.context());
    assert_eq!(printed, format!("CarbonTracker: {sentence}\n"));
    assert!(modelled.log.standard.contains(sentence), "{}", modelled.log.standard);
    // Not where the watts are the owner's own, and not below verbosity 1.
    let printed = job("sim_cpu:x,sim_cpu_tdp:100").begin_logs(at(0), world.context());
    assert!(!printed.contains("not measured"), "{printed}");
    assert_eq!(job("verbose:0").begin_logs(at(0), world.context()), "");
    assert_eq!(job("on").begin_logs(at(0), World::new().context()), "");
}

#[test]
fn a_job_without_epochs_is_reported_whole() {
    let world = World::new();
    let mut job = job("interpretable:false,verbose:2");
    let printed = job.begin_logs(at(0), world.context());
    assert_eq!(
        printed,
        "CarbonTracker: The following components were found: CPU with device(s) cpu:0, dram:0.\n"
    );
    run_until(&mut job, 3600);
    let text = job.close_logs(at(3600), world.context());
    assert!(text.contains("445.00 gCO2eq/kWh"), "{text}");
    // 120 W for an hour with PUE 1.58 = 0.1896 kWh.
    assert!(
        text.contains("Actual consumption:\n\tTime:\t1:00:00\n\tEnergy:\t0.189600 kWh\n"),
        "{text}"
    );
    assert!(!text.contains("equivalent"));
    assert!(job.log.standard.contains("Epoch 1:\n"));
    assert_eq!(job.close_logs(at(3600), world.context()), "");
}

#[test]
fn an_early_end_is_said_in_the_log() {
    let world = World::new();
    let mut job = job("epochs:5");
    job.begin_logs(at(0), world.context());
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    job.epoch_end(at(10), world.context()).unwrap();
    job.epoch_start(at(10));
    run_until(&mut job, 15);
    job.close_logs(at(15), world.context());
    let line = "Training was interrupted before all 5 epochs were monitored.";
    assert_eq!(job.log.standard.matches(line).count(), 1);
    let record = job.record(EndReason::Cancelled, world.context());
    let epochs = record.epochs.unwrap();
    assert_eq!((epochs.declared, epochs.done), (Some(5), 1));
    // The whole job is measured, not only its epochs: 15 s at 120 W.
    assert_eq!(record.energy_j.total().as_u64(), 1_800_000_000);
}

#[test]
fn an_epoch_that_was_not_started_cannot_end() {
    let world = World::new();
    let mut job = job("epochs:5");
    assert_eq!(job.epoch_end(at(1), world.context()), Err(EpochError::NotRunning));
    job.stop(at(1), world.context());
    job.epoch_start(at(1));
    assert_eq!(job.epoch_end(at(2), world.context()), Err(EpochError::Stopped));
}

#[test]
fn a_record_comes_back_as_it_went() {
    let world = World::new();
    let mut job = job("epochs:2");
    job.facts.n_nodes = Some(2);
    job.others = Others {
        energy: ByComponent { cpu: Microjoules::new(7), ..Default::default() },
        n_seen: 1,
        missing: Vec::new(),
    };
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    job.epoch_end(at(10), world.context()).unwrap();
    let record = job.record(EndReason::Completed, world.context());
    let line = record.to_line().unwrap();
    assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    assert!(line.contains(r#""energy_j":{"cpu":1000.000000,"dram":200.000000,"#), "{line}");
    assert_eq!(record.method["dram"], "rapl");
    assert_eq!(record.coverage, 1.0);
    assert_eq!(record.job_total.unwrap().energy_j.cpu.as_u64(), 1_000_000_007);
}

#[test]
fn simulated_components_are_shown_and_what_is_charged_stays() {
    let world = World::new();
    let mut job = job("epochs:2,sim_cpu:Xeon X,sim_cpu_tdp:100,sim_gpu:A100,sim_gpu_watts:400,\
                       sim_gpu_util:0.25");
    let printed = job.begin_logs(at(0), world.context());
    assert_eq!(
        printed,
        "CarbonTracker: Using simulated GPU: A100 with power consumption: 100.00W (at 25% \
         utilization)\nCarbonTracker: Using simulated CPU: Xeon X with TDP: 50.00W (at 50% \
         utilization)\n"
    );
    let found = "The following components were found: GPU with device(s) A100. CPU with device(s) \
                 Xeon X.\n";
    assert!(job.log.standard.contains(found), "{}", job.log.standard);
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    let printed = job.epoch_end(at(10), world.context()).unwrap();
    // 100 W · 0.5 · 10 s = 500 J, 400 W · 0.25 · 10 s = 1 kJ; two epochs with PUE 1.58 4.74 kJ.
    assert!(
        printed.contains("2 epoch(s):\n\tTime:\t0:00:20\n\tEnergy:\t0.001317 kWh"),
        "{printed}"
    );
    for power in ["(W) for gpu: 100.0\n", "(W) for cpu: 50.0\n"] {
        assert!(job.log.standard.contains(power), "{}", job.log.standard);
    }
    run_until(&mut job, 20);
    let record = job.record(EndReason::Completed, world.context());
    assert_eq!(record.epochs.as_ref().unwrap().energy_j, [Microjoules::new(1_500_000_000)]);
    assert_eq!(record.prediction.as_ref().unwrap().energy_j, 3000.0);
    // The meters' 100 W and 20 W for 20 s are charged all the same.
    let metered = ByComponent {
        cpu: Microjoules::new(2_000_000_000),
        dram: Microjoules::new(400_000_000),
        ..Default::default()
    };
    assert_eq!((record.energy_j, record.method["cpu"].as_str()), (metered, "rapl"));
    let line = record.to_line().unwrap();
    let field = r#""simulated":{"cpu":{"name":"Xeon X","method":"simulated:Xeon X","power_w":50.0,"energy_j":1000.000000},"gpu":{"#;
    assert!(line.contains(field), "{line}");
    assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    assert_eq!(job.shown_methods(world.context())["cpu"], "simulated:Xeon X");
    assert_eq!(job.visible_energy().total().as_u64(), 3_000_000_000);
}

#[test]
fn a_simulated_component_that_is_not_chosen_is_not_shown() {
    let world = World::new();
    let mut job = job("components:cpu,sim_gpu:A100,sim_gpu_watts:400");
    job.begin_logs(at(0), world.context());
    run_until(&mut job, 10);
    assert!(!job.log.standard.contains("A100"), "{}", job.log.standard);
    assert_eq!(job.visible_energy().gpu, Microjoules::ZERO);
    let record = job.record(EndReason::Completed, world.context());
    assert!(!record.to_line().unwrap().contains("simulated"));
    // Nor is anything on another node of the job, or to the owner of a job that is not tracked.
    job.settings.components.gpu = true;
    assert_eq!(job.visible_energy().gpu.as_u64(), 2_000_000_000);
    for (tracked, is_first_node) in [(false, true), (true, false)] {
        (job.tracked, job.is_first_node) = (tracked, is_first_node);
        assert_eq!(job.visible_energy().gpu, Microjoules::ZERO);
    }
}

#[test]
fn state_comes_back_as_it_went() {
    let world = World::new();
    let mut job = job("epochs:2");
    job.begin_logs(at(0), world.context());
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    let json = serde_json::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<Job>(&json).unwrap(), job);
}

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

#[test]
fn a_guess_of_the_place_is_said_in_the_log() {
    let mut world = World::new();
    let mut plain = job("epochs:1");
    plain.begin_logs(at(0), world.context());
    assert_eq!(plain.log.error, "");
    assert!(!plain.log.standard.contains("fetched:"));

    world.factors.is_guessed = true;
    let mut guessed = job("epochs:1");
    guessed.begin_logs(at(0), world.context());
    let said = "No carbon intensity provider specified. \
                Using average carbon intensity for World: 445.00 gCO2eq/kWh.";
    assert!(guessed.log.error.contains(said), "{}", guessed.log.error);
}

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
fn lines_of_one_label_are_one_epoch_and_the_last_ends_with_the_output() {
    let world = World::new();
    let mut job = job("epochs:3,epoch_by:pattern");
    for (second, label) in [(5, "1"), (6, "1"), (10, "2"), (12, "2"), (20, "3")] {
        run_until(&mut job, second);
        job.output_began_epoch(at(second), Some(label), world.context());
    }
    run_until(&mut job, 26);
    job.output_ended(at(26), world.context());
    let seconds: Vec<u64> = job.epochs().iter().map(|e| e.duration.as_secs()).collect();
    assert_eq!(seconds, [5, 10, 6]);
    assert!(job.take_unsaid().contains("Predicted consumption for 3 epoch(s)"));
    // A program that ends in its second epoch of three was interrupted in it.
    let mut job = self::job("epochs:3,epoch_by:pattern");
    job.output_began_epoch(at(0), Some("1"), world.context());
    run_until(&mut job, 9);
    job.output_ended(at(9), world.context());
    assert_eq!(job.n_epochs(), 0);
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

#[test]
fn epochs_that_nobody_saw_have_equal_parts_of_their_time_and_energy() {
    let world = World::new();
    let mut job = job("epochs:4,epoch_by:pattern");
    run_until(&mut job, 5);
    job.output_began_epoch(at(5), Some("1"), world.context());
    run_until(&mut job, 10);
    job.output_began_epoch(at(10), Some("2"), world.context());
    run_until(&mut job, 12);
    // ct-noded ends here, and a later life reads the rest of the output when the program is over.
    job.output_is_lost();
    assert!(job.has_lost_output() && !job.is_epoch_running());
    let json = serde_json::to_string(&job).unwrap();
    let mut job: Job = serde_json::from_str(&json).unwrap();
    run_until(&mut job, 40);
    job.is_output_read = true;
    for label in ["2", "3", "3", "4"] {
        job.output_began_epoch(at(40), Some(label), world.context());
    }
    job.output_ended(at(40), world.context());
    // Three of them from 10 to 40 s, at 120 W.
    let seconds: Vec<u64> = job.epochs().iter().map(|e| e.duration.as_secs()).collect();
    assert_eq!(seconds, [5, 10, 10, 10]);
    let joules: Vec<f64> =
        job.epochs().iter().map(|e| e.energy.total().to_joules().as_joules()).collect();
    assert_eq!(joules, [600.0, 1200.0, 1200.0, 1200.0]);
    assert!(job.warnings.iter().any(|w| w.contains("the bounds of 3 epochs")), "{job:?}");
    assert!(job.take_unsaid().contains("Predicted consumption for 4 epoch(s)"));
}

#[test]
fn without_the_rest_of_the_output_the_running_epoch_is_none() {
    let world = World::new();
    let mut job = job("epochs:2,epoch_by:pattern");
    job.output_began_epoch(at(0), Some("1"), world.context());
    run_until(&mut job, 10);
    job.output_is_lost();
    job.output_ended(at(10), world.context());
    assert_eq!(job.n_epochs(), 0);
    assert!(job.warnings.iter().any(|w| w.contains("could not be read again")), "{job:?}");
}
