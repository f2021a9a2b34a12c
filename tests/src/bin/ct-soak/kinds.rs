//! The kinds of batch jobs, and what is done to them once they are there.

/// What is done to the tasks of an array until none is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// They are let be.
    None,
    /// Those that have run for a moment are cancelled.
    Cancel,
    /// Those that run are cancelled at once, so that some are still being launched.
    CancelAtLaunch,
    /// Their first run is sent back, and they run again some seconds later.
    Requeue,
    /// The same, and at once.
    RequeueAtOnce,
}

/// A kind of job.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) args: &'static [&'static str],
    pub(crate) body: &'static str,
    pub(crate) treatment: Treatment,
    /// How each of its runs ends, by sacct, where nothing is done to it: state, exit code.
    pub(crate) ends: (&'static str, &'static str),
    /// Of how many tasks an array is, at most.
    pub(crate) most: usize,
    /// How often it is chosen, beside the others.
    pub(crate) weight: usize,
}

const USUAL: Kind = Kind {
    name: "",
    args: &["-n1"],
    body: "true",
    treatment: Treatment::None,
    ends: ("completed", "0:0"),
    most: 30,
    weight: 1,
};

const RUNS_ONCE: &str = "[ \"${SLURM_RESTART_COUNT:-0}\" -ge 1 ] || exec sleep 300";

/// All kinds.
pub(crate) const KINDS: [Kind; 13] = [
    Kind { name: "of no time", weight: 4, most: 40, ..USUAL },
    Kind { name: "tracked", args: &["-n1", "--carbontracker=on"], body: "sleep 0.2", ..USUAL },
    Kind { name: "not tracked", args: &["-n1", "--carbontracker=off"], body: "sleep 1", ..USUAL },
    Kind {
        name: "with steps",
        args: &["-n1", "--carbontracker=epochs:2,epoch_by:step"],
        body: "srun -n1 true; srun -n1 sleep 0.1",
        most: 12,
        ..USUAL
    },
    Kind {
        name: "with marks",
        args: &["-n1", "--carbontracker=epochs:3"],
        body: "for n in 1 2 3; do $CT_TRACK epoch start; sleep 0.1; $CT_TRACK epoch end; done",
        most: 12,
        ..USUAL
    },
    Kind { name: "failing", body: "sleep 0.1; exit 3", ends: ("failed", "3:0"), ..USUAL },
    Kind {
        name: "failing, tracked",
        args: &["-n1", "--carbontracker=epochs:3"],
        body: "sleep 0.3; exit 7",
        ends: ("failed", "7:0"),
        ..USUAL
    },
    Kind { name: "on two nodes", args: &["-N2", "-n2"], body: "srun true", most: 6, ..USUAL },
    Kind {
        name: "on four nodes",
        args: &["-N4", "-n4", "--carbontracker=on"],
        body: "sleep 0.3",
        most: 4,
        ..USUAL
    },
    Kind {
        name: "cancelled",
        args: &["-n1", "--carbontracker=on"],
        body: "exec sleep 300",
        treatment: Treatment::Cancel,
        most: 10,
        ..USUAL
    },
    Kind {
        name: "cancelled at launch",
        body: "exec sleep 300",
        treatment: Treatment::CancelAtLaunch,
        most: 16,
        ..USUAL
    },
    Kind {
        name: "requeued",
        args: &["-n1", "--requeue", "--carbontracker=on"],
        body: RUNS_ONCE,
        treatment: Treatment::Requeue,
        most: 6,
        ..USUAL
    },
    Kind {
        name: "requeued at once",
        args: &["-n1", "--requeue"],
        body: RUNS_ONCE,
        treatment: Treatment::RequeueAtOnce,
        most: 6,
        ..USUAL
    },
];

/// Those that hold their cores for long: a few of each.
pub(crate) const SLOW_KINDS: [Kind; 2] = [
    Kind {
        name: "over their time limit",
        args: &["-n1", "-t1", "--carbontracker=on"],
        body: "exec sleep 300",
        ends: ("timeout", "0:0"),
        most: 2,
        ..USUAL
    },
    Kind {
        name: "out of memory",
        args: &["-n1", "--mem=60"],
        body: "tail /dev/zero",
        ends: ("out_of_memory", "0:125"),
        most: 3,
        ..USUAL
    },
];
