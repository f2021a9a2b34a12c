//! Where this machine is, as far as its time zone tells: for who has configured nothing.

use std::fs;
use std::path::Path;

use ct_core::carbon::Fixed;
use ct_core::carbon::countries::country_of_time_zone;
use ct_core::config::Carbon;

/// The annual average of the country this machine's time zone lies in, where the configuration says
/// nothing of an intensity. It says that it is a guess, and from what.
pub(super) fn guess(carbon: &Carbon) -> Option<Fixed> {
    let says_nothing = carbon.intensity_g_per_kwh.is_none()
        && carbon.country.is_none()
        && carbon.series_file.is_none()
        && carbon.zone.is_none();
    if !says_nothing {
        return None;
    }
    let tz = std::env::var("TZ").ok();
    guess_below(Path::new("/"), tz.as_deref())
}

fn guess_below(root: &Path, tz: Option<&str>) -> Option<Fixed> {
    let time_zone = time_zone(root, tz)?;
    let mut fixed = country_of_time_zone(&time_zone)?.fixed();
    let guessed = format!("country guessed from the system's time zone {time_zone}");
    fixed.source = format!("{}; {guessed}", fixed.source);
    Some(fixed)
}

/// The time zone's name: the environment's, else that of /etc/timezone, else the one that
/// /etc/localtime leads to.
fn time_zone(root: &Path, tz: Option<&str>) -> Option<String> {
    if let Some(tz) = tz.map(|tz| tz.trim_start_matches(':')).filter(|tz| !tz.is_empty()) {
        return Some(tz.to_owned());
    }
    if let Ok(text) = fs::read_to_string(root.join("etc/timezone")) {
        return Some(text.trim().to_owned());
    }
    let link = fs::read_link(root.join("etc/localtime")).ok()?;
    link.to_str()?.split_once("zoneinfo/").map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_country_is_that_of_the_time_zone_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        assert_eq!(guess_below(dir.path(), None), None);
        let link = "/usr/share/zoneinfo/Europe/Copenhagen";
        std::os::unix::fs::symlink(link, etc.join("localtime")).unwrap();
        let fixed = guess_below(dir.path(), None).unwrap();
        assert_eq!(fixed.zone, "DK");
        assert!(fixed.source.ends_with("guessed from the system's time zone Europe/Copenhagen"));
        // Debian's file comes before the link, the environment before both.
        fs::write(etc.join("timezone"), "Europe/Berlin\n").unwrap();
        assert_eq!(guess_below(dir.path(), None).unwrap().zone, "DE");
        assert_eq!(guess_below(dir.path(), Some(":America/New_York")).unwrap().zone, "US");
        assert_eq!(guess_below(dir.path(), Some("CET-1CEST")), None);
    }

    #[test]
    fn what_the_configuration_says_is_not_guessed() {
        let carbon = Carbon { country: Some("DK".to_owned()), ..Carbon::default() };
        assert_eq!(guess(&carbon), None);
    }
}
