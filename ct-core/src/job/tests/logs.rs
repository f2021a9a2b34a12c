//! What a job's logs and blocks say.

use super::*;

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
