//! The configuration files of Slurm, as texts.

use super::builder::{Builder, Proctrack};
use super::layout::Layout;

/// Memory of each node, in MB; what the machine really has does not matter.
const NODE_MEMORY_MB: u32 = 6000;

/// The text of slurm.conf; one file serves the controller, the nodes and the clients.
pub(super) fn slurm_conf(layout: &Layout, config: &Builder) -> String {
    let mut conf = format!(
        "\
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
MpiDefault=none
StateSaveLocation={dir}/state
SlurmctldPidFile={dir}/run/slurmctld.pid
SlurmctldLogFile={dir}/log/slurmctld.log
SlurmctldDebug=verbose
SlurmdPidFile={dir}/run/slurmd.%n.pid
SlurmdSpoolDir={dir}/spool/%n
SlurmdLogFile={dir}/log/slurmd.%n.log
SlurmdDebug=verbose
SlurmdParameters=config_overrides
DebugFlags=NO_CONF_HASH
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
InactiveLimit=0
KillWait={kill_wait}
MinJobAge=300
SlurmctldTimeout=30
SlurmdTimeout=60
UnkillableStepTimeout=20
CompleteWait=0
JobRequeue=1
JobAcctGatherFrequency=task=5
AcctGatherNodeFreq=0
",
        port = layout.port(0),
        munge = layout.munge_socket().display(),
        dir = layout.dir().display(),
        kill_wait = config.kill_wait_s,
    );
    // Without that line it is looked for beside slurm.conf, which is then the fetched one.
    conf.push_str(&match config.is_configless {
        true => "SlurmctldParameters=enable_configless\n".to_owned(),
        false => format!("PlugStackConfig={}/plugstack.conf\n", layout.conf_dir().display()),
    });
    conf.push_str(tracking(config.proctrack));
    if !config.prolog_flags.is_empty() {
        conf.push_str(&format!("PrologFlags={}\n", config.prolog_flags));
    }
    if config.n_gres() > 0 {
        conf.push_str("GresTypes=gpu\n");
    }
    if config.has_accounting {
        conf.push_str(&super::accounting::slurm_conf(layout));
    }
    for line in &config.extra {
        conf.push_str(line);
        conf.push('\n');
    }
    conf + &nodes(layout, config)
}

fn tracking(proctrack: Proctrack) -> &'static str {
    match proctrack {
        // Without jobacct_gather/cgroup there is no cpuacct group to read a job's CPU time from.
        Proctrack::Cgroup => {
            "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup\n\
             JobAcctGatherType=jobacct_gather/cgroup\n"
        }
        Proctrack::Linuxproc => {
            "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/linux\n"
        }
    }
}

fn nodes(layout: &Layout, config: &Builder) -> String {
    let n_gres = config.n_gres();
    let gres = if n_gres > 0 { format!(" Gres=gpu:{n_gres}") } else { String::new() };
    let mut conf = String::new();
    for node in 1..=config.n_nodes {
        let name = layout.node_name(node);
        conf.push_str(&format!(
            "NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} \
             SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 \
             RealMemory={NODE_MEMORY_MB} State=UNKNOWN{gres}\n",
            port = layout.port(node),
            cpus = config.cpus_per_node,
        ));
    }
    conf + "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP \
            OverSubscribe=NO\n"
}

/// The text of cgroup.conf.
pub(super) fn cgroup_conf(config: &Builder) -> String {
    let constrain = match config.proctrack {
        Proctrack::Cgroup => "ConstrainCores=yes\nConstrainRAMSpace=yes\nConstrainDevices=yes\n",
        Proctrack::Linuxproc => "",
    };
    format!("CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n{constrain}")
}

/// The text of gres.conf; nothing without GPUs.
pub(super) fn gres_conf(layout: &Layout, config: &Builder) -> Option<String> {
    let last = config.n_gres().checked_sub(1)?;
    if let Some((_, lines)) = &config.gres {
        return Some(lines.replace("{dev}", &layout.dev().display().to_string()));
    }
    let first = layout.fake_gpu(0);
    Some(format!("Name=gpu File={}[0-{last}]\n", first.display().to_string().trim_end_matches('0')))
}
