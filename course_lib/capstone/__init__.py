"""The capstone: a small repository of the learner's own, made mediocre on purpose, and the program that examines it.

`./course capstone new NAME --case digits`, then `./course capstone examine NAME`. Cases, the start and the reference
lie in capstone/, weak projects in tests/capstone/; here stands what makes, attacks and reports. To read it in order:
`projects`, `cases`, `examine`, then the criteria (`service`, `files`, `containers`), what runs a stranger's code
(`running`, `cage`), `report`.
"""
