//! Answers one request: who may ask for it, and what is done.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ct_core::config::YesNo;
use ct_core::job::Job;
use ct_core::option::EpochBy;
use ct_core::protocol::{ConfirmState, JobStatus, OpenLogs, Reply, Request};
use ct_core::record::Prediction;
use ct_core::sampler::now;
use ct_core::units::Joules;

use crate::log_files::LogFiles;
use crate::outputs::{self, Found, Outputs};
use crate::station::Station;

/// Age of what is shown that is fresh enough for a status.
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
    /// Output files that are read for epochs.
    pub outputs: &'a mut Outputs,
    /// Uid that may start and end jobs, beside root.
    pub owner: u32,
    /// Whether another ct-noded may take our place.
    pub gives_way: bool,
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
            Request::Yield {} => {
                self.for_slurm(peer)?;
                if !self.gives_way {
                    return Err("it was not the plugin that started this ct-noded".to_owned());
                }
                Ok(Reply::Ok {})
            }
            Request::JobStart(facts) => {
                self.for_slurm(peer)?;
                let job_id = facts.job_id;
                self.station.job_start(*facts);
                // Only a step knows all that the names of the logs are made of.
                let tracked = self.is_tracked(job_id);
                Ok(Reply::Started {
                    tracked,
                    open_logs: None,
                    wants_output: false,
                    wants_watch: false,
                })
            }
            Request::StepStart { job, step } => {
                self.for_slurm(peer)?;
                let job_id = job.job_id;
                self.station.step_start(*job, &step);
                Ok(self.started(job_id, &step.name))
            }
            Request::StepEnd { job_id, step } => {
                self.for_slurm(peer)?;
                let lost = self.has_lost_logs(job_id);
                self.read_output_to_its_end(job_id, &step);
                let text = self.station.step_end(job_id, &step);
                Ok(Reply::Text { text, need_logs: lost, confirm: None, end: false })
            }
            Request::JobEnd(end) => {
                self.for_slurm(peer)?;
                self.outputs.forget(end.job.job_id);
                self.station.job_ended(end);
                Ok(Reply::Ok {})
            }
            Request::Logs { job_id } => self.logs(peer, job_id, fds),
            Request::Output { job_id } => self.output(peer, job_id, fds),
            Request::EpochStart { job_id } => {
                self.for_owner(peer, job_id)?;
                self.station.epoch_start(job_id);
                Ok(self.marked(job_id, String::new()))
            }
            Request::EpochEnd { job_id } => {
                self.for_owner(peer, job_id)?;
                match self.station.epoch_end(job_id) {
                    Some(Ok(printed)) => Ok(self.marked(job_id, printed)),
                    Some(Err(e)) => Err(e.to_string()),
                    None => Err(unknown(job_id)),
                }
            }
            Request::Stop { job_id } => {
                self.for_owner(peer, job_id)?;
                let text = self.station.stop(job_id).unwrap_or_default();
                Ok(self.marked(job_id, text))
            }
            Request::Declare { job_id, option } => {
                self.for_owner(peer, job_id)?;
                self.station.declare(job_id, &option)?;
                Ok(Reply::Ok {})
            }
            Request::LogFiles { job_id } => self.log_files(peer, job_id),
            Request::Confirm { job_id, answer } => self.confirm(peer, job_id, answer),
            Request::Confirmation { job_id } => {
                self.for_owner(peer, job_id)?;
                Ok(self.marked(job_id, String::new()))
            }
            Request::Watch { job_id } => {
                self.for_owner(peer, job_id)?;
                let end = self.station.is_owner_to_end(job_id);
                Ok(Reply::Text { text: String::new(), need_logs: false, confirm: None, end })
            }
            Request::Status { job_id } => {
                self.for_owner(peer, job_id)?;
                // A question is no event: whoever asks in a loop costs nobody a sample each time, and
                // learns nothing more often. The batch step's own, asked by root when its last task
                // is gone, is one.
                if self.for_slurm(peer).is_ok() {
                    self.station.sample();
                    self.station.job_mut(job_id).into_iter().for_each(Job::publish);
                } else {
                    self.station.show_if_older_than(job_id, STATUS_AGE);
                }
                let job = self.station.jobs().get(&job_id).ok_or_else(|| unknown(job_id))?;
                Ok(Reply::Status(Box::new(status(job, self.station))))
            }
            Request::Node {} => {
                self.for_slurm(peer)?;
                Ok(Reply::Node(Box::new(self.station.inventory())))
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

    fn started(&mut self, job_id: u32, step: &str) -> Reply {
        let is_open = self.logs.has(job_id);
        let open_logs = if is_open { None } else { self.station.wanted_logs(job_id) };
        let wants_output = self.station.wants_output(job_id, step);
        let wants_watch = self.station.wants_watch(job_id, step);
        Reply::Started { tracked: self.is_tracked(job_id), open_logs, wants_output, wants_watch }
    }

    /// Answers a mark: text for the job's output, a question that waits, whether to end the job.
    fn marked(&mut self, job_id: u32, printed: String) -> Reply {
        // Before the text is taken: it may be that time is up.
        let confirm = self.station.confirmation(job_id);
        let end = confirm.as_ref().is_none_or(|c| c.state != ConfirmState::Waiting)
            && self.station.is_owner_to_end(job_id);
        let unsaid = self.station.job_mut(job_id).map(Job::take_unsaid).unwrap_or_default();
        Reply::Text { text: printed + &unsaid, need_logs: false, confirm, end }
    }

    /// The job's owner answers, and nobody in its place: not even root.
    fn confirm(&mut self, peer: Peer, job_id: u32, answer: YesNo) -> Result<Reply, String> {
        self.for_owner(peer, job_id)?;
        let uid = self.station.jobs().get(&job_id).map(|job| job.facts.uid);
        if uid != Some(peer.uid) {
            return Err(format!("only the owner of job {job_id} may answer"));
        }
        if !self.station.confirm(job_id, answer) {
            return Err(format!("job {job_id} does not wait for an answer"));
        }
        Ok(Reply::Ok {})
    }

    /// The job's output file, whose lines begin its epochs.
    fn output(&mut self, peer: Peer, job_id: u32, fds: Vec<OwnedFd>) -> Result<Reply, String> {
        self.for_owner(peer, job_id)?;
        let is_slurms = self.for_slurm(peer).is_ok();
        let job = self.station.job_mut(job_id).ok_or_else(|| unknown(job_id))?;
        let is_asked_for = job.settings.epoch_by == EpochBy::Pattern && job.tracked;
        // slurmstepd passes it again when its program is over.
        let is_at_end = job.has_lost_output() || (job.is_output_read && is_slurms);
        if !is_asked_for || (job.is_output_read && !is_at_end) {
            return Err(format!("no output file of job {job_id} is wanted"));
        }
        if !job.is_output_read {
            let from = job.has_lost_output().then_some(job.output_at);
            let pattern = &job.settings.epoch_pattern;
            self.outputs.follow(job_id, pattern, fds, from).map_err(|e| e.to_string())?;
            job.is_output_read = true;
        }
        if is_at_end {
            self.outputs.begin_to_finish(job_id);
        }
        Ok(text(String::new()))
    }

    fn read_output_to_its_end(&mut self, job_id: u32, step: &str) {
        let job = self.station.jobs().get(&job_id);
        if job.is_some_and(|job| job.is_output_read && (step == "batch" || !job.has_batch_step)) {
            let found = self.outputs.finish(job_id);
            take_found(self.station, &found);
        }
    }

    fn is_tracked(&self, job_id: u32) -> bool {
        self.station.jobs().get(&job_id).is_some_and(|job| job.tracked)
    }

    fn has_lost_logs(&self, job_id: u32) -> bool {
        let job = self.station.jobs().get(&job_id);
        job.is_some_and(Job::is_log_open) && !self.logs.has(job_id)
    }

    /// Where the logs are, for the program whose user's they are.
    fn log_files(&mut self, peer: Peer, job_id: u32) -> Result<Reply, String> {
        self.for_owner(peer, job_id)?;
        if !self.logs.has(job_id) {
            return Err(format!("no logs of job {job_id} are written by this node"));
        }
        let OpenLogs { dir, names } = self.station.movable_logs(job_id)?;
        Ok(Reply::LogFiles { dir, names })
    }

    fn logs(&mut self, peer: Peer, job_id: u32, fds: Vec<OwnedFd>) -> Result<Reply, String> {
        self.for_owner(peer, job_id)?;
        if self.logs.has(job_id) || self.station.wanted_logs(job_id).is_none() {
            return Err(format!("no log files of job {job_id} are wanted"));
        }
        let job = self.station.jobs().get(&job_id).ok_or_else(|| unknown(job_id))?;
        self.logs.attach(job_id, job.facts.uid, fds).map_err(|e| e.to_string())?;
        let mut begun = self.station.begin_logs(job_id).unwrap_or_default();
        if let Some(job) = self.station.job_mut(job_id)
            && job.settings.epoch_by == EpochBy::Pattern
            && let Err(e) = outputs::compile(&job.settings.epoch_pattern)
        {
            job.warnings.insert(format!("epochs are not counted: {e}"));
            begun.push_str(&format!("carbontracker: {e}; epochs are not counted\n"));
        }
        Ok(text(begun))
    }
}

