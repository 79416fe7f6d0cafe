"""The exercises' checks, a file a lesson: each walks through the properties in the order in which to think of them."""

from collections.abc import Callable, Iterator

from course_lib.idioms.exercises import Exercise, Property


class Register(dict[str, Exercise]):
    """A lesson's exercises by number; `@EXERCISES.add("02.3", "Keep the tail")` above a check adds one."""

    def add(self, number: str, title: str, *, seconds: float = 20, may_change: tuple[int, ...] = ()) -> Callable:
        """Registers the decorated generator of properties under `number`.

        seconds: how long one property may take before it is stopped. may_change: positions of the arguments that the
        answer is asked to change in place. The first line of the generator's docstring is read, too, for what a learner is told:
        `answer(logits, labels) -> losses.`
        """

        def keep(properties: Callable[[object], Iterator[Property]]) -> Callable[[object], Iterator[Property]]:
            self[number] = Exercise(number, title, properties, seconds, may_change)
            return properties

        return keep


def raises(error: type[Exception], function: Callable, *arguments: object) -> bool:
    """Whether the call raises `error`. NotImplementedError goes on: the stub raises it, which refuses nothing."""
    try:
        function(*arguments)
    except NotImplementedError:
        raise
    except error:
        return True
    return False
