"""Gathers the facts: a look at the store, a request to each backend and to each address of ours. Changes nothing."""

from sidecar.doctor.gather.gather import Patient, gather

__all__ = ["Patient", "gather"]
