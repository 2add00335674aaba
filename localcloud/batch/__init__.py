"""Batch jobs of the local cloud: what is stored, what is refused, and what runs."""
