"""Pages of the course as a person sees them: in a browser of this machine, with no network but this machine's files."""
