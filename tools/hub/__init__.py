"""`./course hub`: JupyterHub for a room of learners on one machine. What it starts is in teaching/hub."""
