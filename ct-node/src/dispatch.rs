//! Answers one request: who may ask for it, and what is done.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ct_core::job::Job;
use ct_core::protocol::{JobStatus, Reply, Request};

use crate::log_files::LogFiles;
use crate::station::Station;

/// Age of a sample that is fresh enough for a status.
const STATUS_AGE: Duration = Duration::from_secs(1);

/// Who is asking, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id at the time of connecting.
    pub uid: u32,
    /// Process id.
    pub pid: i32,
}

/// What answers: the station, the logs, and whose word counts as Slurm's.
pub struct Desk<'a> {
    /// Meters and jobs.
    pub station: &'a mut Station,
    /// Open log files.
    pub logs: &'a mut LogFiles,
    /// Uid that may start and end jobs, beside root.
    pub owner: u32,
}

impl Desk<'_> {
    /// Answers a request.
    pub fn answer(&mut self, peer: Peer, request: Request, fds: Vec<OwnedFd>) -> Reply {
        let reply = self.try_answer(peer, request, fds);
        for job in self.station.jobs_mut() {
            self.logs.flush(job);
        }
        for ended in self.station.ended_mut() {
            self.logs.flush(&mut ended.job);
        }
        reply.unwrap_or_else(|message| Reply::Error { message })
    }

    fn try_answer(
        &mut self,
        peer: Peer,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<Reply, String> {
        match request {
            Request::Ping {} => {
                // slurmd asks so when it starts.
                if self.for_slurm(peer).is_ok() {
                    self.station.slurmd_has_started();
                }
                let version = env!("CARGO_PKG_VERSION").to_owned();
                Ok(Reply::Pong { version, pid: std::process::id() })
            }
            Request::JobStart(facts) => {
                self.for_slurm(peer)?;
                let job_id = facts.job_id;
                self.station.job_start(*facts);
                // Only a step knows all that the names of the logs are made of.
                Ok(Reply::Started { tracked: self.is_tracked(job_id), open_logs: None })
            }
            Request::StepStart { job, step } => {
                self.for_slurm(peer)?;
                let job_id = job.job_id;
                self.station.step_start(*job, &step);
                Ok(self.started(job_id))
            }
            Request::StepEnd { job_id, step } => {
                self.for_slurm(peer)?;
                let lost = self.has_lost_logs(job_id);
                let text = self.station.step_end(job_id, &step);
                Ok(Reply::Text { text, need_logs: lost })
            }
            Request::JobEnd(end) => {
                self.for_slurm(peer)?;
                self.station.job_end(end.job_id, end.wait_status, true);
                Ok(Reply::Ok {})
            }
            Request::Logs { job_id } => self.logs(peer, job_id, fds),
            Request::EpochStart { job_id } => {
                self.for_owner(peer, job_id)?;
                self.station.epoch_start(job_id);
                Ok(text(String::new()))
            }
            Request::EpochEnd { job_id } => {
                self.for_owner(peer, job_id)?;
                match self.station.epoch_end(job_id) {
                    Some(Ok(printed)) => Ok(text(printed)),
                    Some(Err(e)) => Err(e.to_string()),
                    None => Err(unknown(job_id)),
                }
            }
            Request::Stop { job_id } => {
                self.for_owner(peer, job_id)?;
                Ok(text(self.station.stop(job_id).unwrap_or_default()))
            }
            Request::Status { job_id } => {
                self.for_owner(peer, job_id)?;
                // A question is no event: whoever asks in a loop costs nobody a sample each time. The
                // batch step's own, asked by root when its last task is gone, is one.
                let is_slurms = self.for_slurm(peer).is_ok();
                let age = if is_slurms { Duration::ZERO } else { STATUS_AGE };
                self.station.sample_if_older_than(age);
                let job = self.station.jobs().get(&job_id).ok_or_else(|| unknown(job_id))?;
                Ok(Reply::Status(Box::new(status(job, self.station))))
            }
            _ => Err("operation is not known to this version".to_owned()),
        }
    }

    fn for_slurm(&self, peer: Peer) -> Result<(), String> {
        if peer.uid == 0 || peer.uid == self.owner {
            return Ok(());
        }
        Err(format!("uid {} may not start or end jobs", peer.uid))
    }

    fn for_owner(&self, peer: Peer, job_id: u32) -> Result<(), String> {
        // The same words for a job that is not there and one of somebody else's.
        match self.station.jobs().get(&job_id) {
            Some(job) if [0, self.owner, job.facts.uid].contains(&peer.uid) => Ok(()),
            _ => Err(unknown(job_id)),
        }
    }

    fn started(&mut self, job_id: u32) -> Reply {
        let is_open = self.logs.has(job_id);
        let open_logs = if is_open { None } else { self.station.wanted_logs(job_id) };
        Reply::Started { tracked: self.is_tracked(job_id), open_logs }
    }

    fn is_tracked(&self, job_id: u32) -> bool {
        self.station.jobs().get(&job_id).is_some_and(|job| job.tracked)
    }

    fn has_lost_logs(&self, job_id: u32) -> bool {
        let job = self.station.jobs().get(&job_id);
        job.is_some_and(Job::is_log_open) && !self.logs.has(job_id)
    }

    fn logs(&mut self, peer: Peer, job_id: u32, fds: Vec<OwnedFd>) -> Result<Reply, String> {
        self.for_owner(peer, job_id)?;
        if self.logs.has(job_id) || self.station.wanted_logs(job_id).is_none() {
            return Err(format!("no log files of job {job_id} are wanted"));
        }
        let job = self.station.jobs().get(&job_id).ok_or_else(|| unknown(job_id))?;
        self.logs.attach(job_id, job.facts.uid, fds).map_err(|e| e.to_string())?;
        Ok(text(self.station.begin_logs(job_id).unwrap_or_default()))
    }
}

