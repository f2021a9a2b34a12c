//! Prolog and epilog: start and end of a job on this node.
//!
//! A fresh process each, without init. Never `spank_job_control_getenv` here: it ends in a null
//! pointer inside libslurm (22.05), and that drains the node.

use std::env;
use std::path::PathBuf;

use ct_core::protocol::{JobEnd, JobFacts, Request};

use crate::absence;
use crate::client::ClientError;
use crate::logging::Log;
use crate::site::{Service, Site, node_name};
use crate::spank::Spank;
use crate::spawn::{self, Birthplace};
use crate::{facts, options, sys, untold};

/// Registers the job with ct-noded.
pub(crate) fn prolog(spank: &Spank) {
    let Some(mut job) = job(spank) else { return };
    let site = Site::from_args(spank.args());
    site.complete(&mut job);
    job.option = options::in_job_script(spank);
    tell(&site, job.job_id, &Request::JobStart(Box::new(job)));
}

/// Tells ct-noded that the job ended, also one it never saw.
pub(crate) fn epilog(spank: &Spank) {
    let Some(job) = job(spank) else { return };
    let wait_status = variable("SLURM_JOB_EXIT_CODE").and_then(|code| code.parse().ok());
    let job_id = job.job_id;
    let end = JobEnd { job: Box::new(job), wait_status };
    let untold = tell(&Site::from_args(spank.args()), job_id, &Request::JobEnd(end.clone()));
    if let Some((service, error)) = untold {
        untold::keep(&service, end, &error, &Log::of_job_script(job_id));
    }
}

/// Tells ct-noded; whom it was told in vain, and why.
fn tell(site: &Site, job_id: u32, request: &Request) -> Option<(Service, ClientError)> {
    let log = Log::of_job_script(job_id);
    let node = node_name();
    let service = site.service(&node, &log);
    let answer = spawn::ask(site, &service, &node, Birthplace::Slurmd, &log, request);
    let error = answer.err()?;
    absence::report(&log, &service, &error);
    Some((service, error))
}

/// Who and what the job is: ids from Slurm's items, the rest from its environment.
fn job(spank: &Spank) -> Option<JobFacts> {
    let job_id = spank.item_u32(sys::S_JOB_ID).filter(|id| *id != 0);
    let work_dir = variable("SLURM_JOB_WORK_DIR").filter(|dir| dir.starts_with('/'));
    Some(JobFacts {
        job_id: job_id.or_else(|| variable("SLURM_JOB_ID")?.parse().ok())?,
        uid: spank.item_u32(sys::S_JOB_UID).or_else(|| variable("SLURM_JOB_UID")?.parse().ok())?,
        gid: spank.item_u32(sys::S_JOB_GID).or_else(|| variable("SLURM_JOB_GID")?.parse().ok())?,
        node: Some(node_name()),
        work_dir: work_dir.map(PathBuf::from),
        ..facts::from_environment(&|name, _| variable(name))
    })
}

/// A variable of the process; `None` where it is not UTF-8.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}
