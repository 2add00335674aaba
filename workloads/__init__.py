"""The containers of the project: one folder each, with what they share in common/."""
