"""Stand-in for Pulumi's gcp plugin 10.2.0: exactly the resource types of `rows.ROWS`, spoken to a local cloud."""
