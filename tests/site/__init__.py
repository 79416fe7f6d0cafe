"""The web book: how its pages are laid out, and every page as a browser shows it."""
