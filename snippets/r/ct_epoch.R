# Marks epochs for the carbontracker plugin of Slurm: source("ct_epoch.R").
# R has no Unix sockets of its own, so ct-track speaks; without a tracker around nothing happens.
ct_epoch <- function(which = c("start", "end")) {
  which <- match.arg(which)
  if (nzchar(Sys.getenv("CARBONTRACKER_SOCKET")) && nzchar(Sys.which("ct-track"))) {
    flush.console()
    system2("ct-track", c("epoch", which))
  }
  invisible(NULL)
}
