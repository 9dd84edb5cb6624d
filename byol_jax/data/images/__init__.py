"""From the bytes of an image file to pixels.

decode.py is the beginning: it makes two training views, or the centre. It asks crops.py
where to cut, and resize.py to cut. look.py, jpeg.py, formats.py and metadata.py find
out what a file is. large.py and looking.py warn of images that are slow, or nearly
nothing. shrink.py and thumbnail.py write smaller images.
"""
