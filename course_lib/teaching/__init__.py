"""For those who teach the course: a learner's export, a class's table, an edition without solutions, a placement test."""
