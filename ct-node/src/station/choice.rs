//! Whether a job is tracked, and with what: upstream's defaults, the site's, the job's own.

use std::time::Duration;

use ct_core::config::Track;
use ct_core::option::{Choice, OptionSet, Settings, parse};
use ct_core::protocol::JobFacts;

/// What was decided for a job.
pub(super) struct Decision {
    /// Whether its owner gets logs and blocks.
    pub(super) tracked: bool,
    /// With what.
    pub(super) settings: Settings,
    /// What could not be followed.
    pub(super) warnings: Vec<String>,
}

pub(super) fn decide(facts: &JobFacts, track: &Track) -> Decision {
    let mut warnings = Vec::new();
    let mut set = track.options().unwrap_or_default();
    let mut tracked = facts.site_default.unwrap_or(track.default.is_on());
    for (whose, text) in [("plugstack.conf", &facts.site_option), ("job", &facts.option)] {
        match text.as_deref().map(parse) {
            Some(Ok(Choice::On(own))) => {
                tracked |= whose == "job";
                set.extend(&own);
            }
            Some(Ok(Choice::Off)) if whose == "job" => tracked = false,
            Some(Ok(_)) | None => {}
            Some(Err(e)) => warnings.push(format!("option of {whose} ignored: {e}")),
        }
    }
    let mut settings = resolve(&set, &mut warnings);
    let shortest = Duration::from_secs_f64(track.limits.update_interval_min_s);
    settings.update_interval = settings.update_interval.max(shortest);
    if !settings.ignore_errors {
        warnings
            .push("ignore_errors is false: errors of tracking end no job all the same".to_owned());
    }
    Decision { tracked, settings, warnings }
}

/// The job's keys were checked at its submission; beside the site's they may still clash.
fn resolve(set: &OptionSet, warnings: &mut Vec<String>) -> Settings {
    Settings::resolve(set).unwrap_or_else(|e| {
        warnings.push(format!("monitor_epochs taken as -1: {e}"));
        let mut set = set.clone();
        // -1 is allowed by the key's own check and beside any epochs_before_pred.
        if set.set("monitor_epochs", "-1").is_err() {
            return Settings::default();
        }
        Settings::resolve(&set).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use ct_core::config::{Config, Switch};

    use super::*;

    fn decide_for(site: Option<bool>, site_option: &str, option: Option<&str>) -> Decision {
        let mut track = Config::default().track;
        track.limits.update_interval_min_s = 2.0;
        let facts = JobFacts {
            site_default: site,
            site_option: Some(site_option.to_owned()).filter(|s| !s.is_empty()),
            option: option.map(str::to_owned),
            ..Default::default()
        };
        decide(&facts, &track)
    }

    #[test]
    fn the_job_decides_before_the_site() {
        for (site, option, tracked) in [
            (None, None, false),
            (Some(true), None, true),
            (Some(true), Some("off"), false),
            (Some(false), Some("epochs:3"), true),
            (None, Some("(null)"), true),
            (Some(false), None, false),
        ] {
            assert_eq!(decide_for(site, "", option).tracked, tracked, "{site:?} {option:?}");
        }
        let mut config = Config::default();
        config.track.default = Switch::On;
        assert!(decide(&JobFacts::default(), &config.track).tracked);
    }

    #[test]
    fn values_of_the_job_come_before_the_sites() {
        let decision = decide_for(None, "update_interval:5,verbose:2", Some("update_interval:1"));
        // 1 s is below the site's limit of 2 s.
        assert_eq!(decision.settings.update_interval, Duration::from_secs(2));
        assert_eq!(decision.settings.verbose, 2);
    }

    #[test]
    fn values_that_clash_with_the_sites_do_not_lose_the_job() {
        let decision = decide_for(
            None,
            "monitor_epochs:9,epochs_before_pred:5",
            Some("monitor_epochs:2,epochs:9"),
        );
        assert_eq!(decision.settings.monitor_epochs, -1);
        assert_eq!(decision.settings.epochs, Some(9));
        assert_eq!(decision.warnings.len(), 1);
    }
}
