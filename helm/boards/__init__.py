"""What the chart's Grafana boards show: one module for each board.

Each board is a row of panels, which fill the page from left to right. Expressions use only metrics that unigpu itself
serves, and no recording rules, so that the boards work where the rules aren't installed.
"""

from helm.boards.cluster import CLUSTER
from helm.boards.namespace import NAMESPACE_BOARD
from helm.boards.node import NODE_BOARD
from helm.boards.pod import POD_BOARD

BOARDS = (CLUSTER, NODE_BOARD, NAMESPACE_BOARD, POD_BOARD)
