//! slurmstepd: a step is told to ct-noded, its user opens the log files, its end brings the text
//! for the job's output.
//!
//! The extern step sees neither option nor environment, and its standard output is a pipe of
//! slurmd's: nothing is done there.

mod logs;
mod output;
mod step;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ct_core::protocol::{JOB_ID_ENV, OpenLogs, Reply, Request, SOCKET_ENV};

use crate::absence;
use crate::client::{Client, ClientError, patience};
use crate::logging::{self, Kind, Log};
use crate::options;
use crate::os;
use crate::site::{Service, Site, node_name};
use crate::spank::Spank;
use crate::spawn::{self, Birthplace};
use crate::sys;
use step::{BATCH, StepId};

/// What the hooks of one slurmstepd hand on to the next.
///
/// The service is kept, as the configuration need not be readable by the job's user.
struct State {
    id: StepId,
    site: Site,
    node: String,
    service: Service,
    /// Whether ct-noded answered at first: one that has gone since is worth a new start.
    was_answered: bool,
    /// Whether the job's owner, who asked for tracking, is to be told that there is none.
    owes_notice: bool,
    open_logs: Option<OpenLogs>,
    /// Where ct-noded wants the first task's output: our end and the task's, which hands it over, so
    /// that it can be passed on once more when the step ends.
    output: Option<(OwnedFd, OwnedFd)>,
    wants_watch: bool,
    handles: Vec<OwnedFd>,
    n_exited: u32,
    is_ended: bool,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers the option, or Slurm would refuse the job's.
pub(crate) fn init(spank: &Spank) {
    options::register(spank);
}

/// Tells ct-noded of the step.
pub(crate) fn init_post_opt(spank: &Spank) {
    let Some(id) = StepId::of(spank) else { return };
    let log = id.log();
    let site = Site::from_args(spank.args());
    site.report(&log);
    let node = node_name();
    let service = site.service(&node, &log);
    let mut step = State {
        id,
        site,
        node,
        service,
        was_answered: false,
        owes_notice: false,
        open_logs: None,
        output: None,
        wants_watch: false,
        handles: Vec::new(),
        n_exited: 0,
        is_ended: false,
    };
    let option = options::in_step();
    let asked = option.as_deref().is_some_and(|text| text != "off");
    match register(spank, &step, option, &log) {
        Ok(reply) => {
            step.was_answered = true;
            spank.setenv(SOCKET_ENV, &step.service.socket.to_string_lossy());
            spank.setenv(JOB_ID_ENV, &step.id.job_id.to_string());
            if let Reply::Started { open_logs, wants_output, wants_watch, .. } = reply {
                (step.open_logs, step.wants_watch) = (open_logs, wants_watch);
                step.output = wants_output.then(os::pair).and_then(Result::ok);
            }
        }
        Err(error) => {
            let is_absent =
                matches!(error, ClientError::Absent { .. } | ClientError::Stranger { .. });
            step.owes_notice = is_absent && asked && is_whole_jobs(spank, &step.id);
            absence::report(&log, &step.service, &error);
        }
    }
    *state() = Some(step);
}

/// Whether what this step prints is said of the whole job, once: it is the batch step, or the first
/// srun step of a job without one, on the job's first node.
fn is_whole_jobs(spank: &Spank, id: &StepId) -> bool {
    let is_first_node = spank.item_u32(sys::S_JOB_NODEID) == Some(0);
    // Slurm sets it for batch scripts, and what they start has it.
    let is_in_batch = || spank.getenv("ENVIRONMENT", 16).as_deref() == Some("BATCH");
    is_first_node && (id.name == BATCH || (id.name == "0" && !is_in_batch()))
}

fn register(
    spank: &Spank,
    step: &State,
    option: Option<String>,
    log: &Log,
) -> Result<Reply, ClientError> {
    let State { id, site, node, service, .. } = step;
    let mut job = step::job_facts(spank, id, node.clone());
    site.complete(&mut job);
    job.option = option;
    let request = Request::StepStart { job: Box::new(job), step: step::step_facts(id) };
    spawn::ask(site, service, node, Birthplace::Step, log, &request)
}

/// Opens the log files as the user, whose effective ids Slurm has set, and passes them on.
pub(crate) fn user_init(spank: &Spank) {
    let mut guard = state();
    let Some(state) = guard.as_mut() else { return };
    if std::mem::take(&mut state.owes_notice) {
        logging::say(&format!(
            "carbontracker: ct-noded does not run on {}: as long as that is so the job is not measured; \
             the administrator finds the cause by \"ct-report check\" there",
            state.node
        ));
    }
    let Some(wanted) = state.open_logs.take() else { return };
    if spank.item_u32(sys::S_JOB_UID) != Some(os::effective_uid()) {
        return;
    }
    let log = state.id.log();
    match logs::open(&wanted, logs::umask(spank)) {
        Ok(handles) => {
            state.handles = handles;
            let client = Client::connect(&state.service, patience(&state.service));
            match client.and_then(|c| pass_logs(&c, state)) {
                Ok(text) => logging::say(&text),
                Err(error) => absence::report(&log, &state.service, &error),
            }
        }
        Err((path, cause)) => {
            log.error(Kind::Logs, &format!("cannot write {}: {cause}", path.display()));
            logging::say(&format!(
                "carbontracker: cannot write logs in {}: {cause}; energy is still accounted",
                wanted.dir.display()
            ));
        }
    }
}

/// In the step's first task, as its user, before the program starts.
pub(crate) fn task_init(spank: &Spank) {
    // A fork of slurmstepd: nobody is left who could give a lock back.
    let Ok(guard) = STATE.try_lock() else { return };
    let Some(state) = guard.as_ref() else { return };
    let is_first = spank.item_u32(sys::S_TASK_ID) == Some(0);
    if !is_first || spank.item_u32(sys::S_JOB_UID) != Some(os::effective_uid()) {
        return;
    }
    if state.wants_watch {
        spawn::watch(&state.site, &state.service, state.id.job_id, &state.id.log());
    }
    if let Some((_, to_stepd)) = &state.output {
        hand_over_output(state, to_stepd);
    }
}

/// The first task's standard output is read for epochs, where it is a file.
fn hand_over_output(state: &State, to_stepd: &OwnedFd) {
    match output::open() {
        Ok(handles) => {
            // A socket's buffer holds them until slurmstepd needs them, or ends.
            let fds: Vec<_> = handles.iter().map(AsRawFd::as_raw_fd).collect();
            let _ = os::send(to_stepd, b"h", &fds, patience(&state.service));
            let client = Client::connect(&state.service, patience(&state.service));
            if let Err(error) = client.and_then(|c| pass_output(&c, state.id.job_id, &handles)) {
                logging::say(&format!("carbontracker: epochs are not counted: {error}\n"));
            }
        }
        Err(cause) => logging::say(&format!(
            "carbontracker: epochs are not counted: epoch_by:pattern reads the output file of a \
             batch job, and this output is {cause}\n"
        )),
    }
}

/// Counts the tasks of a step; with the last one an srun step has ended. The batch step goes on to
/// [`exit`], when its control groups may be gone: now is the last time to see its CPU time.
pub(crate) fn task_exit(spank: &Spank) {
    let mut guard = state();
    let Some(state) = guard.as_mut() else { return };
    state.n_exited += 1;
    let n_tasks = spank.item_u32(sys::S_JOB_LOCAL_TASK_COUNT).unwrap_or(1);
    if state.n_exited < n_tasks {
        return;
    }
    if state.id.name == BATCH {
        // Nothing is lost that exit would not say: an answer is not waited for twice.
        let request = Request::Status { job_id: state.id.job_id };
        if let Ok(client) = Client::connect(&state.service, patience(&state.service))
            && client.ask(&request).is_ok()
        {
            // It is read to its end while slurmstepd goes on to exit.
            pass_output_again(&client, state);
        }
    } else {
        end_step(state);
    }
}

/// Ends the batch step, or a step whose tasks never came to their end.
pub(crate) fn exit() {
    if let Some(mut state) = state().take() {
        end_step(&mut state);
    }
}

/// Tells ct-noded that the step ended and prints what it says to that.
fn end_step(state: &mut State) {
    if std::mem::replace(&mut state.is_ended, true) {
        return;
    }
    match ask_for_text(state) {
        Ok(text) => logging::say(&text),
        Err(error) => absence::report(&state.id.log(), &state.service, &error),
    }
}

fn ask_for_text(state: &mut State) -> Result<String, ClientError> {
    let client = reach_again(state)?;
    pass_output_again(&client, state);
    let request = Request::StepEnd { job_id: state.id.job_id, step: state.id.name.clone() };
    let Reply::Text { text, need_logs, .. } = client.ask(&request)? else {
        return Ok(String::new());
    };
    if need_logs && !state.handles.is_empty() {
        // The logs wait for their files in ct-noded; the text for the job's output is here already.
        pass_logs(&client, state)?;
    }
    Ok(text)
}

/// Connects; a ct-noded that ended during the step is started once more and takes up its jobs.
fn reach_again(state: &State) -> Result<Client, ClientError> {
    // 24.11 was seen to run exit under the user's ids, with which ct-noded must not be started.
    if !state.was_answered || os::effective_uid() != 0 {
        return Client::connect(&state.service, patience(&state.service));
    }
    let (site, service, log) = (&state.site, &state.service, state.id.log());
    spawn::reach(site, service, &state.node, Birthplace::Step, patience(service), &log)
}

/// Passes the log files on; what ct-noded says to that is for the job's output.
fn pass_logs(client: &Client, state: &State) -> Result<String, ClientError> {
    let request = Request::Logs { job_id: state.id.job_id };
    let reply = client.ask_with(&request, &state.handles)?;
    Ok(if let Reply::Text { text, .. } = reply { text } else { String::new() })
}

/// Passes the task's output on.
fn pass_output(client: &Client, job_id: u32, handles: &[OwnedFd]) -> Result<Reply, ClientError> {
    client.ask_with(&Request::Output { job_id }, handles)
}

/// Passes the output on once more, as its program is over: it is read to its end, and a ct-noded that
/// was started meanwhile has it not yet.
fn pass_output_again(client: &Client, state: &mut State) {
    let Some((from_task, _)) = state.output.take() else { return };
    let handles = os::receive_handles(&from_task).unwrap_or_default();
    if !handles.is_empty() {
        // Without an answer some epochs are lost, which the record says.
        let _ = pass_output(client, state.id.job_id, &handles);
    }
}

impl StepId {
    fn log(&self) -> Log {
        Log::of_step(self.job_id, &self.name)
    }
}
