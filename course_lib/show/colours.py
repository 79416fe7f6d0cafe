"""The course's colours: Okabe and Ito's palette, which colour-blind readers can tell apart."""

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F",
)  # fmt: skip
PALETTE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY]

AMBER = "#A86F00"
"""Orange for marks and edges: on white, ORANGE has a contrast of 2.25:1, this one 4.2:1; on black both are above 3:1."""
