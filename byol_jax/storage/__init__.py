"""Files and folders, here and in buckets.

paths.py reads, files.py writes whole or not at all, retry.py tries again, failures.py
says whose fault an error is. bucket.py lets a workdir live in a bucket.
"""
