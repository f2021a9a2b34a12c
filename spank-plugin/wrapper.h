/* What bindgen reads: SPANK and the log functions it declares, never slurm.h. No header of the C
   library: libclang alone does not bring the compiler's own, which those need. */
#include <slurm/spank.h>
