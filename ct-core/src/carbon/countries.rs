//! Annual carbon intensity by country, and the country a time zone lies in.
//!
//! Two small tables that are part of the program; origin, licence and years stand in their files.
//! Nothing here guesses: what is not in a table is not known.

use std::sync::OnceLock;

use super::Fixed;
use crate::suggest::nearest;
use crate::units::CarbonIntensity;

const COUNTRIES: &str = include_str!("countries.csv");
const TIME_ZONES: &str = include_str!("time_zones.csv");

/// Annual mean of a country.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Country {
    /// ISO 3166-1 alpha-2; empty for the world.
    pub alpha_2: &'static str,
    /// ISO 3166-1 alpha-3; empty for the world.
    pub alpha_3: &'static str,
    /// English name.
    pub name: &'static str,
    /// Mean intensity of the year, life cycle, in gCO2e/kWh.
    pub intensity: CarbonIntensity,
    /// The year.
    pub year: u16,
}

impl Country {
    /// The zone's name in records: alpha-2, or `World`.
    pub fn zone(&self) -> &'static str {
        if self.alpha_2.is_empty() { self.name } else { self.alpha_2 }
    }

    /// The intensity as records name it.
    pub fn fixed(&self) -> Fixed {
        Fixed {
            intensity: self.intensity,
            zone: self.zone().to_owned(),
            source: format!(
                "annual average of {} in {} (Ember, Our World in Data)",
                self.name, self.year
            ),
        }
    }
}

/// Every country of the table, by name; the world comes first.
pub fn countries() -> &'static [Country] {
    static TABLE: OnceLock<Vec<Country>> = OnceLock::new();
    TABLE.get_or_init(|| rows(COUNTRIES).filter_map(parse).collect())
}

/// The lines of a table, without comments and header.
fn rows(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#')).skip(1)
}

fn parse(line: &'static str) -> Option<Country> {
    let mut cells = line.split(',');
    let mut next = || cells.next();
    let (alpha_2, alpha_3, name) = (next()?, next()?, next()?);
    let intensity = CarbonIntensity::new(next()?.parse().ok()?)?;
    Some(Country { alpha_2, alpha_3, name, intensity, year: next()?.parse().ok()? })
}

/// The country that a word names: alpha-2, alpha-3 or English name, in any case.
pub fn country(word: &str) -> Option<&'static Country> {
    let is_it = |text: &str| !text.is_empty() && text.eq_ignore_ascii_case(word);
    countries().iter().find(|c| is_it(c.alpha_2) || is_it(c.alpha_3) || is_it(c.name))
}

/// The country a zone such as `DK-DK1`, `DK1` or `GB-13` lies in, if its name begins with one's code.
pub fn country_of_zone(zone: &str) -> Option<&'static Country> {
    let (code, rest) = zone.split_at_checked(2)?;
    let ends_there = !rest.starts_with(|c: char| c.is_ascii_alphabetic());
    country(code).filter(|_| ends_there && code.bytes().all(|b| b.is_ascii_uppercase()))
}

/// The country of the table that was probably meant, as it is best written.
pub fn nearest_country(word: &str) -> Option<&'static str> {
    let names: Vec<String> = countries().iter().map(|c| c.name.to_lowercase()).collect();
    let by_name = nearest(word, names.iter().map(String::as_str));
    let of_name = |name: &str| countries().iter().find(|c| c.name.to_lowercase() == name);
    // Every two letters are one letter away from some code: only a longer word tells.
    let alpha_3 = || {
        let codes: Vec<String> = countries().iter().map(|c| c.alpha_3.to_lowercase()).collect();
        let code = nearest(word, codes.iter().map(String::as_str)).filter(|_| word.len() == 3)?;
        country(code)
    };
    by_name.and_then(of_name).or_else(alpha_3).map(Country::zone)
}

/// The country of an IANA time zone such as `Europe/Copenhagen`.
pub fn country_of_time_zone(name: &str) -> Option<&'static Country> {
    let row = rows(TIME_ZONES).find_map(|row| row.strip_prefix(name)?.strip_prefix(','))?;
    country(row)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_whole_and_plausible() {
        let lines = rows(COUNTRIES).count();
        assert_eq!(countries().len(), lines, "a line could not be read");
        assert!((190..=240).contains(&lines), "{lines} countries");
        let codes: BTreeSet<_> = countries().iter().map(|c| c.alpha_2).collect();
        assert_eq!(codes.len(), lines, "a code stands twice");
        for c in &countries()[1..] {
            let g = c.intensity.as_g_per_kwh();
            assert!(0.0 < g && g < 1500.0, "{c:?}");
            assert!((2009..=2026).contains(&c.year), "{c:?}");
            assert!(c.alpha_2.len() == 2 && c.alpha_3.len() == 3 && !c.name.is_empty(), "{c:?}");
        }
        let world = countries()[0];
        assert_eq!((world.name, world.year), ("World", 2023));
        assert!((470.0..=490.0).contains(&world.intensity.as_g_per_kwh()));
    }

    #[test]
    fn countries_known_for_their_power_plants_are_where_they_belong() {
        let g = |word: &str| country(word).unwrap().intensity.as_g_per_kwh();
        // Hydro and nuclear power below 80, coal above 600.
        assert!(["IS", "NO", "SE", "FR", "CHE"].into_iter().all(|c| g(c) < 80.0));
        assert!(["ZAF", "IND", "PL", "Kazakhstan"].into_iter().all(|c| g(c) > 550.0));
        assert!((g("DNK") - 143.3).abs() < 0.01);
    }

    #[test]
    fn a_country_is_found_by_code_and_name_and_a_slip_is_recognised() {
        for word in ["DK", "dk", "DNK", "denmark"] {
            assert_eq!(country(word).unwrap().zone(), "DK");
        }
        assert_eq!(country("world").unwrap().zone(), "World");
        assert!(country("").is_none() && country("XX").is_none());
        assert_eq!(nearest_country("Denmrak"), Some("DK"));
        assert_eq!(nearest_country("XQ"), None);
        assert_eq!(nearest_country("the office"), None);
    }

    #[test]
    fn zones_and_time_zones_lie_in_countries() {
        let zone = |name| country_of_zone(name).map(Country::zone);
        assert_eq!(
            [zone("DK-DK1"), zone("DK2"), zone("GB-13"), zone("US-CAL-CISO")],
            [Some("DK"), Some("DK"), Some("GB"), Some("US")]
        );
        assert_eq!(
            [zone("site"), zone("DE "), zone("dk1"), zone("X")],
            [None, Some("DE"), None, None]
        );
        let of = |name| country_of_time_zone(name).map(Country::zone);
        assert_eq!(of("Europe/Copenhagen"), Some("DK"));
        assert_eq!(of("America/Argentina/Ushuaia"), Some("AR"));
        assert_eq!(of("Etc/UTC"), None);
        assert_eq!(of("Europe"), None);
    }
}
