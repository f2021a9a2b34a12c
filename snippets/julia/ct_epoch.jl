# Marks epochs for the carbontracker plugin of Slurm: include("ct_epoch.jl").
# Without a tracker around nothing happens.
function ct_epoch(which::Symbol)
    which in (:start, :end) || throw(ArgumentError("ct_epoch(:start) or ct_epoch(:end)"))
    path = get(ENV, "CARBONTRACKER_SOCKET", "")
    (isempty(path) || Sys.which("ct-track") === nothing) && return nothing
    flush(stdout)
    run(ignorestatus(`ct-track epoch $which`))
    nothing
end
