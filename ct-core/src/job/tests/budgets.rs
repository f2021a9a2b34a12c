//! Budgets: of a job, and of its account.

use super::*;
use crate::account::AccountUse;

/// A job that was held against its budget after each of three epochs of 10 s.
fn after_three_epochs(option: &str, world: &World) -> Job {
    let mut job = job(option);
    for epoch in 0..3 {
        job.epoch_start(at(epoch * 10));
        run_until(&mut job, epoch * 10 + 10);
        job.epoch_end(at(epoch * 10 + 10), world.context()).unwrap();
        job.check_budget(at(epoch * 10 + 10), world.context());
    }
    job
}

#[test]
fn a_budget_is_warned_of_once_by_the_prediction_and_once_by_what_was_drawn() {
    let world = World::new();
    // 120 W for 10 s with PUE 1.58 are 1896 J: three epochs 0.00158 kWh.
    let mut job = after_three_epochs("epochs:3,max_energy:0.001,on_budget:stop", &world);
    let said = job.take_unsaid();
    assert_eq!(
        said.matches("Budget: predicted are 0.001580 kWh of max_energy").count(),
        1,
        "{said}"
    );
    assert_eq!(said.matches("Budget: used are 0.001053 kWh").count(), 1, "{said}");
    assert_eq!(job.end_wanted(), Some(at(20)));
    job.note_end(crate::record::BudgetAction::Killed);
    let record = job.record(EndReason::Failed, world.context());
    let budget = record.budget.as_ref().unwrap();
    assert_eq!(budget.by, Some(crate::record::PassedBy::Prediction));
    assert_eq!((budget.passed_at, budget.exceeded_at), (Some(at(10).wall), Some(at(20).wall)));
    assert_eq!(budget.action, crate::record::BudgetAction::Killed);
    let line = record.to_line().unwrap();
    assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
}

#[test]
fn a_budget_in_grams_is_held_at_the_hours_intensities() {
    let world = World::new();
    // 1896 J an epoch are 0.000527 kWh, at 445 g/kWh 0.234 g: 0.703 g for three, 0.469 g after two.
    let mut job = after_three_epochs("epochs:3,max_co2:0.4", &world);
    let said = job.take_unsaid();
    assert_eq!(said.matches("Budget: predicted are 0.703").count(), 1, "{said}");
    assert_eq!(said.matches("Budget: used are 0.468").count(), 1, "{said}");
    assert!(said.contains("of max_co2 0.4 g."), "{said}");
    // `warn` ends nothing.
    assert!(job.end_wanted().is_none() && !said.contains("is to end"), "{said}");
}

/// Sums of November in which physics has used 0.1 kWh and 50 g.
fn sums() -> AccountUse {
    let month = ("2026-11-01T00:00:00Z".parse().unwrap(), "2026-12-01T00:00:00Z".parse().unwrap());
    let mut sums = AccountUse::new(at(0).wall, "2026-11".into(), "UTC".into(), month);
    let used = crate::account::Used { energy_kwh: 0.1, co2e_g: 50.0 };
    sums.accounts.insert("physics".to_owned(), used);
    sums
}

fn budgets(text: &str) -> crate::config::Budgets {
    Config::parse(text, std::path::Path::new("c.toml")).unwrap().budget
}

#[test]
fn an_accounts_budget_is_held_against_what_ended_jobs_used_and_this_one() {
    let world = World::new();
    let budgets = budgets("[budget.account.physics]\nenergy_kwh = 0.101\non_budget = \"stop\"\n");
    let sums = sums();
    let mut job = job("epochs:3");
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    job.epoch_end(at(10), world.context()).unwrap();
    // Until slurmctld has named the account there is none.
    assert!(job.check_account(at(10), &budgets, Ok(&sums), world.context()).is_empty());
    job.account = Some("physics".to_owned());
    // 120 W for 10 s with PUE 1.58 are 0.000527 kWh, and three times that 0.00158.
    let said = job.check_account(at(10), &budgets, Ok(&sums), world.context());
    assert_eq!(said.len(), 1, "{said:?}");
    let expected = "Budget of account physics: predicted are 0.101580 kWh of 0.101 kWh \
                    for 2026-11, 0.100000 kWh and 50.000000 g of it by other jobs until \
                    2026-11-23T10:00:00Z.";
    assert_eq!(said[0], expected);
    assert!(job.end_wanted().is_none());
    run_until(&mut job, 20);
    let said = job.check_account(at(20), &budgets, Ok(&sums), world.context());
    assert!(said[0].contains("used are 0.101053 kWh") && said[0].ends_with("The job is to end."));
    assert_eq!(job.end_wanted(), Some(at(20)));
    assert!(job.check_account(at(21), &budgets, Ok(&sums), world.context()).is_empty(), "once");
    assert!(job.log.error.contains("WARNING - Budget of account physics"), "{}", job.log.error);
    job.note_end(crate::record::BudgetAction::Terminated);
    let record = job.record(EndReason::Cancelled, world.context());
    let used = record.account_budget.as_ref().unwrap();
    assert_eq!((used.month.as_deref(), used.as_of), (Some("2026-11"), Some(at(0).wall)));
    assert_eq!(used.budget.action, crate::record::BudgetAction::Terminated);
    let line = record.to_line().unwrap();
    assert!(line.contains(r#""account_budget":{"account":"physics","month":"2026-11","#), "{line}");
    assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
}

#[test]
fn without_sums_of_this_month_a_job_alone_is_held_against_its_accounts_budget() {
    let world = World::new();
    let budgets = budgets("[budget.account.\"*\"]\nco2_g = 0.3\n");
    let mut sums = sums();
    (sums.month, sums.to) = ("2026-10".to_owned(), at(0).wall);
    let mut job = job("on");
    job.account = Some("arts".to_owned());
    run_until(&mut job, 10);
    // 0.000527 kWh at 445 g/kWh are 0.234 g.
    assert!(job.check_account(at(10), &budgets, Ok(&sums), world.context()).is_empty());
    assert!(job.warnings.iter().any(|w| w.contains("they are of 2026-10")), "{:?}", job.warnings);
    run_until(&mut job, 20);
    let said = job.check_account(at(20), &budgets, Err("x"), world.context());
    assert!(said[0].contains("what others used is not known") && job.end_wanted().is_none());
    let used = job.account_budget().unwrap();
    assert_eq!((used.as_of, used.budget.by), (None, Some(crate::record::PassedBy::Actual)));
    // An account without a budget has none.
    let none = self::budgets("[budget.account.physics]\nco2_g = 1\n");
    let mut other = super::job("on");
    other.account = Some("arts".to_owned());
    run_until(&mut other, 10);
    assert!(other.check_account(at(10), &none, Ok(&sums), world.context()).is_empty());
    assert!(other.account_budget().is_none());
}
