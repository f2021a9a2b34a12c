//! Pages, and what must not get into them.

use super::*;
use crate::html::Site;
use crate::job::tests::{gpu_run, hostile_run};
use crate::query::Query;
use crate::query::time::Zone;

/// No markup but our own.
#[track_caller]
fn assert_clean(page: &str) {
    let lower = page.to_lowercase();
    for bad in [
        "<script",
        "<img",
        "<i>",
        "javascript:",
        "http://",
        "https://",
        "url(",
        "@import",
        "\x1b",
        "\u{202e}",
    ] {
        let found = lower.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(bad), "{bad:?} is in the page");
    }
}

#[test]
fn what_users_name_is_text_on_a_job_page() {
    let page = job_page(&[hostile_run()], &[], Zone::Utc).unwrap();
    assert_clean(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\u{1b}[2J\\u{202e}"), "{page}");
    assert!(page.contains("&lt;/style&gt;&lt;img src=x"), "{page}");
}

#[test]
fn what_users_name_is_text_on_the_page_of_a_site() {
    let mut site = Site::default();
    for run in [gpu_run(), hostile_run()] {
        for record in run.records() {
            site.add(&record.into(), &Query::default()).unwrap();
        }
    }
    let page = site_page(&site, &None, "UTC").unwrap();
    assert_clean(&page);
    assert!(page.contains("a&amp;b&quot;&lt;i&gt;"), "{page}");
}

#[test]
fn a_job_page_has_its_charts() {
    let page = job_page(&[gpu_run()], &[], Zone::Utc).unwrap();
    for title in [
        "Mean power by hour [kW]",
        "Energy by epoch, without PUE [Wh]",
        "Carbon by epoch, with PUE [g CO2e]",
    ] {
        assert_eq!(page.matches(&format!("aria-label=\"{title}\"")).count(), 1, "{title}");
    }
    // 1 kWh at 400 g/kWh over 40 epochs.
    let sci = "<dt>SCI</dt><dd>10.00 g CO2e per epoch, Software Carbon Intensity by ISO/IEC 21031";
    assert!(page.contains(sci), "{page}");
    assert!(
        page.contains("grid&apos;s carbon intensity I 400 g/kWh")
            || page.contains("grid's carbon intensity I 400 g/kWh"),
        "{page}"
    );
    // Each chart is there for wide and for narrow pages, and 40 epochs have 40 bars in two charts.
    assert_eq!(page.matches("<svg").count(), 6);
    assert!(page.matches("<rect").count() >= 2 * 80, "{}", page.matches("<rect").count());
}

#[test]
fn a_file_of_charts_is_xml_with_its_title_escaped() {
    let charts = crate::render::job_charts::charts(&gpu_run(), Zone::Utc);
    let svg = crate::render::svg::file("<b>&", &charts).unwrap();
    assert!(svg.contains("<title>&lt;b&gt;&amp;</title>"), "{svg}");
    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
}
