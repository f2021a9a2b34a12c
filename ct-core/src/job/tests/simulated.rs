//! What is shown of simulated components, and what is charged.

use super::*;

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
