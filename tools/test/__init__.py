"""`./course test`: every notebook, exercise and solution, the unit tests and the build check, with a readable summary.

A lesson's live cells run live where an engine or a cluster is within reach, and once more replayed. Every run that is
not live is offline: with neither engine nor cluster, with the network cut where that can be, and each cell twice in a
row. Lessons that compare runtimes run once more under each of several instruction sets. A live run or a unit test that
fails is tried once more, since it shares the machine with whatever else runs there, and the summary tells of both tries.
"""
