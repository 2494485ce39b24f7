"""What parts of unigpu on a GPU node share: the driver's libraries, containers' folders, and the two files in each.

The node agent writes them, the exporter reads them, and the benchmarks make their own.
"""
