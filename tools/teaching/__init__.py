"""What instructors and their learners run: `./course progress`, `class`, `room`; and what the placement test is built by."""
