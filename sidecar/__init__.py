"""The monitor's side: probe, verdict, publish.

One monitor process probes every backend on a timer of its own, judges the results in one state machine, and
publishes the verdicts to Redis as one view. Workers only ever read that view, so all of them agree.
"""
