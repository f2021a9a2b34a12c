//! What a plant is asked over its standard input: one line each way.

use anyhow::{Context, Result, bail};

use super::generator::Generator;

impl Generator {
    /// Does what a line asks for, and says so:
    ///
    /// ```text
    /// truth                       truth                 ROOT/truth.json is written
    /// truth UNIX_SECONDS          {"energy_j":…}        what was drawn until then
    /// fault METER FAULT           fault METER FAULT     the meter goes wrong
    /// heal METER                  heal METER            it works again
    /// ```
    ///
    /// What cannot be done is answered by `error: ` and the reason.
    pub fn answer(&mut self, request: &str) -> String {
        match self.obey(request) {
            // One line, whatever the reason quotes.
            Err(e) => format!("error: {e:#}").replace('\n', " "),
            Ok(answer) => answer,
        }
    }

    fn obey(&mut self, request: &str) -> Result<String> {
        let mut words = request.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("truth"), None, None) => self.write_truth()?,
            (Some("truth"), Some(at), None) => {
                let at = at.parse().with_context(|| format!("{at:?} is no number of seconds"))?;
                return Ok(serde_json::to_string(&self.truth_at(at)?)?);
            }
            (Some("fault"), Some(meter), Some(fault)) => {
                self.set_fault(meter.parse()?, Some(fault.parse()?))?;
            }
            (Some("heal"), Some(meter), None) => self.set_fault(meter.parse()?, None)?,
            _ => bail!("unknown request {request:?}, expected \"truth\", \"fault\" or \"heal\""),
        }
        Ok(request.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::{Domain, Package, Spec, Truth};

    #[test]
    fn requests_are_done_or_answered_with_the_reason() {
        let root = tempfile::tempdir().unwrap();
        let packages = vec![Package::new(Domain::constant(1.0))];
        let mut plant =
            Generator::start(root.path(), Spec { packages, ..Spec::default() }).unwrap();
        for request in ["truth", "fault package-0 backwards 2.5", "fault package-0 stop"] {
            assert_eq!(plant.answer(request), request);
        }
        let now = plant.started_unix_s();
        let truth: Truth = serde_json::from_str(&plant.answer(&format!("truth {now}"))).unwrap();
        assert_eq!(truth.energy_j["package-0"], 0.0);
        for (request, reason) in [
            ("", "unknown request"),
            ("truth now", "no number of seconds"),
            ("truth 1e99", "after the start"),
            ("fault package-0", "unknown request"),
            ("fault package-0 stop", "heal it first"),
            ("fault package-1 stop", "no meter package-1"),
            ("fault package-0 explode", "is no fault"),
            ("heal fan", "is no meter"),
        ] {
            let answer = plant.answer(request);
            assert!(
                answer.starts_with("error: ") && answer.contains(reason),
                "{request}: {answer}"
            );
        }
        assert_eq!(plant.answer("heal package-0"), "heal package-0");
    }
}
