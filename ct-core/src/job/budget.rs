//! The job's budget: held against predictions and against what was drawn.

use super::{Context, Job, local};
use crate::option::OnBudget;
use crate::record::{BudgetAction, BudgetUse, PassedBy, PredictedBy};
use crate::sample::Moment;
use crate::units::Joules;

impl Job {
    /// Holds the last prediction and what was drawn so far against the budget.
    ///
    /// A prediction by the time limit is none of a budget's: most limits are far from the end.
    pub fn check_budget(&mut self, at: Moment, context: Context<'_>) {
        let Some(budget) = self.settings.budget.filter(|_| self.is_seen()) else { return };
        let used = self.budget.get_or_insert(BudgetUse {
            max_energy_kwh: budget.max_energy_kwh,
            max_co2_g: budget.max_co2_g,
            on_budget: budget.on_budget,
            passed_at: None,
            by: None,
            exceeded_at: None,
            action: BudgetAction::None,
        });
        let (is_passed, is_exceeded) = (used.passed_at.is_some(), used.exceeded_at.is_some());
        let predicted = self.prediction.as_ref().filter(|p| p.by == PredictedBy::Epochs);
        if let Some(p) = predicted.filter(|_| !is_passed) {
            let kwh = context.factors.facility_kwh(Joules::new(p.energy_j)).as_kwh();
            if let Some(what) = budget.passed_by(kwh, p.co2e_g) {
                self.pass(at, PassedBy::Prediction, &format!("Budget: predicted are {what}."));
            }
        }
        if !is_exceeded {
            let drawn = self.visible_energy().total();
            let kwh = context.factors.facility_kwh(drawn.to_joules()).as_kwh();
            let mean = self.price(context.factors).mean();
            let grams = context.factors.footprint(drawn.to_joules(), mean).as_grams();
            if let Some(what) = budget.passed_by(kwh, grams) {
                let ends =
                    if budget.on_budget == OnBudget::Stop { " The job is to end." } else { "" };
                self.pass(at, PassedBy::Actual, &format!("Budget: used are {what}.{ends}"));
            }
        }
    }

    fn pass(&mut self, at: Moment, by: PassedBy, message: &str) {
        self.log.error(local(at), "WARNING", message);
        let text = self.log.output(local(at), message);
        self.say_later(&text);
        let Some(used) = &mut self.budget else { return };
        used.passed_at = used.passed_at.or(Some(at.wall));
        used.by = used.by.or(Some(by));
        used.action = used.action.max(BudgetAction::Warned);
        if by == PassedBy::Actual {
            used.exceeded_at = Some(at.wall);
            if used.on_budget == OnBudget::Stop {
                used.action = BudgetAction::Asked;
                self.end_wanted = self.end_wanted.or(Some(at));
            }
        }
    }

    /// The budget, and what came of it so far.
    pub fn budget(&self) -> Option<&BudgetUse> {
        self.budget.as_ref()
    }

    /// When the job was to be ended, as it has passed its budget.
    pub fn end_wanted(&self) -> Option<Moment> {
        self.end_wanted
    }

    /// Whether it is to be ended, by its owner's answer or by its budget.
    pub fn is_to_end(&self) -> bool {
        let is_refused = self.confirmation.and_then(|c| c.answer) == Some(crate::config::YesNo::N);
        is_refused || self.end_wanted.is_some()
    }

    /// Notes what was done to end it.
    pub fn note_end(&mut self, action: BudgetAction) {
        if self.end_wanted.is_none() {
            return;
        }
        let of_account = self.account_budget.as_mut().map(|used| &mut used.budget);
        // That budget which asked for the end.
        for used in self.budget.iter_mut().chain(of_account) {
            if used.action >= BudgetAction::Asked {
                used.action = used.action.max(action);
            }
        }
    }
}
