"""Files that hold many records or images, each read at random.

shards.py (ArrayRecord), tfrecord.py, tar.py and parquet.py read; index.py keeps where
each record begins. writing.py writes the shards of task=prepare, descriptions.py reads
what it wrote about them.
"""
