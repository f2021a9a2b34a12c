//! `ct-report budget`.

use std::fs;

use crate::ledger::Ledger;
use crate::{assert_ran, ct_report};

#[test]
fn without_an_account_it_is_said_that_there_is_none() {
    let ledger = Ledger::new();
    fs::create_dir_all(ledger.base().join("ledger")).unwrap();
    fs::write(ledger.base().join("ct.toml"), "").unwrap();
    let args = ["budget", "-n", "--csv", "--config", "ct.toml", "--ledger", "ledger"];
    let note = "note: no account has used energy this month, and none has a budget: that is set by \
                [budget.account.NAME] in carbontracker.toml\n";
    assert_ran(&ct_report(ledger.base(), &args), 0, "", note);
}
