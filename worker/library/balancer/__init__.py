"""``LoadBalancer``: in turn, to the fastest, or by a policy of the config file, with retries elsewhere."""

from worker.library.balancer.balancer import LoadBalancer

__all__ = ["LoadBalancer"]
