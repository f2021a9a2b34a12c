//! Each provider's documented answers, and odd ones that they may give.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ct_core::config::Provider;

use super::server::{Reply, Request, Server, response};
use super::{
    Fetched, OLD, Outcome, Site, TOKEN, danish, electricity_maps, energi_data_service, ok,
};

#[test]
fn electricity_maps_gives_history_forecast_and_ranges() {
    let server = Server::start(|request, _| electricity_maps(request));
    let site = Site::new(Provider::ElectricityMaps, "DK-DK1", &server);
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 4, has_changed: true }));
    assert_eq!(
        site.text(),
        "time,zone,g_per_kwh,source\n\
         2026-11-23T08:00:00Z,DK-DK1,101,Electricity Maps actual\n\
         2026-11-23T09:00:00Z,DK-DK1,102.5,Electricity Maps estimate\n\
         2026-11-23T10:00:00Z,DK-DK1,110,Electricity Maps forecast\n\
         2026-11-23T11:00:00Z,DK-DK1,120,Electricity Maps forecast\n"
    );
    // ct-noded is another user.
    assert_eq!(fs::metadata(site.file()).unwrap().permissions().mode() & 0o444, 0o444);
    let from = "2026-11-10T00:00:00Z".parse().unwrap();
    site.fetch_from(Some(from)).unwrap();
    let paths: Vec<String> = server.requests().iter().map(|r| r.path.clone()).collect();
    assert_eq!(
        paths,
        [
            "/v3/carbon-intensity/history?zone=DK-DK1",
            "/v3/carbon-intensity/forecast?zone=DK-DK1&horizonHours=24",
            // At most ten days in one request.
            "/v3/carbon-intensity/past-range?zone=DK-DK1&start=2026-11-10T00%3A00%3A00Z&end=2026-11-20T00%3A00%3A00Z",
            "/v3/carbon-intensity/past-range?zone=DK-DK1&start=2026-11-20T00%3A00%3A00Z&end=2026-11-23T10%3A00%3A00Z",
            "/v3/carbon-intensity/forecast?zone=DK-DK1&horizonHours=24",
        ]
    );
    let has_token = |r: &Request| r.headers.contains(&format!("auth-token: {TOKEN}"));
    assert!(server.requests().iter().all(has_token));
}

#[test]
fn a_plan_without_forecasts_has_its_history_all_the_same() {
    let server = Server::start(|request, _| {
        if request.path.contains("forecast") {
            return Reply::Bytes(response("403 Forbidden", "", r#"{"error":"not in your plan"}"#));
        }
        electricity_maps(request)
    });
    let site = Site::new(Provider::ElectricityMaps, "DK-DK1", &server);
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 2, has_changed: true }));
}