fn text(text: String) -> Reply {
    Reply::Text { text, need_logs: false }
}

fn unknown(job_id: u32) -> String {
    format!("no job {job_id} of yours is measured on this node")
}

fn status(job: &Job, station: &Station) -> JobStatus {
    let context = station.context();
    let energy = job.visible_energy();
    let elapsed = job.elapsed();
    let pricing = job.price(context.factors);
    let joules = |e: &ct_core::units::Microjoules| e.to_joules().as_joules().round() as u64;
    JobStatus {
        job_id: job.facts.job_id,
        tracked: job.tracked,
        elapsed_s: elapsed.as_secs_f64(),
        energy_j: ct_core::energy::ByComponent {
            cpu: joules(&energy.cpu),
            dram: joules(&energy.dram),
            gpu: joules(&energy.gpu),
            rest: joules(&energy.rest),
        },
        co2e_g: context.factors.footprint(energy.total().to_joules(), pricing.mean()).as_grams(),
        power_w: energy.total().to_joules().over(elapsed).as_watts().round(),
        epochs_declared: job.settings.epochs,
        epochs_done: u32::try_from(job.epochs().len()).unwrap_or(u32::MAX),
        epoch_running: job.is_epoch_running(),
        prediction: job.prediction.clone(),
        gpus: job.gpus.clone(),
        intensity: pricing.used,
        method: job.shown_methods(context),
        warnings: job.all_warnings(context).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ct_core::config::Config;
    use ct_core::protocol::{JobEnd, JobFacts};
    use ct_core::sampler::Sampler;

    use super::*;

    const OWNER: u32 = 1000;

    fn ask(station: &mut Station, uid: u32, request: Request) -> Reply {
        let mut logs = LogFiles::default();
        let mut desk = Desk { station, logs: &mut logs, owner: 0 };
        desk.answer(Peer { uid, pid: 1 }, request, Vec::new())
    }

    fn station() -> Station {
        let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
        let mut station = Station::new(Config::default(), "n1".to_owned(), sampler);
        let facts = JobFacts { job_id: 1, uid: OWNER, ..JobFacts::default() };
        let reply = ask(&mut station, 0, Request::JobStart(Box::new(facts)));
        assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
        station
    }

    #[test]
    fn only_root_starts_and_ends_jobs() {
        let mut station = station();
        let facts = JobFacts { job_id: 2, uid: OWNER, ..JobFacts::default() };
        for request in [
            Request::JobStart(Box::new(facts.clone())),
            Request::StepStart { job: Box::new(facts), step: Default::default() },
            Request::StepEnd { job_id: 1, step: "batch".to_owned() },
            Request::JobEnd(JobEnd { job_id: 1, uid: OWNER, ..JobEnd::default() }),
        ] {
            let reply = ask(&mut station, OWNER, request);
            assert!(matches!(&reply, Reply::Error { message } if message.contains("may not")));
        }
        assert_eq!(station.jobs().keys().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn a_strangers_job_and_one_that_is_not_there_look_alike() {
        let mut station = station();
        for request in [
            |job_id| Request::Status { job_id },
            |job_id| Request::EpochStart { job_id },
            |job_id| Request::EpochEnd { job_id },
            |job_id| Request::Stop { job_id },
            |job_id| Request::Logs { job_id },
        ] {
            let text = |reply: Reply| format!("{reply:?}").replace('2', "1");
            let stranger = text(ask(&mut station, OWNER + 1, request(1)));
            let absent = text(ask(&mut station, OWNER + 1, request(2)));
            assert_eq!(stranger, absent);
            assert!(stranger.contains("no job 1 of yours"), "{stranger}");
        }
        let own = ask(&mut station, OWNER, Request::Status { job_id: 1 });
        assert!(matches!(own, Reply::Status(_)), "{own:?}");
    }

    #[test]
    fn logs_nobody_asked_for_are_refused() {
        let mut station = station();
        let reply = ask(&mut station, OWNER, Request::Logs { job_id: 1 });
        assert!(matches!(&reply, Reply::Error { message } if message.contains("are wanted")));
    }
}
