"""Pages for people: one file of HTML each, with pictures in it.

report.py is the page of a run, several.py of runs side by side, preview.py of a run
that has not begun, gallery.py of a search. template.py is the frame of all, style.py
their looks. chart.py draws what curves.py names; pictures.py shows images.
"""
