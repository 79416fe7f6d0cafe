"""Lesson 19's registry and canary, for the lessons that release something: what is known of a version, and its way to users."""
