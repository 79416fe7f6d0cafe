"""`./course bench`: what the lessons take, how fast the model server answers, and whether it lasts."""
