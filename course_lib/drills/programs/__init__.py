"""What a drill starts: a reader of drawings, a predictor, users, and what runs a program of the folder."""
