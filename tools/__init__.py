"""What authors run: the tests, the build, the bench. Learners import `course_lib`, never this."""
