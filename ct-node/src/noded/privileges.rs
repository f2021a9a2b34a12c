//! Gives up root, and leaves the cgroup of a job.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities,
};

use nix::unistd::{
    Gid, Uid, User, getgrouplist, setegid, seteuid, setgroups, setresgid, setresuid,
};

/// Who the daemon becomes.
pub(super) struct ServiceUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// All its groups: by one of them it may reach the device files of GPUs.
    groups: Vec<Gid>,
}

/// The configured user, else `nobody`.
pub(super) fn service_user(name: &str) -> anyhow::Result<ServiceUser> {
    for name in [name, "nobody"] {
        if let Some(user) = User::from_name(name).with_context(|| format!("user {name:?}"))? {
            if user.uid.is_root() {
                bail!("service_user {name:?} is root; give a user without privileges");
            }
            let c_name = CString::new(name)?;
            let groups = getgrouplist(&c_name, user.gid).unwrap_or_default();
            return Ok(ServiceUser { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups });
        }
        log::info!("no user {name:?} on this node");
    }
    bail!("neither user {name:?} nor \"nobody\" exists");
}

/// Does something with the user's effective ids, and takes root's back.
pub(super) fn as_user<T>(
    user: Option<&ServiceUser>,
    body: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Some(user) = user else { return body() };
    setgroups(&[]).context("cannot give up the supplementary groups")?;
    setegid(Gid::from_raw(user.gid)).context("cannot take the service group")?;
    seteuid(Uid::from_raw(user.uid)).context("cannot take the service user")?;
    let result = body();
    seteuid(Uid::from_raw(0)).context("cannot be root again")?;
    setegid(Gid::from_raw(0)).context("cannot be root's group again")?;
    result
}

/// As many open files as the system allows: each tracked job has four, each connection one.
pub(super) fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        log::warn!("cannot raise the limit of open files: {e}");
    }
}

/// Becomes the user for good. The kernel takes every capability with it, but for CAP_KILL of this
/// thread where jobs may be ended; threads that run already keep none.
pub(super) fn become_user(user: &ServiceUser, may_end_jobs: bool) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let is_roots = |group: &Gid| group.as_raw() == 0;
    let groups: Vec<Gid> = user.groups.iter().copied().filter(|g| !is_roots(g)).collect();
    setgroups(&groups).context("cannot give up root's supplementary groups")?;
    setresgid(gid, gid, gid).context("cannot become the service group")?;
    if may_end_jobs {
        set_keep_capabilities(true).context("PR_SET_KEEPCAPS")?;
    }
    setresuid(uid, uid, uid).context("cannot become the service user")?;
    if may_end_jobs {
        set_keep_capabilities(false).context("PR_SET_KEEPCAPS")?;
        let kill = CapabilitySet::KILL;
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: kill, permitted: kill, inheritable: none };
        set_capabilities(None, sets).context("cannot give up all but CAP_KILL")?;
    }
    if Uid::effective().is_root()
        || setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok()
    {
        bail!("root was not given up");
    }
    Ok(())
}

/// No new privileges by exec: none by set-user-ID programs, nothing inherited, an empty bounding set.
/// All of that is of a thread and those it starts, so it is done before there are others.
pub(super) fn refuse_new_privileges() -> anyhow::Result<()> {
    nix::sys::prctl::set_no_new_privs().context("PR_SET_NO_NEW_PRIVS")?;
    let own = capabilities(None).context("cannot read our capabilities")?;
    let sets = CapabilitySets { inheritable: CapabilitySet::empty(), ..own };
    set_capabilities(None, sets).context("cannot give up inheritable capabilities")?;
    if !own.effective.contains(CapabilitySet::SETPCAP) {
        // Not root, or root without that in a container: there is nothing to be gained by exec.
        return Ok(());
    }
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            // The kernel knows no such capability, nor any beyond it.
            Err(rustix::io::Errno::INVAL) => break,
            dropped => dropped.context("cannot empty the bounding set of capabilities")?,
        }
    }
    Ok(())
}

/// No core dumps, and no ptrace by others of the service user's uid; giving up root resets it, so
/// after that.
pub(super) fn hide_memory() -> anyhow::Result<()> {
    nix::sys::prctl::set_dumpable(false).context("PR_SET_DUMPABLE")
}

/// Moves this process out of any job's cgroup it was born in, to the root of each hierarchy: else
/// it would be charged to the job, die with it, or keep its directories from being removed.
pub(super) fn leave_job_cgroup(cgroupfs: &Path) {
    let Ok(own) = fs::read_to_string("/proc/self/cgroup") else { return };
    let pid = std::process::id().to_string();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        if !path.split('/').any(|part| part.starts_with("job_")) {
            continue;
        }
        let root = if controllers.is_empty() {
            cgroupfs.to_owned()
        } else {
            cgroupfs.join(controllers.trim_start_matches("name="))
        };
        if let Err(e) = fs::write(root.join("cgroup.procs"), &pid) {
            log::warn!("cannot leave cgroup {path}: {e}");
        }
    }
}
