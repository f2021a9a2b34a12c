//! Software Carbon Intensity, ISO/IEC 21031:2024: SCI = (E · I + M) per R.

use serde::{Deserialize, Serialize};

/// The four quantities and what comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sci {
    /// E: energy in kWh, PUE included.
    pub e_kwh: f64,
    /// I: carbon intensity in gCO2e/kWh, the energy-weighted mean.
    pub i_g_per_kwh: f64,
    /// M: embodied footprint in gCO2e; `None` where the site gave no factor, and none is counted.
    pub m_g: Option<f64>,
    /// R: number of functional units.
    pub r: u32,
    /// The functional unit: `epoch`, or `job` where no epoch was completed.
    pub unit: String,
    /// (E · I + M) / R in gCO2e.
    pub g_per_r: f64,
}

impl Sci {
    /// Of so many completed epochs, or of the job where there are none.
    pub fn new(e_kwh: f64, i_g_per_kwh: f64, m_g: Option<f64>, n_epochs: u32) -> Self {
        let (r, unit) = if n_epochs > 0 { (n_epochs, "epoch") } else { (1, "job") };
        let g_per_r = (e_kwh * i_g_per_kwh + m_g.unwrap_or(0.0)) / f64::from(r);
        Self { e_kwh, i_g_per_kwh, m_g, r, unit: unit.to_owned(), g_per_r }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_that_of_one_functional_unit() {
        // 2 kWh at 100 g/kWh and 40 g of hardware over 8 epochs: 30 g an epoch.
        let per_epoch = Sci::new(2.0, 100.0, Some(40.0), 8);
        assert_eq!((per_epoch.g_per_r, &*per_epoch.unit), (30.0, "epoch"));
        let per_job = Sci::new(2.0, 100.0, None, 0);
        assert_eq!((per_job.g_per_r, per_job.r, &*per_job.unit), (200.0, 1, "job"));
    }
}
