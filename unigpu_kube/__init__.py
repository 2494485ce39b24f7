"""The API server, for every part that talks to it: one client, one set of errors, one list-and-watch.

Objects stay plain JSON. The client library finds and authenticates the API server; its typed models aren't used,
because reading tens of thousands of pods into them takes minutes.
"""
