"""A small language model of Python's own manual, and a server for it in OpenAI's form (lessons 26 and 26b)."""
