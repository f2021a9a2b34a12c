//! Puts together what several hooks know of one job.

use crate::protocol::JobFacts;

/// Adds what `later` knows and `facts` does not.
///
/// What came first stays: a prolog's environment is slurmd's own, a step's may be the user's.
pub fn merge(facts: &mut JobFacts, later: JobFacts) {
    macro_rules! fill {
        ($($field:ident),*) => { $( if facts.$field.is_none() { facts.$field = later.$field; } )* };
    }
    fill!(restart, node, user, cluster, nodelist, n_nodes, account, partition, qos, job_name);
    fill!(work_dir, array_job_id, array_task_id, het_job_id, cpus_per_node, alloc_cpus);
    fill!(alloc_mem_mb, cores, job_gpus, step_gpus, cuda_visible_devices);
    fill!(rocr_visible_devices, ze_affinity_mask, site_default, site_option, option);
    fill!(end_time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_stays() {
        let mut facts = JobFacts { account: Some("a".into()), ..Default::default() };
        let step = JobFacts {
            account: Some("forged".into()),
            job_name: Some("n".into()),
            ..Default::default()
        };
        merge(&mut facts, step);
        assert_eq!(facts.account.as_deref(), Some("a"));
        assert_eq!(facts.job_name.as_deref(), Some("n"));
    }
}
