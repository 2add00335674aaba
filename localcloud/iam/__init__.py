"""Roles, policies, conditions and service accounts: who may do what in the local cloud."""
