# Says what is missing for Slurm to load the plugin. plugstack.conf is the administrator's: it is
# never edited here.
say_what_to_include() {
    if ! grep -Eqs '^[[:space:]]*include[[:space:]]+/etc/slurm/plugstack\.conf\.d/' \
        /etc/slurm/plugstack.conf; then
        echo "carbontracker: Slurm does not load the plugin yet: let /etc/slurm/plugstack.conf, or the"
        echo "carbontracker: file that PlugStackConfig in slurm.conf names, have this line:"
        echo "carbontracker:     include /etc/slurm/plugstack.conf.d/*.conf"
    fi
}
