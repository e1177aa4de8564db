"""Gathers the facts: a look at the store, a request to each backend and to each address of ours. Changes nothing."""

from sidecar.doctor.gather.gather import Patient, gather
from sidecar.doctor.gather.machine import running_config

__all__ = ["Patient", "gather", "running_config"]
