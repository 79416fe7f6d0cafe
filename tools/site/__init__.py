"""`./course site`: the course as a web book under .course/site, made of what is built. Standard library only; the tool
that turns pages into HTML, Sphinx, has an environment of its own."""
