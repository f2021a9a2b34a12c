//! Searches that hang, answer late, or find what is known.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::*;
use crate::sampler::{Sampler, now};

struct Meter(Vec<Device>, u64);

impl Source for Meter {
    fn devices(&self) -> &[Device] {
        &self.0
    }
    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        self.1 += 1;
        self.0.iter().map(|_| Ok(self.1)).collect()
    }
    fn partitions(&mut self) -> Vec<Partition> {
        let of = |d: &Device| Partition { uuid: "MIG".into(), device_id: d.id.clone(), share: 1.0 };
        self.0.iter().map(of).collect()
    }
    fn processes(&mut self) -> Vec<GpuProcess> {
        let of = |d: &Device| GpuProcess { pid: 1, device_id: d.id.clone(), partition: None };
        self.0.iter().map(of).collect()
    }
}

fn gpu(id: &str) -> Device {
    Device::new(Component::Gpu, id, id, "nvml-energy")
}

fn found(devices: Vec<Device>) -> Chosen {
    Chosen { sources: vec![Box::new(Meter(devices, 0))], ..Chosen::default() }
}

fn sampler(devices: Vec<Device>) -> Sampler {
    Sampler::new(vec![Box::new(Meter(devices, 0))], Path::new("/nonexistent"))
}

/// A search that hangs until the test sends it what it is to find.
fn hanging(searches: &mut Searches) -> Sender<Chosen> {
    let (release, gate) = channel::<Chosen>();
    searches.push(Search::start("NVML", now(), move |tell: Tell<'_>| {
        tell(gate.recv().unwrap_or_default());
    }));
    release
}

fn sample_until(sampler: &mut Sampler, is_so: impl Fn(&Sampler) -> bool) {
    for _ in 0..400 {
        sampler.sample();
        if is_so(sampler) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come: {:?}", sampler.devices());
}

#[test]
fn a_search_that_hangs_is_left_to_itself_and_its_meters_are_taken_when_it_answers() {
    let mut searches = Searches::default();
    let release = hanging(&mut searches);
    let look = |tell: Tell<'_>| tell(found(vec![gpu("quick")]));
    searches.push(Search::start("drm", now(), look));
    let start = Instant::now();
    let answers = searches.wait();
    assert!((PATIENCE..PATIENCE * 3).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(answers.iter().map(|a| a.name).collect::<Vec<_>>(), ["drm"]);
    let mut sampler = sampler(vec![gpu("quick")]);
    sampler.searches = searches;
    sampler.sample();
    assert!(sampler.is_searching());
    let outages: Vec<String> = sampler.outages().collect();
    let outage = outages.iter().find(|o| o.starts_with("NVML did not answer within 2 s"));
    assert!(outage.is_some_and(|o| o.contains("not included since")), "{outages:?}");
    // What is known already is found again, and counts once.
    release.send(found(vec![gpu("quick"), gpu("late")])).unwrap();
    sample_until(&mut sampler, |s| s.n_found() > 0);
    let ids: Vec<&str> = sampler.devices().iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["quick", "late"]);
    let said = |s: &Sampler| s.failures().iter().any(|f| f.contains("not included from"));
    if !said(&sampler) {
        // The thread ends a moment after it has told.
        sample_until(&mut sampler, said);
    }
    assert!(!sampler.is_searching());
    let interval = sampler.sample().unwrap();
    assert_eq!(interval.devices.len(), 2);
    assert!(interval.devices[1].answered && interval.devices[1].energy.as_u64() > 0);
    assert_eq!((sampler.partitions().len(), sampler.gpu_processes().len()), (2, 2));
}

#[test]
fn of_what_is_found_late_only_components_without_a_meter_are_taken() {
    let cpu = |id: &str| Device::new(Component::Cpu, id, id, "m");
    let node = Device::new(Component::Rest, "rest", "node", "pm_counters");
    let known = [cpu("model"), gpu("a")];
    let sources = found(vec![cpu("cray"), node, gpu("a"), gpu("b")]).new_beside(&known);
    let ids: Vec<&str> = sources.iter().flat_map(|s| s.devices()).map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["node", "b"]);
    assert!(found(vec![gpu("a")]).new_beside(&known).is_empty());
    // Two sources of one answer may be of one component.
    let mut both = found(vec![gpu("c")]);
    both.extend(found(vec![gpu("d")]));
    assert_eq!(both.new_beside(&known).len(), 2);
}

#[test]
fn what_a_search_found_before_it_hung_is_there() {
    let (_release, gate) = channel::<()>();
    let mut searches = Searches::default();
    searches.push(Search::start("the node's meter", now(), move |tell: Tell<'_>| {
        tell(found(vec![gpu("first")]));
        let _ = gate.recv();
    }));
    let answers = searches.wait();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].found.sources[0].devices()[0].id, "first");
    assert!(searches.late().next().is_some());
}

#[test]
fn gpus_whose_driver_came_after_the_start_are_found_when_they_are_looked_for() {
    let root = tempfile::tempdir().unwrap();
    let mut config = crate::config::Config::default();
    config.path.sysfs = root.path().join("sys");
    config.path.procfs = root.path().to_owned();
    config.node.nvml_library = Some(root.path().join("libnvidia-ml.so.1"));
    let mut sampler = Sampler::open(&config);
    let missing = sampler.problems();
    assert!(missing.iter().any(|p| p.starts_with("not measured: NVML")), "{missing:?}");
    assert!(sampler.devices().iter().all(|d| d.component != Component::Gpu));
    assert!(!sampler.may_look_for_gpus(Duration::from_secs(60)), "just looked");
    let hwmon = root.path().join("sys/class/drm/card1/device/hwmon/hwmon4");
    std::fs::create_dir_all(&hwmon).unwrap();
    std::fs::write(hwmon.join("name"), "xe\n").unwrap();
    std::fs::write(hwmon.join("energy1_input"), "1000\n").unwrap();
    sampler.look_for_gpus();
    sample_until(&mut sampler, |s| s.devices().iter().any(|d| d.component == Component::Gpu));
    assert_eq!(sampler.n_found(), 1);
    sampler.look_for_gpus();
    sample_until(&mut sampler, |s| s.searches.is_empty());
    assert_eq!(sampler.n_found(), 1, "it is known");
}