/// Hands on what was found in jobs' output.
pub fn take_epochs(station: &mut Station, logs: &mut LogFiles, outputs: &Outputs) {
    for found in outputs.found() {
        take_found(station, &found);
        if let Some(job) = station.job_mut(found.job_id) {
            logs.flush(job);
        }
    }
    print_unsaid(station, outputs);
}

fn take_found(station: &mut Station, found: &Found) {
    if !found.labels.is_empty() {
        station.output_began_epochs(found.job_id, &found.labels);
    }
    let Some(job) = station.job_mut(found.job_id) else { return };
    job.output_at = job.output_at.max(found.at);
    job.say_later(&found.unsaid);
    if found.is_behind {
        let warning = "the output grew too fast to be read: lines that begin epochs may be lost";
        job.warnings.insert(warning.to_owned());
    }
}

/// Prints what is to be said in outputs that are read, as no mark comes that would bring it.
fn print_unsaid(station: &mut Station, outputs: &Outputs) {
    for job in station.jobs_mut().filter(|job| outputs.has(job.facts.job_id)) {
        let text = job.take_unsaid();
        if !text.is_empty()
            && let Err(text) = outputs.print(job.facts.job_id, text)
        {
            job.say_later(&text);
        }
    }
}

fn text(text: String) -> Reply {
    Reply::text(text)
}

