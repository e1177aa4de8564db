"""The monitor's side: probe, verdict, publish; and the commands and the console that show and operate all of it.

One monitor process probes every backend on a timer of its own, judges the results in one state machine, and
publishes the verdicts to Redis as one view. Workers only ever read that view, so all of them agree; what they see of
real traffic they report, and the monitor collects it.
"""
