"""The subcommands of `longhaul`, one module per group."""
