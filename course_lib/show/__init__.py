"""What the course puts on the page: cards, tables and figures. `path` draws the course's map, `pods` who answered,
`request` and `threats` the service, `tradeoff` the ledger."""

from course_lib.show.colours import BLUE, GREEN, GREY, ORANGE, PALETTE, PURPLE, RED, SKY, YELLOW
from course_lib.show.figures import finding, images, style_figures
from course_lib.show.page import Block, bytes_text, card, put, table

__all__ = [
    "BLUE", "GREEN", "GREY", "ORANGE", "PALETTE", "PURPLE", "RED", "SKY", "YELLOW",
    "Block", "bytes_text", "card", "finding", "images", "put", "style_figures", "table",
]  # fmt: skip
