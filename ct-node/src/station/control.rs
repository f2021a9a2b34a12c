//! What a job's owner, or its program, may steer: questions, declared epochs, budgets, epochs by
//! lines of the output.

use std::time::Duration;

use ct_core::config::YesNo;
use ct_core::job::Job;
use ct_core::option::{Choice, EpochBy, OptionSet, Settings, parse};
use ct_core::protocol::{Confirm, ConfirmState, OpenLogs};
use ct_core::sampler::now;

use super::Station;
use crate::account_watch::AccountWatch;

/// Keys that a program may declare: what it knows of its own training.
const DECLARABLE: &[&str] = &[
    "epochs",
    "epochs_before_pred",
    "monitor_epochs",
    "interpretable",
    "decimal_precision",
    "stop_and_confirm",
];

impl Station {
    /// Takes an answer of the job's owner; whether there was a question.
    pub fn confirm(&mut self, job_id: u32, answer: YesNo) -> bool {
        let at = self.show_anew(job_id);
        let Some((job, context)) = self.job_and_context(job_id) else { return false };
        job.answer(answer, at, context)
    }

    /// The job's question and how it stands; where its time is up the site has answered.
    pub fn confirmation(&mut self, job_id: u32) -> Option<Confirm> {
        let (timeout_s, default) =
            (self.config.track.confirm_timeout_s, self.config.track.confirm_default);
        let job = self.jobs.get(&job_id)?;
        let asked = job.confirmation()?;
        if let Some(since) = job.waits_since()
            && timeout_s > 0.0
            && now().since(&since) >= Duration::from_secs_f64(timeout_s)
        {
            let warning =
                format!("nobody answered within {timeout_s} s: the site's {}", word(default));
            self.jobs.get_mut(&job_id)?.warnings.insert(warning);
            self.confirm(job_id, default);
            return self.confirmation(job_id);
        }
        let state = match asked.answer {
            None => ConfirmState::Waiting,
            Some(YesNo::Y) => ConfirmState::Y,
            Some(YesNo::N) => ConfirmState::N,
        };
        Some(Confirm { state, how: self.how_to_answer(job_id) })
    }

    fn how_to_answer(&self, job_id: u32) -> String {
        let track = &self.config.track;
        let command = if self.is_local {
            "\"ct-track confirm y\" in the command's environment".to_owned()
        } else {
            format!("\"srun --jobid={job_id} --overlap ct-track confirm y\"")
        };
        let otherwise = match track.confirm_timeout_s {
            s if s > 0.0 => {
                format!("; without an answer within {s} s it is {}", word(track.confirm_default))
            }
            _ => String::new(),
        };
        format!("carbontracker: the job waits; answer with {command}, or n{otherwise}\n")
    }

    /// Takes keys that the program declares, where the job's option does not have them.
    ///
    /// # Errors
    ///
    /// A message for the program, where the text is no option or a key is not a program's.
    pub fn declare(&mut self, job_id: u32, text: &str) -> Result<(), String> {
        let Ok(Choice::On(declared)) = parse(text) else {
            return Err(parse(text)
                .err()
                .map_or("expected KEY:VALUE".to_owned(), |e| e.to_string()));
        };
        let Some(job) = self.jobs.get_mut(&job_id) else { return Ok(()) };
        let fixed = fixed_keys(job);
        let mut set = settings_text(&job.settings);
        for key in declared.keys() {
            if !DECLARABLE.contains(&key) {
                let known = DECLARABLE.join(", ");
                return Err(format!(
                    "{key} is not a program's to declare, expected one of {known}"
                ));
            }
            if let Some(value) = declared.get(key).filter(|_| fixed.get(key).is_none()) {
                set.set(key, value).map_err(|e| e.to_string())?;
            }
        }
        let new = Settings::resolve(&set).map_err(|e| e.to_string())?;
        let settings = &mut job.settings;
        settings.epochs = new.epochs;
        settings.epochs_before_pred = new.epochs_before_pred;
        settings.monitor_epochs = new.monitor_epochs;
        settings.interpretable = new.interpretable;
        settings.decimal_precision = new.decimal_precision;
        settings.stop_and_confirm = new.stop_and_confirm && settings.epoch_by == EpochBy::Mark;
        Ok(())
    }

