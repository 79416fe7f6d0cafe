"""Google Colab: what the first cell runs there (`first_cell`), and a copy of its environment to try it in (`tried`)."""
