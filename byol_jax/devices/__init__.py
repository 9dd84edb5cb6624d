"""Who computes: devices, processes, and what travels between them.

Read mapped.py first, the only place of `pmap`. grid.py says which examples a device
takes, prefetch.py brings them there. hosts.py makes several processes one run, and
backend.py asks for the devices. topology.py and compiler.py are about XLA.
"""
