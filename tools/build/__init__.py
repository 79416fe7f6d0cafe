"""Builds what people open (notebooks/, exercises/, solutions/, README's map) from what people edit (source/)."""
