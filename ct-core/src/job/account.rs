//! The budget of the job's account: what its jobs have used this month, and this one with them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{Context, Job, local};
use crate::account::{AccountUse, Asker, Used};
use crate::config::{AccountBudget, Budgets};
use crate::record::{AccountBudgetUse, BudgetAction, BudgetUse, PassedBy, PredictedBy};
use crate::sample::Moment;
use crate::units::Joules;

/// Sums that are older than this are a fault of the site's timer, and are named in the record.
const OLD: TimeDelta = TimeDelta::hours(24);

impl Job {
    /// Holds what the account's other jobs have used this month, and this job on all its nodes,
    /// against the account's budget.
    ///
    /// Sums only grow within their month, so old ones are too low, and never too high. Without sums
    /// of this month the job alone is held against it. What there is to say of it comes back for the
    /// node's own log.
    pub fn check_account(
        &mut self,
        at: Moment,
        budgets: &Budgets,
        sums: Result<&AccountUse, &str>,
        context: Context<'_>,
    ) -> Vec<String> {
        let mut said = Vec::new();
        let Some(account) = self.account.clone().filter(|_| self.is_first_node) else {
            return said;
        };
        let Some(budget) = budgets.of(&account) else { return said };
        let from = sums.ok().filter(|s| s.is_of(at.wall)).map(|sums| sums.from);
        let (own, before) = self.own_use(from, context);
        let asker = Asker { start: self.start.wall, own };
        let of_month =
            sums.ok().and_then(|sums| Some((sums, sums.of_others(&account, asker, at.wall)?)));
        let known = of_month.map(|(_, used)| used).unwrap_or_default();
        self.warn_of_sums(at, sums, of_month.is_some());
        let used = self.account_budget.get_or_insert_with(|| AccountBudgetUse {
            account: account.clone(),
            month: None,
            used_energy_kwh: 0.0,
            used_co2_g: 0.0,
            as_of: None,
            budget: BudgetUse {
                max_energy_kwh: budget.energy_kwh,
                max_co2_g: budget.co2_g,
                on_budget: budget.on_budget,
                passed_at: None,
                by: None,
                exceeded_at: None,
                action: BudgetAction::None,
            },
        });
        (used.used_energy_kwh, used.used_co2_g) = (known.energy_kwh, known.co2e_g);
        used.as_of = of_month.map(|(sums, _)| sums.as_of);
        used.month = of_month.map(|(sums, _)| sums.month.clone());
        let (is_passed, is_exceeded) =
            (used.budget.passed_at.is_some(), used.budget.exceeded_at.is_some());
        if !is_passed && let Some(predicted) = self.predicted_use(before, context) {
            said.extend(self.hold(at, PassedBy::Prediction, budget, known, predicted));
        }
        if !is_exceeded {
            said.extend(self.hold(at, PassedBy::Actual, budget, known, own));
        }
        said
    }

    fn warn_of_sums(&mut self, at: Moment, sums: Result<&AccountUse, &str>, is_of_month: bool) {
        let problem = match sums {
            Err(problem) => problem.to_owned(),
            Ok(sums) if !is_of_month => {
                format!("they are of {}; see that ct-report budget --write runs", sums.month)
            }
            Ok(sums) if at.wall - sums.as_of > OLD => {
                format!("they are of {}; see that ct-report budget --write runs", show(sums.as_of))
            }
            Ok(_) => return,
        };
        let warning = format!("sums of accounts: {problem}");
        // One of them is enough: its number of hours would grow.
        if !self.warnings.iter().any(|w| w.starts_with("sums of accounts: ")) {
            self.warnings.insert(warning);
        }
    }

    /// What the job itself has used since the month began, and what it had before.
    fn own_use(&self, from: Option<DateTime<Utc>>, context: Context<'_>) -> (Used, Joules) {
        let hours = self.energy.by_hour();
        let joules = |is_before: bool| {
            let of = hours.iter().filter(|h| from.is_some_and(|from| h.0 < from) == is_before);
            of.map(|h| h.energy().total().to_joules().as_joules()).sum::<f64>()
        };
        let before = joules(true);
        // Of the other nodes it is not known in which hours they drew it.
        let all = self.energy.total().total().to_joules().as_joules();
        let share = if all > 0.0 { (all - before) / all } else { 1.0 };
        let others = self.others.energy.total().to_joules().as_joules();
        let own = Joules::new(joules(false) + others * share);
        let mean = self.price(context.factors).mean();
        let used = Used {
            energy_kwh: context.factors.facility_kwh(own).as_kwh(),
            co2e_g: context.factors.footprint(own, mean).as_grams(),
        };
        (used, Joules::new(before))
    }

    /// The same of the whole job as it is predicted from its epochs.
    fn predicted_use(&self, before: Joules, context: Context<'_>) -> Option<Used> {
        let p = self.prediction.as_ref().filter(|p| p.by == PredictedBy::Epochs)?;
        let share = 1.0 - (before.as_joules() / p.energy_j.max(f64::MIN_POSITIVE)).min(1.0);
        let kwh = context.factors.facility_kwh(Joules::new(p.energy_j * share)).as_kwh();
        Some(Used { energy_kwh: kwh, co2e_g: p.co2e_g * share })
    }

    fn hold(
        &mut self,
        at: Moment,
        by: PassedBy,
        limits: &AccountBudget,
        known: Used,
        own: Used,
    ) -> Option<String> {
        let all = (known.energy_kwh + own.energy_kwh, known.co2e_g + own.co2e_g);
        let what = passed(limits, all.0, all.1)?;
        let used = self.account_budget.as_mut()?;
        let stops = limits.on_budget.is_stop() && by == PassedBy::Actual;
        let budget = &mut used.budget;
        budget.passed_at = budget.passed_at.or(Some(at.wall));
        budget.by = budget.by.or(Some(by));
        budget.action = budget.action.max(BudgetAction::Warned);
        if by == PassedBy::Actual {
            budget.exceeded_at = Some(at.wall);
        }
        if stops {
            budget.action = BudgetAction::Asked;
            self.end_wanted = self.end_wanted.or(Some(at));
        }
        let verb = if by == PassedBy::Prediction { "predicted" } else { "used" };
        let seen = match (&used.month, used.as_of) {
            (Some(month), Some(as_of)) => format!(
                " for {month}, {:.6} kWh and {:.6} g of it by other jobs until {}",
                known.energy_kwh,
                known.co2e_g,
                show(as_of)
            ),
            _ => " by this job alone; what others used is not known".to_owned(),
        };
        let ends = if stops { " The job is to end." } else { "" };
        let message = format!("Budget of account {}: {verb} are {what}{seen}.{ends}", used.account);
        if self.is_seen() {
            self.log.error(local(at), "WARNING", &message);
            let text = self.log.output(local(at), &message);
            self.say_later(&text);
        }
        Some(message)
    }

    /// The budget of its account, and what came of it so far.
    pub fn account_budget(&self) -> Option<&AccountBudgetUse> {
        self.account_budget.as_ref()
    }
}

/// Which limit is passed, in words; the energy's first.
fn passed(limits: &AccountBudget, kwh: f64, grams: f64) -> Option<String> {
    if let Some(max) = limits.energy_kwh.filter(|max| kwh > *max) {
        return Some(format!("{kwh:.6} kWh of {max} kWh"));
    }
    let max = limits.co2_g.filter(|max| grams > *max)?;
    Some(format!("{grams:.6} g of {max} g"))
}

fn show(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
