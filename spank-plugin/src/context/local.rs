//! srun, sbatch, salloc: the option is registered, and checked by its callback.

use crate::options;
use crate::spank::Spank;

/// Registers the option. Where that fails Slurm itself says that it does not know it.
pub(crate) fn init(spank: &Spank) {
    options::register(spank);
}