#[test]
fn uk_carbon_intensity_is_read_nationally_and_by_region() {
    let half = |from: &str, to: &str, intensity: &str| {
        format!(r#"{{"from":"{from}","to":"{to}","intensity":{{{intensity},"index":"low"}}}}"#)
    };
    let server = Server::start(move |request, _| {
        let national = [
            half("2026-11-23T09:00Z", "2026-11-23T09:30Z", r#""forecast":266,"actual":263"#),
            half("2026-11-23T10:30Z", "2026-11-23T11:00Z", r#""forecast":250,"actual":null"#),
        ];
        let regional =
            [half("2026-11-23T09:00Z", "2026-11-23T09:30Z", r#""forecast":50"#)].join(",");
        let region = format!(
            r#"{{"regionid":13,"dnoregion":"UKPN London","shortname":"London","data":[{regional}]}}"#
        );
        ok(&match &request.path {
            path if path.contains("/regionid/") => format!(r#"{{"data":{region}}}"#),
            path if path.contains("/postcode/") => format!(r#"{{"data":[{region}]}}"#),
            _ => format!(r#"{{"data":[{}]}}"#, national.join(",")),
        })
    });
    let mut site = Site::new(Provider::CarbonIntensity, "GB", &server);
    for zone in ["GB", "GB-13", "GB-RG10"] {
        site.carbon.zone = Some(zone.to_owned());
        site.fetch().unwrap();
    }
    assert_eq!(
        site.text(),
        "time,zone,g_per_kwh,source\n\
         2026-11-23T09:00:00Z,GB,263,UK Carbon Intensity actual\n\
         2026-11-23T09:00:00Z,GB-13,50,UK Carbon Intensity forecast\n\
         2026-11-23T09:00:00Z,GB-RG10,50,UK Carbon Intensity forecast\n\
         2026-11-23T10:30:00Z,GB,250,UK Carbon Intensity forecast\n"
    );
    let paths: Vec<String> = server.requests().iter().map(|r| r.path.clone()).collect();
    let span = "2026-11-22T10:00Z/2026-11-24T10:00Z";
    assert_eq!(
        paths,
        [
            format!("/intensity/{span}"),
            format!("/regional/intensity/{span}/regionid/13"),
            format!("/regional/intensity/{span}/postcode/RG10"),
        ]
    );
}

#[test]
fn energi_data_service_gives_actual_and_prognosis() {
    let server = Server::start(|request, _| ok(&danish(request)));
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    fs::write(site.file(), OLD).unwrap();
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 4, has_changed: true }));
    assert_eq!(
        site.text(),
        format!(
            "{OLD}2026-11-23T10:00:00Z,DK1,103,Energi Data Service actual\n\
             2026-11-23T10:05:00Z,DK1,102,Energi Data Service actual\n\
             2026-11-23T10:10:00Z,DK1,98,Energi Data Service forecast\n"
        )
    );
    let paths: Vec<String> = server.requests().iter().map(|r| r.path.clone()).collect();
    // Danish time is an hour ahead of UTC in November.
    let filter = "filter=%7B%22PriceArea%22%3A%5B%22DK1%22%5D%7D&sort=Minutes5UTC%20asc&limit=0";
    assert_eq!(
        paths,
        [
            format!("/dataset/CO2Emis?start=2026-11-22T11%3A00&end=2026-11-23T12%3A00&{filter}"),
            format!(
                "/dataset/CO2EmisProg?start=2026-11-23T11%3A00&end=2026-11-24T11%3A00&{filter}"
            ),
        ]
    );
    // The same answers again change nothing.
    assert_eq!(site.fetch(), Ok(Fetched { n_new: 4, has_changed: false }));
}

/// The lines of a fetch's file without its head.
fn lines(site: &Site) -> Vec<String> {
    site.text().lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn values_in_any_order_twice_with_holes_or_not_yet_known_are_put_in_order() {
    let server = Server::start(|request, _| {
        let times = [
            ("2026-11-23T10:10:00", "30"),
            ("2026-11-23T10:00:00", "10"),
            ("2026-11-23T10:05:00", "null"),
            ("2026-11-23T10:00:00", "11"),
            ("2026-11-23T09:00:00", "null"),
        ];
        let forecast = [("2026-11-23T10:00:00", "99"), ("2026-11-23T10:05:00", "21.5")];
        let is_forecast = request.path.contains("Prog");
        ok(&energi_data_service("CO2Emis", if is_forecast { &forecast } else { &times[..] }))
    });
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.fetch().unwrap();
    // Of one instant the later value, what was measured before what was forecast, nothing for nulls.
    assert_eq!(
        lines(&site),
        [
            "2026-11-23T10:00:00Z,DK1,11,Energi Data Service actual",
            "2026-11-23T10:05:00Z,DK1,21.5,Energi Data Service forecast",
            "2026-11-23T10:10:00Z,DK1,30,Energi Data Service actual",
        ]
    );
}

#[test]
fn both_price_areas_have_their_own_values() {
    let server = Server::start(|_, _| {
        // Both areas, whatever the filter says.
        let record = |area: &str, g: u32| {
            format!(
                r#"{{"Minutes5UTC":"2026-11-23T10:00:00","PriceArea":"{area}","CO2Emission":{g}}}"#
            )
        };
        ok(&format!(r#"{{"records":[{},{}]}}"#, record("DK1", 100), record("DK2", 50)))
    });
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.fetch().unwrap();
    site.carbon.zone = Some("DK2".to_owned());
    site.fetch().unwrap();
    assert_eq!(
        lines(&site),
        [
            "2026-11-23T10:00:00Z,DK1,100,Energi Data Service actual",
            "2026-11-23T10:00:00Z,DK2,50,Energi Data Service actual",
        ]
    );
    assert!(server.requests()[2].path.contains("%22DK2%22"), "{:?}", server.requests());
}

/// What is asked of Energi Data Service from two hours before an instant on.
fn danish_spans(now: &str) -> Vec<String> {
    let server = Server::start(|request, _| ok(&danish(request)));
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    (site.carbon.fetch.history_h, site.carbon.fetch.horizon_h) = (2, 3);
    site.fetch_at(now, None, &mut Outcome::default()).unwrap();
    let span = |r: &Request| {
        let query = r.path.split_once('?').unwrap().1.replace("%3A", ":");
        query.split("&filter").next().unwrap().to_owned()
    };
    server.requests().iter().map(span).collect()
}

#[test]
fn the_danish_night_in_which_summer_time_ends_is_asked_for_whole() {
    // On 25 October 2026 it is 02:00 in Denmark at 00:00 and at 01:00 UTC; 01:00 and 03:00 come once.
    assert_eq!(
        danish_spans("2026-10-25T01:30:00Z"),
        [
            "start=2026-10-25T01:00&end=2026-10-25T03:00",
            "start=2026-10-25T01:00&end=2026-10-25T05:00",
        ]
    );
    assert_eq!(
        danish_spans("2026-10-25T00:30:00Z"),
        [
            "start=2026-10-25T00:00&end=2026-10-25T03:00",
            "start=2026-10-25T01:00&end=2026-10-25T04:00",
        ]
    );
    // On 28 March 2027 there is no 02:00: it is 01:00 at 00:00 UTC, and 03:00 an hour later.
    assert_eq!(
        danish_spans("2027-03-28T01:30:00Z"),
        [
            "start=2027-03-28T00:00&end=2027-03-28T04:00",
            "start=2027-03-28T03:00&end=2027-03-28T06:00",
        ]
    );
}

#[test]
fn hours_of_that_night_are_told_apart_by_utc() {
    let server = Server::start(|request, _| {
        let times: Vec<_> = [("2026-10-25T00:00:00", "10"), ("2026-10-25T01:00:00", "20")].into();
        let n = usize::from(!request.path.contains("Prog")) * 2;
        ok(&energi_data_service("CO2Emis", &times[..n]))
    });
    let site = Site::new(Provider::EnergiDataService, "DK1", &server);
    site.fetch_at("2026-10-25T02:30:00Z", None, &mut Outcome::default()).unwrap();
    assert_eq!(
        lines(&site),
        [
            "2026-10-25T00:00:00Z,DK1,10,Energi Data Service actual",
            "2026-10-25T01:00:00Z,DK1,20,Energi Data Service actual",
        ]
    );
}

#[test]
fn british_nulls_are_left_out_and_an_actual_of_zero_counts() {
    let server = Server::start(|_, _| {
        let half = |from: &str, forecast: &str, actual: &str| {
            format!(
                r#"{{"from":"2026-11-23T{from}Z","to":"x","intensity":{{"forecast":{forecast},"actual":{actual},"index":null}}}}"#
            )
        };
        let halves = [
            half("10:00", "null", "null"),
            half("09:30", "80", "0"),
            half("09:00", "null", "70"),
            half("09:30", "81", "null"),
        ];
        ok(&format!(r#"{{"data":[{}]}}"#, halves.join(",")))
    });
    let site = Site::new(Provider::CarbonIntensity, "GB", &server);
    site.fetch().unwrap();
    assert_eq!(
        lines(&site),
        [
            "2026-11-23T09:00:00Z,GB,70,UK Carbon Intensity actual",
            "2026-11-23T09:30:00Z,GB,0,UK Carbon Intensity actual",
        ]
    );
}

#[test]
fn an_answer_of_another_zone_is_not_taken() {
    let server = Server::start(|request, _| match &request.path {
        path if path.contains("/regional/") => ok(
            r#"{"data":{"regionid":3,"data":[{"from":"2026-11-23T09:00Z","intensity":{"forecast":50}}]}}"#,
        ),
        _ => electricity_maps(request),
    });
    for (provider, zone, seen) in [
        (Provider::ElectricityMaps, "FR", "it is of zone \"DK-DK1\", expected \"FR\""),
        (Provider::CarbonIntensity, "GB-13", "it is of zone \"GB-3\", expected \"GB-13\""),
    ] {
        let site = Site::new(provider, zone, &server);
        fs::write(site.file(), OLD).unwrap();
        let error = site.fetch().unwrap_err();
        assert!(error.contains(seen) && error.contains("a proxy answers"), "{error}");
        assert_eq!(site.text(), OLD);
    }
}

#[test]
fn a_part_without_a_value_yet_does_not_spoil_the_others() {
    // The last hours of a long time are not published yet.
    let server = Server::start(|request, _| {
        if request.path.contains("start=2026-11-23") {
            return ok(r#"{"zone":"DK-DK1","data":[]}"#);
        }
        electricity_maps(request)
    });
    let site = Site::new(Provider::ElectricityMaps, "DK-DK1", &server);
    let from = "2026-11-13T08:00:00Z".parse().unwrap();
    assert_eq!(site.fetch_from(Some(from)).map(|fetched| fetched.n_new), Ok(4));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_link_to_the_file_stays_one() {
    let server = Server::start(|request, _| ok(&danish(request)));
    let mut site = Site::new(Provider::EnergiDataService, "DK1", &server);
    let link = site.dir.path().join("link.csv");
    fs::write(site.file(), OLD).unwrap();
    std::os::unix::fs::symlink(site.file(), &link).unwrap();
    site.carbon.series_file = Some(link.clone());
    site.fetch().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(lines(&site).len(), 4);
}
