"""The order of the images, and batches in it.

order.py says which image comes at which place of which step; feed.py is a host's
batches, from resident.py (all images live on the device) or streamed.py (decoded on the
host, by the threads of stream.py).
"""
