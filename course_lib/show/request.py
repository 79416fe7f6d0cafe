"""The picture of one request's path through the service that lesson 01 builds."""

from course_lib import show


def request_path() -> None:
    """Draws a request's way from the client through the Service into one of two pods, and the answer's way back."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6))
    axes.set(xlim=(0, 10), ylim=(-0.1, 4.2))
    axes.set_axis_off()

    def box(x: float, y: float, words: str) -> None:
        style = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": show.BLUE, "lw": 2}
        axes.text(x, y, words, ha="center", va="center", fontsize=13, bbox=style)

    def arrow(start: tuple[float, float], end: tuple[float, float], bend: float = 0, **style: object) -> None:
        line = {"arrowstyle": "-|>", "lw": 2, "color": "black", "connectionstyle": f"arc3,rad={bend}"}
        axes.annotate("", end, start, arrowprops={**line, **style})

    box(1, 2, "client\nsection 4")
    box(3.5, 2, "Service\nsection 7")
    for y, words in ((3.2, "pod: sections 6 and 7"), (0.9, "second pod")):
        axes.add_patch(plt.Rectangle((5.1, y - 0.9), 4.8, 1.75, fc="#EAF2F8", ec=show.GREY))
        box(6.2, y + 0.1, "server\nsection 4")
        box(8.6, y + 0.1, "ONNX Runtime\nsections 2, 3")
        axes.text(5.25, y - 0.78, words, fontsize=13)
        arrow((6.95, y + 0.1), (7.35, y + 0.1))
    axes.text(1.2, 1.1, "request: JSON", fontsize=13)
    arrow((1.75, 2), (2.7, 2))
    arrow((4.3, 2.2), (5.4, 3.1))
    arrow((4.3, 1.8), (5.4, 1.2), ls=":")
    axes.text(1.2, 3.75, "answer: 10 logits", fontsize=13)
    arrow((5.4, 3.5), (1, 2.5), bend=0.2, color=show.ORANGE)
    show.finding(
        "A request goes to one of two pods, and ten numbers come back",
        alt="Boxes and arrows: the client (section 4) sends JSON to the Service (section 7), which passes it to one of two "
        "pods (sections 6 and 7). In a pod the server (section 4) calls ONNX Runtime (sections 2 and 3). The answer, ten "
        "logits, goes back to the client. A dotted arrow leads to the second pod.",
    )
