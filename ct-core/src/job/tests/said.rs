//! What a job's owner is told: each thing once, and that zeros are no measurement.

use super::*;

/// `n` epochs of 10 s, the text of each.
fn epochs(job: &mut Job, world: &World, n: u64) -> String {
    let mut printed = String::new();
    for _ in 0..n {
        let start = job.last;
        job.epoch_start(start);
        let seconds = start.since(&at(0)).as_secs() + 10;
        run_until(job, seconds);
        printed.push_str(&job.epoch_end(at(seconds), world.context()).unwrap());
    }
    printed
}

#[test]
fn a_block_is_told_again_only_when_an_epoch_was_added() {
    let world = World::new();
    let actual = "Actual consumption for ";
    // The last epoch's block is that of all: neither the stop nor the end repeats it.
    let mut job = job("epochs:3,monitor_epochs:-1");
    job.begin_logs(at(0), world.context());
    let mut printed = epochs(&mut job, &world, 3);
    printed.push_str(&job.stop(at(30), world.context()));
    printed.push_str(&job.close_logs(at(30), world.context()));
    assert_eq!(printed.matches(actual).count(), 1, "{printed}");
    assert!(printed.ends_with("CarbonTracker: Finished monitoring.\n"), "{printed}");
    assert_eq!(job.log.output.matches(actual).count(), 1, "{}", job.log.output);

    // The block of the first epoch, then one of both at the stop.
    let mut job = super::job("epochs:3");
    job.begin_logs(at(0), world.context());
    let mut printed = epochs(&mut job, &world, 2);
    printed.push_str(&job.stop(at(20), world.context()));
    printed.push_str(&job.close_logs(at(20), world.context()));
    let told: Vec<&str> = printed.split(actual).skip(1).map(|text| &text[..1]).collect();
    assert_eq!(told, ["1", "2"], "{printed}");
}

#[test]
fn the_end_of_a_step_sums_up_what_no_step_before_has() {
    let world = World::new();
    let mut job = job("epochs:9");
    job.begin_logs(at(0), world.context());
    epochs(&mut job, &world, 2);
    assert!(job.summary(world.context()).contains("Actual consumption for 2 epoch(s)"));
    assert_eq!(job.summary(world.context()), "");
    epochs(&mut job, &world, 1);
    assert!(job.summary(world.context()).contains("Actual consumption for 3 epoch(s)"));
    // Without epochs it is the job so far, which is another each time.
    let mut whole = super::job("on");
    run_until(&mut whole, 10);
    for _ in 0..2 {
        assert!(whole.summary(world.context()).contains("Actual consumption:\n"));
    }
}

#[test]
fn where_no_log_could_be_opened_the_owner_is_told_all_the_same() {
    let mut world = World::new();
    world.devices[0].method = "modelled:tdp-configured".to_owned();
    let mut job = job("on");
    run_until(&mut job, 3600);
    let text = job.close_logs(at(3600), world.context());
    let notice = "CarbonTracker: CPU energy is not measured: modelled:tdp-configured\n";
    assert!(text.starts_with(notice), "{text}");
    // 120 W for an hour with PUE 1.58 = 0.1896 kWh.
    assert!(text.contains("Actual consumption:\n\tTime:\t1:00:00\n\tEnergy:\t0.189600 kWh\n"));
    assert_eq!((job.close_logs(at(3600), world.context()), job.log.len()), (String::new(), 0));
    // Nobody reads what is said of a job that is not tracked, or on another node.
    for (tracked, is_first_node) in [(false, true), (true, false)] {
        let mut job = super::job("on");
        (job.tracked, job.is_first_node) = (tracked, is_first_node);
        assert_eq!(job.close_logs(at(0), world.context()), "");
    }
}

#[test]
fn the_zeros_of_a_component_that_is_not_there_are_explained() {
    let world = World::new();
    let mut job = job("components:gpu");
    let printed = job.begin_logs(at(0), world.context());
    let sentence = "No GPU was found, and components is \"gpu\": blocks and logs show 0";
    assert!(printed.contains(sentence) && printed.contains("components:cpu"), "{printed}");
    assert!(job.log.standard.contains(sentence) && job.log.output.contains(sentence));
    let says_so = |job: &Job| {
        let warnings = job.record(EndReason::Completed, world.context()).warnings;
        warnings.iter().any(|warning| warning.starts_with(sentence))
    };
    assert!(says_so(&job));
    // Not where the GPU came later, is simulated, or the CPU is shown, too.
    job.gpus.push(GpuShare { uuid: "GPU-1".into(), name: "A100".into(), share: 1.0 });
    assert!(!says_so(&job));
    for option in ["components:gpu,sim_gpu:A100,sim_gpu_watts:400", "on", "components:cpu"] {
        let mut job = super::job(option);
        assert!(!job.begin_logs(at(0), world.context()).contains("No GPU"), "{option}");
        assert!(!says_so(&job), "{option}");
    }
    let nothing = World { devices: Vec::new(), ..World::new() };
    let printed = super::job("components:cpu").begin_logs(at(0), nothing.context());
    assert!(printed.contains("No CPU was found, and components is \"cpu\""), "{printed}");
}