    /// The log files, where the program may put them elsewhere: the job's option names no directory.
    ///
    /// # Errors
    ///
    /// Why it may not, for the program.
    pub fn movable_logs(&mut self, job_id: u32) -> Result<OpenLogs, String> {
        if let Some(dir) =
            self.jobs.get(&job_id).and_then(|job| fixed_keys(job).get("log_dir").map(str::to_owned))
        {
            return Err(format!("the job's option says log_dir:{dir}"));
        }
        self.wanted_logs(job_id)
            .filter(|logs| logs.dir.is_absolute())
            .ok_or_else(|| format!("where the logs of job {job_id} are is not known"))
    }

    /// Lines of the job's output that begin epochs, by their labels, oldest first.
    pub fn output_began_epochs(&mut self, job_id: u32, labels: &[Option<String>]) {
        let at = self.show_anew(job_id);
        self.refresh_others(job_id, at);
        let Some((job, context)) = self.job_and_context(job_id) else { return };
        for label in labels {
            job.output_began_epoch(at, label.as_deref(), context);
        }
    }

    /// Whether the output file of this step is wanted: the batch script's, or in a job without one
    /// that of any step.
    pub fn wants_output(&self, job_id: u32, step: &str) -> bool {
        let Some(job) = self.jobs.get(&job_id) else { return false };
        let is_asked_for = job.tracked && job.settings.epoch_by == EpochBy::Pattern;
        let is_the_step = step == "batch" || !job.has_batch_step;
        is_asked_for && job.is_first_node && is_the_step && !job.is_output_read
    }

    /// Whether a process of the job's user is to watch the job in this step, and to end it: it, or its
    /// account, may have a budget at which it ends, and the site does not let us end it.
    pub fn wants_watch(&self, job_id: u32, step: &str) -> bool {
        let Some(job) = self.jobs.get(&job_id) else { return false };
        let is_own = job.tracked && job.settings.budget.is_some_and(|b| b.on_budget.is_stop());
        let is_of_account = self.config.budget.account.values().any(|b| b.on_budget.is_stop());
        let is_the_step = step == "batch" || !job.has_batch_step;
        (is_own || is_of_account)
            && !self.config.track.allow_stop
            && job.is_first_node
            && is_the_step
    }

    /// Whether the job's owner, who asks, is to end it: the site does not, or cannot.
    pub fn is_owner_to_end(&mut self, job_id: u32) -> bool {
        let is_by_us = self.is_local || self.config.track.allow_stop;
        let Some(job) = self.jobs.get_mut(&job_id).filter(|job| job.is_to_end()) else {
            return false;
        };
        let is_over_budget = job.end_wanted().is_some();
        if self.is_local || (is_by_us && is_over_budget) {
            return false;
        }
        true
    }

    /// Holds every job's energy against its budget.
    pub(super) fn check_budgets(&mut self) {
        let context =
            super::context(&self.factors, &self.config, &self.sampler, &self.node, &self.problems);
        let sums = self.accounts.as_ref().map(AccountWatch::latest);
        for job in self.jobs.values_mut() {
            job.check_budget(job.last, context);
            let Some(sums) = &sums else { continue };
            let sums = sums.as_deref().map_err(String::as_str);
            for said in job.check_account(job.last, &self.config.budget, sums, context) {
                log::info!("job {}: {said}", job.facts.job_id);
            }
        }
    }
}

fn word(answer: YesNo) -> &'static str {
    match answer {
        YesNo::Y => "y",
        YesNo::N => "n",
    }
}

/// What was set at the job's submission.
fn fixed_keys(job: &Job) -> OptionSet {
    match job.facts.option.as_deref().map(parse) {
        Some(Ok(Choice::On(set))) => set,
        _ => OptionSet::default(),
    }
}

/// The declarable keys as they stand.
fn settings_text(settings: &Settings) -> OptionSet {
    let mut set = OptionSet::default();
    let epochs = settings.epochs.map(|n| n.to_string());
    let pairs = [
        ("epochs", epochs),
        ("epochs_before_pred", Some(settings.epochs_before_pred.to_string())),
        ("monitor_epochs", Some(settings.monitor_epochs.to_string())),
        ("interpretable", Some(settings.interpretable.to_string())),
        ("decimal_precision", Some(settings.decimal_precision.to_string())),
        ("stop_and_confirm", Some(settings.stop_and_confirm.to_string())),
    ];
    for (key, value) in pairs {
        // They were checked when they were set.
        let _ = value.map(|value| set.set(key, &value));
    }
    set
}
