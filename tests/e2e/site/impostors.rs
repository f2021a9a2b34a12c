//! A user's processes that look like slurmstepds, by their titles and in the kernel's table of sockets.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use ct_tests::{JobId, Site, User};

/// The first of the jobs that are not there.
pub(crate) const FIRST_FORGED: u32 = 3_000_001;
const N_FORGED: u32 = 300;

/// Ends them when it goes.
pub(crate) struct Impostors {
    titled: Child,
    listening: Option<Child>,
}

impl Impostors {
    /// Starts them on the first node: one is titled as a step of another user's job, one listens, in a
    /// mount namespace of its own, where slurmstepds of that job and of hundreds of others would.
    pub(crate) fn start(site: &Site, user: &User, job: JobId) -> Result<Self> {
        let home = site.cluster.home(user);
        let (node, job) = (site.cluster.node(1), job.as_u32());
        let spool = site.cluster.dir().join("spool").join(&node);
        // With a copy of `sleep` of that name the kernel's word for the process is the same, too.
        let titled = format!(
            "cp /bin/sleep {0}/slurmstepd && exec -a 'slurmstepd: [{job}.7]' {0}/slurmstepd 300",
            home.display()
        );
        let listening = format!(
            "import os, socket, time\n\
             jobs = [{job}, *range(1, 10), *range({FIRST_FORGED}, {FIRST_FORGED} + {N_FORGED})]\n\
             all = [socket.socket(socket.AF_UNIX) for _ in jobs]\n\
             [s.bind('{0}/{node}_%d.7' % job) or s.listen() for s, job in zip(all, jobs)]\n\
             time.sleep(300)",
            spool.display()
        );
        let in_a_namespace =
            format!("mount -t tmpfs none {} && exec python3 -c \"$1\"", spool.display());
        let unshare = ["unshare", "-Urm", "sh", "-c", &in_a_namespace, "sh", &listening];
        let impostors = Self {
            titled: spawn(user, &["bash", "-c", &titled])?,
            listening: can_make_namespaces(user).then(|| spawn(user, &unshare)).transpose()?,
        };
        ct_tests::site::wait_for("the impostors", || {
            let comm = fs::read_to_string(format!("/proc/{}/comm", impostors.titled.id())).ok()?;
            let last = format!("{node}_{}.7", FIRST_FORGED + N_FORGED - 1);
            let table = fs::read_to_string("/proc/net/unix").ok()?;
            let is_bound = || table.lines().any(|line| line.ends_with(&last));
            let are_there = comm == "slurmstepd\n" && (impostors.listening.is_none() || is_bound());
            are_there.then_some(())
        })?;
        Ok(impostors)
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        [Some(&self.titled), self.listening.as_ref()].into_iter().flatten().map(Child::id).collect()
    }
}

impl Drop for Impostors {
    fn drop(&mut self) {
        for child in [Some(&mut self.titled), self.listening.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(user: &User, args: &[&str]) -> Result<Child> {
    let (uid, gid) = (user.uid().to_string(), user.gid().to_string());
    let command = ["--reuid", &uid, "--regid", &gid, "--clear-groups"];
    Ok(Command::new("setpriv").args(command).args(args).stdin(Stdio::null()).spawn()?)
}

/// Whether a user may make namespaces here, by which alone a socket's path can be forged.
fn can_make_namespaces(user: &User) -> bool {
    let made = spawn(user, &["unshare", "-Urm", "true"]).and_then(|mut child| Ok(child.wait()?));
    let can = made.is_ok_and(|status| status.success());
    if !can {
        ct_tests::say_skipped("forged sockets skipped: users may not make namespaces here");
    }
    can
}
