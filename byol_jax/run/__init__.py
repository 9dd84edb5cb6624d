"""The parts that keep a run alive.

session.py watches the loop: read it first. workdir.py opens the folder and lock.py
holds it; checkpoint.py saves and reads states, by orbax_repairs.py and with a
manifest.py; saving.py decides what a failure to save means, restore.py makes all
processes take the same one. health.py finds numbers that are not finite, watchdog.py a
process that is stuck, signals.py the wish to leave. console.py and metrics.py tell
people; journal.py reads again what a run wrote.
"""
