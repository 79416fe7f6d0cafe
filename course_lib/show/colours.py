"""The course's colours: Okabe and Ito's palette, which colour-blind readers can tell apart."""

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F",
)  # fmt: skip
PALETTE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY]
