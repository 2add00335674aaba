"""The heavy runner: one script, one large table, and always a final state."""