fn unknown(job_id: u32) -> String {
    format!("no job {job_id} of yours is measured on this node")
}

fn status(job: &Job, station: &Station) -> JobStatus {
    let context = station.context();
    let energy = job.published_energy();
    let elapsed = job.published_at().since(&job.start);
    let pricing = job.price(context.factors);
    let joules = |e: &ct_core::units::Microjoules| e.to_joules().as_joules().round() as u64;
    let energy_j = ct_core::energy::ByComponent {
        cpu: joules(&energy.cpu),
        dram: joules(&energy.dram),
        gpu: joules(&energy.gpu),
        rest: joules(&energy.rest),
    };
    // Grams and watts are of the joules that are shown: they tell no more than those.
    let total = Joules::new((energy_j.cpu + energy_j.dram + energy_j.gpu + energy_j.rest) as f64);
    JobStatus {
        job_id: job.facts.job_id,
        tracked: job.tracked,
        elapsed_s: elapsed.as_secs_f64(),
        energy_j,
        co2e_g: context.factors.footprint(total, pricing.mean()).as_grams(),
        power_w: total.over(elapsed).as_watts().round(),
        epochs_declared: job.settings.epochs,
        epochs_done: job.n_epochs(),
        epoch_running: job.is_epoch_running(),
        prediction: job.outlook(context).map(rounded),
        budget: job.budget().cloned(),
        account_budget: job.account_budget().cloned(),
        waits_s: job.waits_since().map(|since| now().since(&since).as_secs_f64()),
        gpus: job.all_gpus().cloned().collect(),
        intensity: pricing.used,
        method: job.shown_methods(context),
        warnings: job.all_warnings(context).into_iter().collect(),
    }
}

/// A prediction in whole joules, as all of a status is.
fn rounded(prediction: Prediction) -> Prediction {
    let energy_j = prediction.energy_j.round();
    let part = if prediction.energy_j > 0.0 { energy_j / prediction.energy_j } else { 1.0 };
    Prediction {
        energy_j,
        co2e_g: prediction.co2e_g * part,
        energy_j_low: prediction.energy_j_low.map(f64::round),
        energy_j_high: prediction.energy_j_high.map(f64::round),
        co2e_g_low: prediction.co2e_g_low.map(|g| g * part),
        co2e_g_high: prediction.co2e_g_high.map(|g| g * part),
        first: None,
        ..prediction
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
        let mut outputs = Outputs::default();
        let (logs, outputs) = (&mut logs, &mut outputs);
        let mut desk = Desk { station, logs, outputs, owner: 0, gives_way: true };
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
            Request::JobEnd(JobEnd::default()),
            Request::Yield {},
            Request::Node {},
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
            |job_id| Request::LogFiles { job_id },
            |job_id| Request::Watch { job_id },
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
