"""For the lessons that release something: lesson 19's registry and canary, and a git repository for lessons 24 and 24b.

`project/` holds the programs that lesson 24's pipeline runs; the lesson copies them into its repository.
"""
