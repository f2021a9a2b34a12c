//! Grams of a job: of the hours it has drawn, of its epochs, and of those to come.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Context, Epoch, Job};
use crate::carbon::intensity::hour_of;
use crate::carbon::sci::Sci;
use crate::carbon::{Factors, Mean, Pricing};
use crate::prediction::Outlook;
use crate::record::JobTotal;
use crate::units::{CarbonIntensity, GramsCo2e, Joules};

/// The job's own mean power in an hour: by it the hour counts in a span that crosses it.
struct HourPower {
    hour: DateTime<Utc>,
    watts: f64,
}

/// What the job drew, hour by hour, to price spans of its time.
pub(super) struct Priced<'a> {
    factors: &'a Factors,
    hours: Vec<HourPower>,
}

impl Priced<'_> {
    /// Mean intensity over a span of the job's time, weighted by what the job drew in each hour.
    pub(super) fn mean(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> CarbonIntensity {
        let mut mean = Mean::default();
        let first = self.hours.partition_point(|h| h.hour + TimeDelta::hours(1) <= start);
        for hour in self.hours[first..].iter().take_while(|h| h.hour < end) {
            let to = end.min(hour.hour + TimeDelta::hours(1));
            let weight = hour.watts * (to - start.max(hour.hour)).as_seconds_f64();
            mean.add(self.factors.intensity_at(hour.hour), weight);
        }
        mean.get().unwrap_or_else(|| self.factors.mean_over(start, end))
    }

    /// Footprint of an epoch, on all nodes of the job.
    pub(super) fn of_epoch(&self, epoch: &Epoch) -> GramsCo2e {
        let length = TimeDelta::from_std(epoch.duration).unwrap_or_default();
        let intensity = self.mean(epoch.end - length, epoch.end);
        self.factors.footprint(epoch.energy.total().to_joules(), intensity)
    }
}

impl Job {
    /// The job's energy so far, priced by hour.
    pub fn price(&self, factors: &Factors) -> Pricing {
        factors.price(&self.energy.by_hour(), self.last.wall)
    }

    /// Prices spans of the job's time.
    pub(super) fn priced<'a>(&self, factors: &'a Factors) -> Priced<'a> {
        let power = |hour: crate::energy::HourEnergy| {
            let end = self.last.wall.min(hour.0 + TimeDelta::hours(1));
            let seconds = (end - self.start.wall.max(hour.0)).as_seconds_f64();
            let joules = hour.energy().total().to_joules().as_joules();
            HourPower { hour: hour.0, watts: if seconds > 0.0 { joules / seconds } else { 0.0 } }
        };
        let hours = self.energy.by_hour().into_iter().map(power).collect();
        Priced { factors, hours }
    }

    /// Footprint of all epochs: of those that were completed as they were, of those to come with the
    /// intensity of the hours in which they will run, as far as it is known.
    pub(super) fn outlook_footprint(&self, outlook: &Outlook, factors: &Factors) -> GramsCo2e {
        let done = self.epochs.total();
        let footprint = self.epochs.footprint();
        let spent = done.energy.total().to_joules().as_joules();
        let rest = outlook.energy.as_joules() - spent;
        if rest < 0.0 {
            // Fewer epochs were declared than were completed.
            let share = outlook.energy.as_joules() / spent;
            return GramsCo2e::new(footprint.as_grams() * share);
        }
        let elapsed = done.duration;
        let ahead = TimeDelta::from_std(outlook.duration.saturating_sub(elapsed));
        let from = self.last.wall;
        let to = from.checked_add_signed(ahead.unwrap_or_default()).unwrap_or(from);
        footprint + factors.footprint(Joules::new(rest), factors.mean_over(from, to))
    }

    /// Software Carbon Intensity of the job on this node, or on all of its nodes where this is the
    /// first one and has seen others; hardware of the others counts like this node's.
    pub(super) fn sci(
        &self,
        pricing: &Pricing,
        embodied_g: Option<f64>,
        total: Option<&JobTotal>,
        context: Context<'_>,
    ) -> Option<Sci> {
        if !self.is_first_node {
            return None;
        }
        let own = self.energy.total();
        let energy = total.map_or(own, |total| total.energy_j).total().to_joules();
        let nodes = total.map_or(1, |total| total.nodes_seen);
        let m_g = embodied_g.map(|g| g * f64::from(nodes));
        let n_epochs = self.n_epochs();
        let e_kwh = context.factors.facility_kwh(energy).as_kwh();
        Some(Sci::new(e_kwh, pricing.used.g_per_kwh, m_g, n_epochs))
    }

    /// Adds the live intensity to the log, once per hour and only where the site's series has one,
    /// as upstream says what it has fetched.
    pub(super) fn log_live_intensity(&mut self, at: DateTime<Utc>, factors: &Factors) {
        let hour = hour_of(at);
        let Some(live) = factors.hour(at).filter(|_| self.logged_hour != Some(hour)) else {
            return;
        };
        self.logged_hour = Some(hour);
        let (g, place) = (live.intensity.as_g_per_kwh(), factors.place());
        self.log.standard(
            at.with_timezone(&chrono::Local),
            format_args!("Carbon intensity fetched: {g:.2} gCO2/kWh at {place}"),
        );
    }
}
