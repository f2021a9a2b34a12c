//! Pages: what is in them, and how a browser lays them out.

use std::fs;

use ct_core::record::Record;
use serde_json::Value;

use crate::chromium::{self, Window};
use crate::ct_report;
use crate::job::two_nodes;
use crate::ledger::{Ledger, line, record};

/// Forty days of jobs of forty users on three nodes, one of whose names is long and hostile.
fn month() -> Ledger {
    let ledger = Ledger::new();
    let mut records = Vec::new();
    let mut lines = Vec::new();
    for n in 0..120_u32 {
        let day = chrono::TimeDelta::hours(8 * i64::from(n));
        let node = format!("n{}", n % 3 + 1);
        let mut one = record(
            &node,
            100 + n,
            "2026-10-01T00:00:00Z",
            "2026-10-01T02:00:00Z",
            &[3_600_000_000 + u64::from(n) * 40_000_000, 1_800_000_000],
        );
        (one.start, one.end) = (one.start + day, one.end + day);
        one.energy_by_hour.iter_mut().for_each(|hour| hour.0 += day);
        let dram = one.energy_by_hour[0].1.as_u64() / 5;
        one.energy_by_hour[0].2 = ct_core::units::Microjoules::new(dram);
        one.energy_j.dram = ct_core::units::Microjoules::new(dram);
        one.user = format!("user{:02}", n % 40);
        one.account = Some(format!("account{}", n % 7));
        for hour in &one.energy_by_hour {
            let end = hour.0 + chrono::TimeDelta::hours(1);
            let uj = hour.1.as_u64() + hour.2.as_u64();
            lines.push(line(&node, &hour.0.to_rfc3339(), &end.to_rfc3339(), &[(100 + n, uj)]));
        }
        records.push(one);
    }
    let name = format!("<script>alert('{}')</script>\x1b[2J", "x".repeat(90));
    records.push(Record {
        user: name.clone(),
        account: Some(name.clone()),
        job_name: Some(name),
        job_id: 7,
        ..records[5].clone()
    });
    ledger.write(&lines, &records);
    ledger
}

fn site(ledger: &Ledger) -> String {
    let ran = ct_report(ledger.base(), &["html", "-o", "site.html", "--ledger", "ledger"]);
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, "", ""));
    fs::read_to_string(ledger.base().join("site.html")).unwrap()
}

#[test]
fn the_page_of_a_site_has_what_it_should_and_nothing_it_should_not() {
    let page = site(&month());
    for shown in [
        "Energy and carbon of lab",
        "Energy by day [",
        "Footprint by day, with PUE [",
        "<h2>Users</h2>",
        "<h2>Accounts</h2>",
        "Measured and modelled",
        "Jobs against the meters of the nodes",
        "Method and sources",
        "DE: 400 g/kWh, fixed value, PUE 1.2",
        "26 more",
        "2026-10-01 to 2026-11-09",
    ] {
        assert!(page.contains(shown), "{shown:?} is missing");
    }
    assert!(!page.contains("<script") && !page.contains('\x1b'));
    assert!(page.contains("&lt;script&gt;alert("));
    // The job that no line of its node knows: 3.8 GJ and more that are not explained.
    assert!(page.contains("class=\"bad\">-"), "the hostile job's energy is in no meter");
}

#[test]
fn nothing_matched_writes_no_page() {
    let ledger = month();
    let args = ["html", "-o", "none.html", "--ledger", "ledger", "-u", "nobody"];
    let ran = ct_report(ledger.base(), &args);
    assert_eq!((ran.code, &*ran.stderr), (1, "note: nothing matched\n"));
    assert!(!ledger.base().join("none.html").exists());
}

/// What a browser makes of a page at the width of a desk and of a phone, light and dark.
#[track_caller]
fn assert_laid_out(page: &std::path::Path, n_charts: usize, n_bars: u64) {
    let Some(browser) = chromium::find() else { return };
    for (width, is_dark) in [(1280, false), (1280, true), (390, false), (390, true)] {
        let seen = Window { browser: &browser, width, is_dark }.look_at(page);
        let at = format!("{width} px, dark {is_dark}: {seen:#}");
        assert_eq!(seen["overflow"], 0, "wider than the window at {at}");
        assert_eq!(seen["wide"].as_array().map(Vec::len), Some(0), "too wide at {at}");
        let charts = seen["charts"].as_array().unwrap();
        assert_eq!(charts.len(), n_charts, "charts that are seen at {at}");
        for chart in charts {
            assert!(chart["bars"].as_u64().unwrap() >= n_bars, "an empty chart at {at}");
            assert_eq!(
                chart["outside"],
                Value::Array(Vec::new()),
                "text outside of a chart at {at}"
            );
            assert_eq!(
                chart["fill"], seen["color"],
                "text of charts has the page's colour at {at}"
            );
            assert!(chart["size"].as_f64().unwrap() > 9.0, "text too small to be read at {at}");
        }
        let background = if is_dark { "rgb(13, 17, 23)" } else { "rgb(255, 255, 255)" };
        assert_eq!(seen["background"], background, "at {at}");
    }
}

#[test]
fn the_page_of_a_site_fits_its_window_and_its_charts_are_full() {
    let ledger = month();
    site(&ledger);
    // Forty days.
    assert_laid_out(&ledger.base().join("site.html"), 2, 40);
}

#[test]
fn the_page_of_a_job_fits_its_window_and_its_charts_are_full() {
    let ledger = two_nodes();
    let args = ["job", "42", "--ledger", "ledger", "--html", "job.html"];
    assert_eq!(ct_report(ledger.base(), &args).code, 0);
    // Two hours, three epochs.
    assert_laid_out(&ledger.base().join("job.html"), 3, 2);
}

#[test]
fn a_name_of_one_long_word_does_not_widen_the_page() {
    let ledger = month();
    let args = ["job", "7", "--ledger", "ledger", "--html", "hostile.html"];
    assert_eq!(ct_report(ledger.base(), &args).code, 0);
    assert_laid_out(&ledger.base().join("hostile.html"), 1, 2);
}
