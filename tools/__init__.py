"""Set-up of a machine for longhaul: standard library only, run by the machine's own python3."""
