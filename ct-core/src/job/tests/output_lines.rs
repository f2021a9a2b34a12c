//! Epochs by the lines of a job's output.

use super::*;

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
    let mut job = super::job("epochs:3,epoch_by:pattern");
    job.output_began_epoch(at(0), Some("1"), world.context());
    run_until(&mut job, 9);
    job.output_ended(at(9), world.context());
    assert_eq!(job.n_epochs(), 0);
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
